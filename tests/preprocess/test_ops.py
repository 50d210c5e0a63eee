"""Golden numbers: OpenCV and Pillow on tiny images, worked out once and written down here."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import (
    CV2_FLAGS,
    Border,
    CenterCrop,
    ChannelSplit,
    Crop,
    CustomFunc,
    CvtColor,
    DecodeImage,
    Normalize,
    Pad,
    PadTo,
    Resize,
    RoundToFloat16,
    ToTensor,
)
from compiler.preprocess.pixels import Backend, Pixels
from compiler.preprocess.serialise import OPS, op_from_dict

G = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], np.uint8)
RED = np.array([[255, 0], [0, 10]], np.uint8)
WIDE = np.array([[10, 20, 30, 40], [50, 60, 70, 80]], np.uint8)
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
BGR = {"type": "CvtColor", "code": "COLOR_RGB2BGR"}
YCRCB = {"type": "CvtColor", "code": "COLOR_RGB2YCrCb"}
RGB_PLANES = [[[255, 0], [0, 10]], [[0, 255], [0, 20]], [[0, 0], [255, 30]]]
BGR_PLANES = RGB_PLANES[::-1]


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Image.fromarray(G).save(tmp_path / "g.png")
    return tmp_path / "g.png"


def tensor(path: Path, *ops: dict[str, Any], **decode: Any) -> NDArray[np.float32]:
    """Channel planes of the chain DecodeImage, ops, ToTensor."""
    chain = Chain.from_list([{"type": "DecodeImage", **decode}, *ops, {"type": "ToTensor"}])
    result = chain(path)
    assert result.dtype == np.float32
    assert result.shape[0] == 1
    assert result.flags.c_contiguous
    planes: NDArray[np.float32] = result[0]
    return planes


def apply(data: dict[str, Any], image: Pixels) -> Pixels:
    """The image after the one op that `data` describes."""
    op = op_from_dict(data)
    assert not isinstance(op, DecodeImage | CustomFunc)
    return op(image)


@pytest.mark.parametrize("backend", [None, "opencv", "pillow"])
def test_decoded_images_are_rgb_and_keep_their_values(png: Path, backend: str | None) -> None:
    np.testing.assert_array_equal(tensor(png, backend=backend), RGB_PLANES)


@pytest.mark.parametrize("backend", [None, "pillow"])
def test_flag_0_decodes_to_gray(png: Path, backend: str | None) -> None:
    gray = tensor(png, cv2_flags=0, backend=backend)
    np.testing.assert_allclose(gray, [[[76, 149], [29, 18]]], atol=1)  # PNG's own gray: 149 or 150


@pytest.mark.parametrize("flags", CV2_FLAGS)
def test_flags_decide_channels_and_size(tmp_path: Path, flags: int) -> None:
    Image.fromarray(np.zeros((64, 80, 3), np.uint8)).save(tmp_path / "a.jpg")
    divisor = {0: 1, 16: 2, 32: 4, 64: 8}[flags & ~129]
    expected = (3 if flags % 2 else 1, 64 // divisor, 80 // divisor)
    assert tensor(tmp_path / "a.jpg", cv2_flags=flags).shape == expected


@pytest.mark.parametrize(
    ("backend", "flags", "shape"),
    [(None, 1, (3, 3, 2)), (None, 129, (3, 2, 3)), ("pillow", 1, (3, 2, 3))],
)
def test_opencv_turns_the_image_as_its_exif_says_and_pillow_does_not(
    tmp_path: Path, backend: str | None, flags: int, shape: tuple[int, ...]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert tensor(tmp_path / "a.jpg", backend=backend, cv2_flags=flags).shape == shape


def test_opencv_drops_alpha_and_scales_16_bits_to_8(tmp_path: Path) -> None:
    alpha = np.dstack([G, np.full((2, 2), 9, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(tensor(tmp_path / "alpha.png"), RGB_PLANES)
    Image.fromarray(RED.astype(np.uint16) * 256).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(tensor(tmp_path / "deep.png"), [RED] * 3)


@pytest.mark.parametrize("code", ["COLOR_RGB2BGR", "COLOR_BGR2RGB", "RGB2BGR", "cv2.COLOR_RGB2BGR"])
def test_either_swap_turns_rgb_into_bgr(png: Path, code: str) -> None:
    np.testing.assert_array_equal(tensor(png, {"type": "CvtColor", "code": code}), BGR_PLANES)


def test_ycrcb_is_converted_in_8_bits() -> None:
    expected = [[[76, 255, 85], [150, 21, 43]], [[29, 107, 255], [18, 122, 135]]]
    np.testing.assert_array_equal(CvtColor(code="COLOR_RGB2YCrCb")(G), expected)


def test_an_unknown_colour_code_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"RGB2BRG.*did you mean 'COLOR_(RGB2BGR|BGR2RGB)'"):
        CvtColor(code="RGB2BRG")


def test_a_colour_code_for_another_number_of_channels_says_so() -> None:
    with pytest.raises(ValueError, match="COLOR_GRAY2RGB does not apply to an image of 3"):
        CvtColor(code="GRAY2RGB")(G)


RAMP4 = (16 * np.arange(16)).reshape(4, 4)
RAMP8 = (4 * np.arange(64)).reshape(8, 8)


@pytest.mark.parametrize(
    ("image", "fields", "expected"),
    [
        (
            RED,
            {"size": (4, 4)},
            [[255, 191, 64, 0], [191, 144, 50, 3], [64, 50, 21, 8], [0, 2, 7, 10]],
        ),
        (RED, {"size": 4}, [[255, 191, 64, 0], [191, 144, 50, 3], [64, 50, 21, 8], [0, 2, 7, 10]]),
        (
            RED,
            {"size": (4, 4), "backend": "pillow"},
            [[255, 191, 64, 0], [191, 144, 50, 3], [64, 50, 22, 8], [0, 3, 8, 10]],
        ),
        (
            RED,
            {"size": (4, 4), "interpolation": "bicubic"},
            [[255, 218, 63, 0], [218, 153, 46, 0], [63, 46, 19, 2], [0, 0, 2, 15]],
        ),
        (RED, {"size": (2, 4)}, [[255, 191, 64, 0], [0, 3, 8, 10]]),
        (RED, {"size": (4, 2)}, [[255, 0], [191, 3], [64, 8], [0, 10]]),
        (RAMP4, {"size": (2, 2)}, [[40, 72], [168, 200]]),
        (RAMP4, {"size": (2, 2), "backend": "pillow"}, [[57, 83], [157, 183]]),
        (RAMP4, {"size": (2, 2), "interpolation": "bicubic"}, [[32, 68], [172, 208]]),
        (
            RAMP4,
            {"size": (2, 2), "interpolation": "bicubic", "backend": "pillow"},
            [[47, 77], [163, 193]],
        ),
        (RAMP8, {"size": (2, 2)}, [[54, 70], [182, 198]]),
        (RAMP8, {"size": (2, 2), "backend": "pillow"}, [[69, 81], [171, 183]]),
        (
            WIDE,
            {"size": (8, -1), "adaptive_side": "long"},
            [
                [10, 12, 17, 22, 27, 32, 37, 40],
                [20, 22, 27, 32, 37, 42, 47, 50],
                [40, 42, 47, 52, 57, 62, 67, 70],
                [50, 52, 57, 62, 67, 72, 77, 80],
            ],
        ),
    ],
)
def test_resize_gives_the_numbers_of_the_library(
    image: NDArray[Any], fields: dict[str, Any], expected: list[list[int]]
) -> None:
    resized = Resize(**fields)(image.astype(np.uint8))
    np.testing.assert_allclose(resized, expected, atol=1)


@pytest.mark.parametrize("name", ["nearest", "linear", "cubic", "area", "lanczos"])
def test_every_interpolation_is_the_one_opencv_calls_so(name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    method = getattr(cv2, {"lanczos": "INTER_LANCZOS4"}.get(name, f"INTER_{name.upper()}"))
    expected = cv2.resize(image, (5, 6), interpolation=method)
    np.testing.assert_array_equal(apply(resize_of(name, None), image), expected)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_interpolation_is_the_one_pillow_calls_so(name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    expected = Image.fromarray(image).resize((5, 6), Image.Resampling[name.upper()])
    np.testing.assert_array_equal(apply(resize_of(name, "pillow"), image), expected)


def resize_of(name: str, backend: str | None) -> dict[str, Any]:
    return {"type": "Resize", "size": [6, 5], "interpolation": name, "backend": backend}


@pytest.mark.parametrize("backend", ["opencv", "pillow"])
def test_resize_keeps_a_single_channel(backend: str) -> None:
    data = {"type": "Resize", "size": [3, 5], "backend": backend}
    assert apply(data, RED[:, :, None]).shape == (3, 5, 1)


def test_resize_does_not_depend_on_the_number_of_threads() -> None:
    image = np.random.default_rng(0).integers(0, 256, (601, 803, 3), np.uint8)
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            results.append(Resize(size=(222, 333))(image))
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(results[0], results[1])


SIDES = st.integers(1, 4000)


@given(SIDES, SIDES, st.integers(1, 2000))
def test_the_long_side_gets_the_number_and_the_ratio_stays(h: int, w: int, side: int) -> None:
    target = Resize(size=(side, -1), adaptive_side="long").target(h, w)
    assert max(target) == side
    assert target == (max(1, round(h * (side / max(h, w)))), max(1, round(w * (side / max(h, w)))))
    assert target == Resize(size=(-1, side)).target(h, w)


def exact_sides(h: int, w: int, box: tuple[int, int], long: bool) -> tuple[int, int]:
    """Sides of an h×w image scaled into the box (long) or over it (short), rounded down."""
    ratios = [Fraction(number, side) for number, side in zip(box, (h, w), strict=True)]
    ratio = ratios[0]
    for other in ratios[1:]:
        if (other < ratio) == long:
            ratio = other
    return max(1, math.floor(h * ratio)), max(1, math.floor(w * ratio))


@given(SIDES, SIDES, st.integers(1, 2000), st.integers(1, 2000), st.sampled_from(["long", "short"]))
def test_floored_sides_are_those_of_exact_fractions(
    h: int, w: int, bh: int, bw: int, side: Any
) -> None:
    target = Resize(size=(bh, bw), adaptive_side=side, rounding="floor").target(h, w)
    assert target == exact_sides(h, w, (bh, bw), long=side == "long")


@given(SIDES, SIDES, st.integers(1, 2000))
def test_the_short_side_gets_the_number(h: int, w: int, side: int) -> None:
    assert min(Resize(size=(side, -1), adaptive_side="short").target(h, w)) == side


@given(SIDES, SIDES, st.integers(1, 2000), st.integers(1, 2000))
def test_long_fits_into_the_box_and_short_covers_it(h: int, w: int, bh: int, bw: int) -> None:
    inside = Resize(size=(bh, bw), adaptive_side="long").target(h, w)
    assert inside[0] <= bh
    assert inside[1] <= bw
    assert inside[0] == bh or inside[1] == bw
    outside = Resize(size=(bh, bw), adaptive_side="short").target(h, w)
    assert outside[0] >= bh
    assert outside[1] >= bw
    assert outside[0] == bh or outside[1] == bw


@given(SIDES, SIDES, st.integers(1, 2000))
def test_floor_is_at_most_one_pixel_below_round(h: int, w: int, side: int) -> None:
    rounded = Resize(size=(side, -1)).target(h, w)
    floored = Resize(size=(side, -1), rounding="floor").target(h, w)
    assert max(floored) == side
    assert all(0 <= r - f <= 1 for r, f in zip(rounded, floored, strict=True))


def test_rounding_decides_the_derived_side() -> None:
    assert Resize(size=(640, -1)).target(1365, 2048) == (427, 640)
    assert Resize(size=(640, -1), rounding="floor").target(1365, 2048) == (426, 640)


def test_a_crop_starts_at_the_floor_of_half_the_difference() -> None:
    matrix = np.arange(25, dtype=np.uint8).reshape(5, 5)
    np.testing.assert_array_equal(CenterCrop(crop_size=(2, 2))(matrix), [[6, 7], [11, 12]])


@pytest.mark.parametrize(
    ("side", "crop", "offset"), [(342, 299, 21), (475, 416, 29), (635, 600, 17)]
)
@pytest.mark.parametrize("backend", [None, "pillow"])
def test_crop_offsets_are_those_of_the_device(
    side: int, crop: int, offset: int, backend: Any
) -> None:
    ramp = np.broadcast_to(np.arange(side, dtype=np.int32), (side, side))
    cropped = CenterCrop(crop_size=crop, backend=backend)(ramp)
    assert (cropped[0, 0], cropped.shape) == (offset, (crop, crop))


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_crop_leaves_at_most_one_pixel_more_at_the_end(h: int, w: int, data: Any) -> None:
    crop = (data.draw(st.integers(1, h)), data.draw(st.integers(1, w)))
    image = np.arange(h * w, dtype=np.int64).reshape(h, w)
    cropped = CenterCrop(crop_size=crop)(image)
    top, left = divmod(int(cropped[0, 0]), w)
    assert 0 <= (h - crop[0] - top) - top <= 1
    assert 0 <= (w - crop[1] - left) - left <= 1
    expected = [
        [image[row, column] for column in range(left, left + crop[1])]
        for row in range(top, top + crop[0])
    ]
    np.testing.assert_array_equal(cropped, expected)


def test_an_image_smaller_than_the_crop_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match="image 2×4 is smaller than crop_size 3×3"):
        CenterCrop(crop_size=3)(WIDE)


def test_pad_centres_the_image_on_114() -> None:
    small = Resize(size=(4, -1), adaptive_side="long")(WIDE)
    expected = [[114] * 4, [10, 20, 30, 40], [50, 60, 70, 80], [114] * 4]
    np.testing.assert_array_equal(Pad()(small), expected)


def test_pad_can_put_the_image_into_the_corner_with_a_colour_of_its_own() -> None:
    padded = Pad(value=(1, 2, 3), position="topleft")(np.zeros((1, 2, 3), np.uint8))
    np.testing.assert_array_equal(padded, [[[0, 0, 0]] * 2, [[1, 2, 3]] * 2])


def test_pad_to_square_false_does_nothing() -> None:
    assert Pad(pad_to_square=False)(WIDE) is WIDE


def test_pad_wants_one_value_or_one_per_channel() -> None:
    with pytest.raises(ValueError, match=r"value has 2 numbers for 3 channel"):
        Pad(value=(1, 2))(np.zeros((1, 2, 3), np.uint8))


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from(["center", "topleft"]))
def test_padding_keeps_every_pixel_and_adds_only_the_value(h: int, w: int, position: Any) -> None:
    image = np.full((h, w, 3), 7, np.uint8)
    padded = Pad(position=position)(image)
    side = max(h, w)
    assert padded.shape == (side, side, 3)
    top, left = ((side - h) // 2, (side - w) // 2) if position == "center" else (0, 0)
    for row in range(side):
        for column in range(side):
            inside = 0 <= row - top < h and 0 <= column - left < w
            assert padded[row, column].tolist() == [7 if inside else 114] * 3


def test_channel_split_keeps_luminance(png: Path) -> None:
    split = {"type": "ChannelSplit", "index": 0}
    plain = tensor(png, YCRCB, split)
    np.testing.assert_array_equal(plain, [[[76, 150], [29, 18]]])
    scaled = tensor(png, YCRCB, split, {"type": "Normalize", "norm_type": None})
    expected = [[[0.298039, 0.588235], [0.113725, 0.070588]]]
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_channel_split_of_a_gray_image_is_that_image() -> None:
    assert ChannelSplit()(RED).shape == (2, 2, 1)
    with pytest.raises(ValueError, match=r"index 1 given; the image has 1 channel"):
        ChannelSplit(index=1)(RED)


IMAGENET_PLANES = [
    [[2.248908, -2.117904], [-2.117904, -1.946656]],
    [[-2.035714, 2.428571], [-2.035714, -1.685574]],
    [[-1.804444, -1.804444], [2.64, -1.281569]],
]


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([{"type": "Normalize", **IMAGENET}], IMAGENET_PLANES),
        (
            [
                {
                    "type": "Normalize",
                    "div255": False,
                    "mean": [123.675, 116.28, 103.53],
                    "std": [58.395, 57.12, 57.375],
                }
            ],
            IMAGENET_PLANES,
        ),
        (
            [{"type": "Normalize", "norm_type": None}],
            [[[1, 0], [0, 0.039216]], [[0, 1], [0, 0.078431]], [[0, 0], [1, 0.117647]]],
        ),
        ([{"type": "Normalize", "norm_type": None, "div255": False}], RGB_PLANES),
        (
            [{"type": "Normalize", "div255": None, "mean": [127.5] * 3, "std": [128] * 3}],
            [
                [[0.996094, -0.996094], [-0.996094, -0.917969]],
                [[-0.996094, 0.996094], [-0.996094, -0.839844]],
                [[-0.996094, -0.996094], [0.996094, -0.761719]],
            ],
        ),
        (
            [
                BGR,
                {"type": "Normalize", "mean": [0.406, 0.456, 0.485], "std": [0.225, 0.224, 0.229]},
            ],
            IMAGENET_PLANES[::-1],
        ),
        (
            [
                BGR,
                {
                    "type": "Normalize",
                    "div255": False,
                    "mean": [103.53, 116.28, 123.675],
                    "std": [1, 1, 1],
                },
            ],
            [
                [[-103.53, -103.53], [151.47, -73.53]],
                [[-116.28, 138.72], [-116.28, -96.28]],
                [[131.325, -123.675], [-123.675, -113.675]],
            ],
        ),
        (
            [
                BGR,
                {
                    "type": "Normalize",
                    "mean": [0.48109378, 0.45752458, 0.40787054],
                    "std": [1, 1, 1],
                },
            ],
            [
                [[-0.481094, -0.481094], [0.518906, -0.363447]],
                [[-0.457525, 0.542475], [-0.457525, -0.379093]],
                [[0.592129, -0.407871], [-0.407871, -0.368655]],
            ],
        ),
        (
            [BGR, {"type": "Normalize", "norm_type": "None"}],
            [[[0, 0], [1, 0.117647]], [[0, 1], [0, 0.078431]], [[1, 0], [0, 0.039216]]],
        ),
        (
            [
                {
                    "type": "Normalize",
                    "div255": False,
                    "mean": [103.939, 116.779, 123.68],
                    "std": [1, 1, 1],
                }
            ],
            [
                [[151.061, -103.939], [-103.939, -93.939]],
                [[-116.779, 138.221], [-116.779, -96.779]],
                [[-123.68, -123.68], [131.32, -93.68]],
            ],
        ),
    ],
)
def test_normalize_gives_the_numbers_of_the_public_files(
    png: Path, ops: list[dict[str, Any]], expected: list[Any]
) -> None:
    np.testing.assert_allclose(tensor(png, *ops), expected, rtol=1e-6, atol=1e-6)


def test_one_mean_serves_a_gray_image(png: Path) -> None:
    gray = tensor(png, {"type": "Normalize", "mean": [0.5], "std": [0.5]}, cv2_flags=0)
    expected = [[[-0.403922, 0.168628], [-0.772549, -0.858824]]]
    np.testing.assert_allclose(gray, expected, atol=0.008)  # 0.176471 if the gray is 150


def test_a_mean_of_another_length_than_the_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mean has 3 numbers for 1 channel"):
        Normalize(mean=(0, 0, 0), std=(1,))(RED)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "DecodeImage", "cv2_flags": -1}, "cv2_flags -1 is not supported"),
        ({"type": "DecodeImage", "cv2_flags": 17, "backend": "pillow"}, "allowed are 0, 1"),
        ({"type": "DecodeImage", "backend": "pil"}, "'pil' is not one of opencv, pillow, null"),
        ({"type": "Resize", "size": [1, 2, 3]}, r"size \[1, 2, 3\] is not \[height, width\]"),
        ({"type": "Resize", "size": [-1, -1]}, "one of which may be -1"),
        ({"type": "Resize", "size": [0, 5]}, "expected positive numbers"),
        ({"type": "Resize", "size": "big"}, "size"),
        ({"type": "Resize", "size": 4, "adaptive_side": "width"}, "one of long, short, null"),
        ({"type": "Resize", "size": 4, "rounding": "up"}, "rounding 'up' is not one of round"),
        ({"type": "Resize", "size": 4, "interpolation": "bilinera"}, "is not one of nearest"),
        ({"type": "Resize", "size": 4, "interpolation": "area", "backend": "pillow"}, "'area'"),
        ({"type": "Resize"}, "missing 1 required"),
        ({"type": "CenterCrop", "crop_size": [0, 5]}, "is not positive"),
        ({"type": "Pad", "value": 300}, "value 300 is not 0 to 255"),
        ({"type": "Pad", "value": []}, "is not 0 to 255"),
        ({"type": "Pad", "position": "middle"}, "'middle' is not one of center, topleft"),
        ({"type": "ChannelSplit", "index": 1.5}, "index 1.5 is not a whole number from 0"),
        ({"type": "Pad", "value": 1.5}, "value 1.5 is not 0 to 255"),
        ({"type": "Resize", "size": [4.5, 4]}, r"size \[4.5, 4\] is not .* in whole numbers"),
        ({"type": "CvtColor", "code": 4}, "CvtColor: "),
        ({"type": "ChannelSplit", "index": -1}, "index -1 is not a whole number from 0"),
        ({"type": "Normalize"}, "give mean and std, or norm_type: null"),
        ({"type": "Normalize", "mean": [0.5]}, "give mean and std, or norm_type: null"),
        ({"type": "Normalize", "mean": [0], "std": [0]}, r"std \[0\] contains 0"),
        ({"type": "Normalize", "mean": [], "std": [1]}, r"mean \[\] is not a list of numbers"),
        ({"type": "Normalize", "norm_type": "minmax"}, "norm_type 'minmax' is not known"),
        ({"type": "Normalise"}, "no op 'Normalise'; did you mean 'Normalize'.*known are Decode"),
        ({"type": "Pad", "vlaue": 3}, "Pad has no field 'vlaue'; did you mean 'value'"),
        ({"size": 3}, "no op 'None'"),
        ({"type": "CustomFunc", "func_name": "f"}, "CustomFunc needs the field 'module_path'"),
    ],
)
def test_a_wrong_field_is_refused_with_its_value(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op_from_dict(data)


def test_an_op_that_is_no_mapping_is_refused() -> None:
    broken: Any = "Resize"
    with pytest.raises(ValueError, match="'Resize' is not an op; expected a mapping"):
        op_from_dict(broken)


@pytest.mark.parametrize("backend", [None, "pillow"])
def test_pixels_turn_gray_as_the_library_does_it(backend: Backend | None) -> None:
    decode = DecodeImage(cv2_flags=0, backend=backend)
    np.testing.assert_array_equal(decode.from_array(G), [[76, 150], [29, 18]])
    np.testing.assert_array_equal(decode.from_array(RED[:, :, None]), RED)


def test_gray_pixels_become_three_equal_channels() -> None:
    np.testing.assert_array_equal(DecodeImage().from_array(RED), np.dstack([RED] * 3))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
    ],
)
def test_pixels_that_no_decoder_gives_are_refused(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"expected an RGB image \[height, width, 3\]"):
        DecodeImage().from_array(image)


def test_to_tensor_neither_scales_nor_drops_a_gray_image() -> None:
    np.testing.assert_array_equal(ToTensor()(RED), [[RED]])
    assert ToTensor()(RED).dtype == np.float32


def test_resizes_in_a_row_run_in_order(png: Path) -> None:
    sizes = ((7, 5), (3, 4))
    expected = cv2.resize(cv2.resize(G, (5, 7)), (4, 3)).transpose(2, 0, 1)
    steps = [{"type": "Resize", "size": list(size)} for size in sizes]
    np.testing.assert_array_equal(tensor(png, *steps), expected)


def test_crop_keeps_a_rectangle_from_its_corner() -> None:
    assert Crop(crop_size=(1, 2), top=1, left=2)(WIDE).tolist() == [[70, 80]]
    assert Crop(crop_size=2)(WIDE).tolist() == [[10, 20], [50, 60]]
    with pytest.raises(ValueError, match="image 2×4 does not contain 1×2 pixels from row 1, col"):
        Crop(crop_size=(1, 2), top=1, left=3)(WIDE)


def test_pad_to_puts_the_image_in_the_middle_of_a_size() -> None:
    assert PadTo(size=(3, 5), value=0)(WIDE).tolist() == [[*WIDE[0], 0], [*WIDE[1], 0], [0] * 5]
    corner = PadTo(size=(2, 6), value=0, position="topleft")(WIDE)
    assert corner.tolist() == [[*WIDE[0], 0, 0], [*WIDE[1], 0, 0]]
    with pytest.raises(ValueError, match="image 2×4 is larger than size 3×3"):
        PadTo(size=3)(WIDE)


def test_border_adds_rows_and_columns() -> None:
    framed = Border(top=1, left=2, value=7)(WIDE)
    assert framed.tolist() == [[7] * 6, [7, 7, *WIDE[0]], [7, 7, *WIDE[1]]]
    coloured = Border(bottom=1, value=(1, 2, 3))(G)
    assert coloured[2].tolist() == [[1, 2, 3]] * 2
    with pytest.raises(ValueError, match=r"value has 3 numbers for 1 channel"):
        Border(bottom=1, value=(1, 2, 3))(WIDE)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"type": "Crop", "crop_size": [0, 4]}, "crop_size \\[0, 4\\] is not positive"),
        ({"type": "Crop", "crop_size": 4, "top": -1}, "top -1 is not a whole number from 0"),
        ({"type": "PadTo", "size": [0, 4]}, "size \\[0, 4\\] is not positive"),
        ({"type": "PadTo", "size": 4, "value": 256}, "value 256 is not 0 to 255"),
        ({"type": "PadTo", "size": 4, "position": "left"}, "position 'left' is not one of"),
        ({"type": "Border", "left": 0.5}, "left 0.5 is not a whole number from 0"),
        ({"type": "RoundToFloat16", "digits": 3}, "RoundToFloat16 has no field 'digits'"),
    ],
)
def test_ops_of_the_other_dialect_check_their_fields(data: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        op_from_dict(data)


def test_round_to_float16_keeps_the_range_and_the_type() -> None:
    values = np.array([0.1, -2.00049, 1e9, -1e9], np.float32)
    rounded = RoundToFloat16()(values)
    assert rounded.dtype == np.float32
    assert rounded.tolist() == [0.0999755859375, -2.0, 65504.0, -65504.0]


@pytest.mark.parametrize("name", ["Crop", "PadTo", "Border", "RoundToFloat16"])
def test_a_build_file_has_no_words_for_ops_of_the_other_dialect(name: str) -> None:
    assert name not in OPS
