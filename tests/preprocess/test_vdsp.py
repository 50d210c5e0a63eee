"""vdsp JSONs as chains: golden numbers worked out once, and OpenCV and Pillow called directly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from compiler.errors import BuildFileError, ModcError
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import Normalize, RoundToFloat16
from compiler.preprocess.vdsp import VdspParams, parse_vdsp
from compiler.preprocess.vdsp_correct import corrected
from compiler.preprocess.vdsp_names import (
    COLOR_CVT_CODES,
    NORMA_TYPES,
    OP_TYPES,
    REFUSED_OP_TYPES,
    RESIZE_TYPES,
)

CROP = "FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR"
RESIZE = "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR"
LETTERBOX = "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR"
EXT = "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR_EXT"
IMAGENET = (
    [0.485107421875, 0.4560546875, 0.406005859375],
    [0.22900390625, 0.2239990234375, 0.2249755859375],
)
IMAGENET_255 = ([123.6875, 116.25, 103.5], [58.40625, 57.125, 57.375])
EXACT = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
MEAN_STD, MINUS_MEAN = "DIV255_MINUSMEAN_DIVSTD", "MINUSMEAN_DIVSTD"


def params(op_type: str = RESIZE, **config: Any) -> VdspParams:
    """The op with the four enumerations that every public file has."""
    enums = {
        "IimageFormat": "RGB_PLANAR",
        "ColorCvtCode": "NO_CHANGE",
        "ResizeType": "BILINEAR_CV",
        "NormaType": "EQUAL",
    }
    return parse_vdsp({"OpType": op_type, "OpConfig": {**enums, **config}})


def pixel(values: tuple[int, int, int], **config: Any) -> NDArray[np.float32]:
    """The tensor's numbers for one RGB pixel."""
    tensor = params(**config).chain((3, 1, 1))(np.array([[values]], np.uint8))
    assert tensor.dtype == np.float32
    return tensor.reshape(3)


def bits(values: NDArray[np.float32]) -> list[str]:
    """Hexadecimal float16 of numbers that are float16 already."""
    halves = values.astype(np.float16)
    np.testing.assert_array_equal(halves.astype(np.float32), values)
    return [f"{int(half):04x}" for half in halves.view(np.uint16)]


def rgb(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def gray_rows(op_type: str, rows: list[list[int]], shape: tuple[int, int], **config: Any) -> Any:
    """Rows of the tensor of a gray image."""
    chain = params(op_type, **config).chain((1, *shape))
    return chain(np.array(rows, np.uint8))[0, 0].astype(int).tolist()


def formula(norma_type: str, constants: tuple[list[float], list[float]]) -> dict[str, Any]:
    return {"NormaType": norma_type, "Mean": constants[0], "Std": constants[1]}


@pytest.mark.parametrize(
    ("rgb_pixel", "config", "expected"),
    [
        ((128, 64, 255), formula(MEAN_STD, IMAGENET), ["2cb6", "bb53", "4148"]),
        ((128, 64, 255), formula(MEAN_STD, EXACT), ["2cbd", "bb52", "4148"]),
        ((0, 0, 0), formula(MEAN_STD, IMAGENET), ["c03d", "c012", "bf38"]),
        ((255, 255, 255), formula(MEAN_STD, IMAGENET), ["407f", "40db", "4148"]),
        ((128, 64, 255), formula(MINUS_MEAN, IMAGENET_255), ["2cba", "bb51", "4148"]),
        ((128, 64, 255), {"NormaType": "DIV255"}, ["3804", "3404", "3c00"]),
        ((128, 64, 255), {"NormaType": "EQUAL"}, ["5800", "5400", "5bf8"]),
        ((128, 64, 255), {"NormaType": "NONE"}, ["5800", "5400", "5bf8"]),
        ((128, 64, 255), {"NormaType": "DIV1275_MINUSONE"}, ["1c04", "b7f8", "3c00"]),
        ((128, 64, 255), formula(MEAN_STD, ([0.5] * 3, [0.5] * 3)), ["1c04", "b7f8", "3c00"]),
        ((128, 64, 255), formula(MINUS_MEAN, ([127.5] * 3, [127.5] * 3)), ["1c04", "b7f8", "3c00"]),
        (
            (128, 64, 255),
            formula(MINUS_MEAN, ([103.9375, 116.75, 123.6875], [1.0] * 3))
            | {"ColorCvtCode": "RGB2BGR"},
            ["58b8", "d298", "4450"],
        ),
        (
            (128, 64, 255),
            {"NormaType": "MINUSMEAN", "Mean": [127, 63, 254], "Std": [0, 0, 0]},
            ["3c00", "3c00", "3c00"],
        ),
    ],
)
def test_a_pixel_becomes_the_recorded_float16(
    rgb_pixel: tuple[int, int, int], config: dict[str, Any], expected: list[str]
) -> None:
    assert bits(pixel(rgb_pixel, **config)) == expected


def test_bgr2rgb_on_a_planar_rgb_image_gives_the_network_bgr() -> None:
    result = pixel((10, 50, 90), NormaType="DIV255", ColorCvtCode="BGR2RGB")
    assert result.tolist() == [0.35302734375, 0.196044921875, 0.039215087890625]


@pytest.mark.parametrize("norma_type", ["DIV1275_MINUSONE", MEAN_STD])
def test_minus_one_to_one_is_x_over_127_5_minus_1_for_every_pixel(norma_type: str) -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 256)
    config = formula(norma_type, ([0.5] * 3, [0.5] * 3))
    result = params(**config).chain((1, 1, 256))(x)[0, 0, 0]
    expected = (np.arange(256) / 127.5 - 1).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("norma_type", ["NONE", "EQUAL", "DIV255", "DIV1275_MINUSONE"])
@pytest.mark.parametrize("std", [[0, 0, 0], [5.960464477539063e-08] * 3, "none", None])
def test_formulas_without_mean_and_std_do_not_look_at_them(norma_type: str, std: object) -> None:
    config = {"NormaType": norma_type, "Mean": {"not": "a list"}, "Std": std}
    np.testing.assert_array_equal(
        pixel((9, 8, 7), **config), pixel((9, 8, 7), NormaType=norma_type)
    )


def test_integers_and_floats_mean_the_same() -> None:
    whole = params(**formula(MINUS_MEAN, ([104, 117, 123], [1, 1, 1])), OimageWidth=4)
    real = params(**formula(MINUS_MEAN, ([104.0, 117.0, 123.0], [1.0, 1.0, 1.0])), OimageWidth=4.0)
    assert whole == real


def test_a_gray_network_takes_the_first_of_three_means() -> None:
    config = formula(MEAN_STD, ([0.5, 0.1, 0.2], [0.5, 3.0, 4.0]))
    result = params(**config).chain((1, 1, 1))(np.full((1, 1), 255, np.uint8))
    assert result.ravel().tolist() == [1.0]


def test_normalisation_can_be_left_to_the_network() -> None:
    chain = params(**formula(MEAN_STD, IMAGENET)).chain((3, 1, 1), normalize=False)
    assert chain(np.array([[[1, 2, 255]]], np.uint8)).ravel().tolist() == [1, 2, 255]
    assert not any(isinstance(op, Normalize | RoundToFloat16) for op in chain.ops)


@pytest.mark.parametrize(
    ("image_format", "code", "seen"),
    [
        ("RGB_PLANAR", "NO_CHANGE", "RGB"),
        ("RGB_PLANAR", "BGR2RGB", "BGR"),
        ("RGB_PLANAR", "RGB2BGR", "BGR"),
        ("RGB888", "BGR2RGB", "BGR"),
        ("BGR888", "BGR2RGB", "RGB"),
        ("BGR888", "RGB2BGR", "RGB"),
        ("BGR888", "NO_CHANGE", "BGR"),
        ("BGR_PLANAR", "NO_CHANGE", "BGR"),
        ("BGR_INTERLEAVE", "RGB2BGR", "RGB"),
        ("RGB_INTERLEAVE", "NO_CHANGE", "RGB"),
    ],
)
def test_format_and_colour_code_decide_what_the_network_sees(
    tmp_path: Path, image_format: str, code: str, seen: str
) -> None:
    Image.fromarray(np.array([[[1, 2, 3]]], np.uint8)).save(tmp_path / "a.png")
    chain = params(IimageFormat=image_format, ColorCvtCode=code).chain((3, 1, 1))
    expected = [1, 2, 3] if seen == "RGB" else [3, 2, 1]
    assert chain(tmp_path / "a.png").ravel().tolist() == expected


def test_nv12_codes_name_what_the_network_sees() -> None:
    op_type = "FUSION_OP_YUV_NV12_LETTERBOX_2RGB_NORM_TENSOR"
    image = np.array([[[1, 2, 3]]], np.uint8)
    for code, expected in {"YUV2RGB_NV12": [1, 2, 3], "YUV2BGR_NV12": [3, 2, 1]}.items():
        loaded = params(op_type, ColorCvtCode=code)
        assert loaded.iimage_format == "YUV_NV12"
        assert loaded.chain((3, 1, 1))(image).ravel().tolist() == expected


CV2_FILTERS = {
    "BILINEAR_CV": cv2.INTER_LINEAR,
    "BILINEAR": cv2.INTER_LINEAR,
    "NEAREST_CV": cv2.INTER_NEAREST,
    "NEAREST": cv2.INTER_NEAREST,
    "BICUBIC": cv2.INTER_CUBIC,
    "LANCZOS_CV": cv2.INTER_LANCZOS4,
    "LANCZOS": cv2.INTER_LANCZOS4,
}
PILLOW_FILTERS = {
    "BILINEAR_PILLOW": Image.Resampling.BILINEAR,
    "BICUBIC_PILLOW": Image.Resampling.BICUBIC,
    "LANCZOS_PILLOW": Image.Resampling.LANCZOS,
    "BOX_PILLOW": Image.Resampling.BOX,
    "HAMMING_PILLOW": Image.Resampling.HAMMING,
}


def test_every_resize_type_is_compared_with_its_library() -> None:
    assert {*CV2_FILTERS, *PILLOW_FILTERS, "NO_RESIZE"} == set(RESIZE_TYPES.values())


@pytest.mark.parametrize("size", [(7, 5), (16, 40), (33, 64), (50, 17)])
@pytest.mark.parametrize("name", [*CV2_FILTERS, *PILLOW_FILTERS])
def test_a_resize_is_bit_exact_with_its_library(name: str, size: tuple[int, int]) -> None:
    image = rgb(33, 50)
    height, width = size
    if name in CV2_FILTERS:
        expected = cv2.resize(image, (width, height), interpolation=CV2_FILTERS[name])
    else:
        expected = np.asarray(Image.fromarray(image).resize((width, height), PILLOW_FILTERS[name]))
    chain = params(ResizeType=name, OimageWidth=width, OimageHeight=height).chain()
    np.testing.assert_array_equal(chain(image)[0], expected.transpose(2, 0, 1).astype(np.float32))
    gray = image[:, :, 0]
    if name in CV2_FILTERS:
        expected = cv2.resize(gray.copy(), (width, height), interpolation=CV2_FILTERS[name])
    else:
        expected = np.asarray(Image.fromarray(gray).resize((width, height), PILLOW_FILTERS[name]))
    result = params(ResizeType=name).chain((1, height, width))(gray)
    np.testing.assert_array_equal(result[0, 0], expected.astype(np.float32))


ROW = [0, 100, 200, 50]


@pytest.mark.parametrize(
    ("row", "resize_type", "expected"),
    [
        (ROW, "BILINEAR_CV", [50, 125]),
        (ROW, "BILINEAR_CV", [17, 150, 75]),
        (ROW, "BILINEAR_CV", [0, 25, 75, 125, 175, 163, 88, 50]),
        (ROW, "BILINEAR_PILLOW", [71, 121]),
        (ROW, "BILINEAR_PILLOW", [30, 150, 95]),
        (ROW, "BILINEAR_PILLOW", [0, 25, 75, 125, 175, 163, 88, 50]),
        ([0, 0, 0, 255, 255, 0, 0, 0], "BILINEAR_CV", [0, 0]),
        ([0, 0, 0, 255, 255, 0, 0, 0], "BILINEAR_PILLOW", [73, 73]),
    ],
)
def test_a_row_is_resized_as_recorded(
    row: list[int], resize_type: str, expected: list[int]
) -> None:
    result = gray_rows(RESIZE, [row], (1, len(expected)), ResizeType=resize_type)
    if resize_type == "BILINEAR_CV" and len(expected) == 8:
        # 162.5 and 87.5 round either way between OpenCV versions.
        assert np.abs(np.subtract(result, [expected])).max() <= 1
    else:
        assert result == [expected]


def test_a_squash_does_not_keep_the_aspect_ratio() -> None:
    rows = [ROW, [40, 80, 120, 160]]
    assert gray_rows(RESIZE, rows, (2, 2)) == [[50, 125], [60, 140]]


RAMP = [[7 * (6 * row + column) for column in range(6)] for row in range(6)]


def test_resize_then_crop_cuts_at_crop_x_and_crop_y() -> None:
    resized = [[12, 23, 33, 44], [75, 86, 96, 107], [138, 149, 159, 170], [201, 212, 222, 233]]
    sizes = {"ResizeWidth": 4, "ResizeHeight": 4}
    assert gray_rows(CROP, RAMP, (4, 4), **sizes) == resized
    assert gray_rows(CROP, RAMP, (2, 2), **sizes, CropX=1, CropY=1) == [[86, 96], [149, 159]]
    assert gray_rows(CROP, RAMP, (1, 2), **sizes, CropX=2, CropY=0) == [[33, 44]]


def test_crop_then_resize_cuts_from_the_image() -> None:
    op_type = "FUSION_OP_RGB_CROP_RESIZE_CVTCOLOR_NORM_TENSOR"
    sizes = {"CropX": 1, "CropY": 2, "CropWidth": 4, "CropHeight": 2}
    result = gray_rows(op_type, RAMP, (1, 2), **sizes)
    image = np.array(RAMP, np.uint8)[2:4, 1:5].copy()
    assert result == cv2.resize(image, (2, 1)).reshape(1, 2).astype(int).tolist()


@pytest.mark.parametrize(
    ("image", "target", "inner", "sides"),
    [
        ((500, 375), (640, 640), (640, 480), (0, 0, 80, 80)),
        ((640, 427), (640, 640), (640, 427), (0, 0, 106, 107)),
        ((333, 500), (640, 640), (426, 640), (107, 107, 0, 0)),
        ((1920, 1080), (1280, 736), (1280, 720), (0, 0, 8, 8)),
        ((600, 800), (128, 128), (96, 128), (16, 16, 0, 0)),
        ((612, 612), (640, 640), (640, 640), (0, 0, 0, 0)),
        ((4, 2), (640, 640), (640, 320), (0, 0, 160, 160)),  # small images are enlarged
    ],
)
def test_a_letterbox_has_the_recorded_sizes(
    image: tuple[int, int],
    target: tuple[int, int],
    inner: tuple[int, int],
    sides: tuple[int, int, int, int],
) -> None:
    width, height = target
    chain = params(LETTERBOX, OimageWidth=width, OimageHeight=height).chain((1, height, width))
    tensor = chain(np.full(image[::-1], 200, np.uint8))[0, 0]
    columns, rows = np.flatnonzero(tensor.max(0) == 200), np.flatnonzero(tensor.max(1) == 200)
    left, right, top, bottom = sides
    assert (len(columns), len(rows)) == inner
    assert (columns[0], width - 1 - columns[-1]) == (left, right)
    assert (rows[0], height - 1 - rows[-1]) == (top, bottom)
    assert set(np.unique(tensor)) <= {114.0, 200.0}


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 100), st.integers(1, 100))
def test_letterbox_sizes_follow_the_formulas(w: int, h: int, width: int, height: int) -> None:
    r = min(width / w, height / h)
    new_w, new_h = max(1, round(w * r)), max(1, round(h * r))
    dw, dh = (width - new_w) / 2, (height - new_h) / 2
    left, right = max(0, round(dw - 0.1)), round(dw + 0.1)
    top, bottom = max(0, round(dh - 0.1)), round(dh + 0.1)
    image = np.full((h, w), 200, np.uint8)
    inner = cv2.resize(image, (new_w, new_h))
    expected = cv2.copyMakeBorder(
        inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114,)
    )
    result = params(LETTERBOX).chain((1, height, width))(image)
    np.testing.assert_array_equal(result[0, 0], expected.astype(np.float32))


def test_a_letterbox_pads_with_114_unless_told_otherwise() -> None:
    rows = [ROW, [40, 80, 120, 160]]
    assert gray_rows(LETTERBOX, rows, (4, 4)) == [[114] * 4, *rows, [114] * 4]
    black = gray_rows(LETTERBOX, rows, (4, 4), Padding=[0, 0, 0])
    assert black == [[0] * 4, *rows, [0] * 4]


def test_the_padding_is_normalised_like_pixels() -> None:
    half = formula(MEAN_STD, ([0.5] * 3, [0.5] * 3))
    for padding, config, expected in (
        ([127, 127, 127], half, -0.0039215087890625),
        ([114, 114, 114], {"NormaType": "DIV255"}, 0.447021484375),
    ):
        chain = params(LETTERBOX, Padding=padding, **config).chain((3, 4, 2))
        assert chain(np.zeros((2, 2, 3), np.uint8))[0, :, 0].ravel().tolist() == [expected] * 6


def test_padding_is_in_the_channel_order_of_the_image_format() -> None:
    image = np.full((1, 1, 3), 9, np.uint8)
    for image_format, code, expected in (
        ("RGB_PLANAR", "NO_CHANGE", [1, 2, 3]),
        ("RGB_PLANAR", "RGB2BGR", [3, 2, 1]),
        ("BGR888", "NO_CHANGE", [1, 2, 3]),
        ("BGR888", "BGR2RGB", [3, 2, 1]),
    ):
        op = params(LETTERBOX, Padding=[1, 2, 3], IimageFormat=image_format, ColorCvtCode=code)
        assert op.chain((3, 3, 1))(image)[0, :, 0, 0].tolist() == expected


def test_an_ext_letterbox_takes_its_sizes_per_image() -> None:
    half = formula(MEAN_STD, ([0.5] * 3, [0.5] * 3))
    op = params(EXT, ResizeWidth=320, ResizeHeight=48, Padding=[127] * 3, **half)
    image = rgb(30, 61)
    assert op.chain((3, 48, 320))(image).shape == (1, 3, 48, 320)
    tensor = op.with_letterbox_ext(96, 48, 0, 0, 0, 224).chain((3, 48, 320))(image)
    assert np.unique(tensor[..., 96:]).tolist() == [-0.0039215087890625]
    resized = cv2.resize(image, (96, 48)).transpose(2, 0, 1)
    expected = (resized / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    np.testing.assert_allclose(tensor[0, :, :, :96], expected, atol=5e-4, rtol=0)


def test_an_ext_letterbox_adds_the_four_paddings() -> None:
    sides = {"PaddingTop": 1, "PaddingBottom": 2, "PaddingLeft": 3, "PaddingRight": 4}
    op = params(EXT, ResizeWidth=2, ResizeHeight=1, **sides)
    tensor = op.chain()(np.zeros((5, 5, 3), np.uint8))
    assert tensor.shape == (1, 3, 4, 9)
    assert np.argwhere(tensor[0, 0] == 0).tolist() == [[1, 3], [1, 4]]


def test_an_ext_letterbox_of_another_size_than_the_network_is_refused() -> None:
    op = params(EXT, ResizeWidth=8, ResizeHeight=8, PaddingLeft=1)
    with pytest.raises(BuildFileError, match="_EXT gives 8×9 images, the network's input is 8×8"):
        op.chain((3, 8, 8))


def test_run_parameters_of_other_ops_are_ignored() -> None:
    assert params(RESIZE).with_letterbox_ext(1, 2, 3, 4, 5, 6) == params(RESIZE)
    assert params(RESIZE).with_crop_resize_ext(1, 2, 3, 4) == params(RESIZE)


def test_resize_and_crop_can_be_set_per_image() -> None:
    op = params(CROP)
    with pytest.raises(BuildFileError, match="ResizeWidth and ResizeHeight are absent"):
        op.chain((3, 4, 4))
    image = rgb(8, 16)
    expected = cv2.resize(image, (10, 5))[0:4, 3:7].transpose(2, 0, 1)
    run_parameter = op.with_crop_resize_ext(3, 0, 10, 5).chain((3, 4, 4))
    attributes = replace(op, resize_width=10, resize_height=5, crop_x=3).chain((3, 4, 4))
    for chain in (run_parameter, attributes):
        np.testing.assert_array_equal(chain(image)[0], expected.astype(np.float32))


def test_without_oimage_the_networks_input_size_applies() -> None:
    for op_type in (RESIZE, LETTERBOX):
        assert params(op_type).chain((3, 6, 4))(rgb(9, 9)).shape == (1, 3, 6, 4)
    with pytest.raises(BuildFileError, match="OimageWidth and OimageHeight are needed"):
        params(RESIZE).chain()


@pytest.mark.parametrize(
    ("config", "shape", "text"),
    [
        (
            {"OimageWidth": 8, "OimageHeight": 6},
            (3, 8, 6),
            "NORM_TENSOR gives 6×8 images, the network's input is 8×6",
        ),
        ({"OimageWidth": 8}, (3, 8, 8), "OimageWidth and OimageHeight are needed"),
        ({}, (4, 8, 8), "has 4 channels"),
        ({"IimageFormat": "GRAY"}, (3, 8, 8), "GRAY gives 1 channel"),
        ({"ColorCvtCode": "BGR2RGB"}, (1, 8, 8), "exchanges channels"),
        (formula(MINUS_MEAN, ([1.0], [2.0])), (3, 8, 8), "Mean has 1 number for 3 channels"),
    ],
)
def test_a_json_of_another_network_is_refused(
    config: dict[str, Any], shape: tuple[int, int, int], text: str
) -> None:
    with pytest.raises(BuildFileError, match=text) as caught:
        params(**config).chain(shape)
    assert caught.value.where == "vdsp_params"


def test_single_ops_prepare_images_without_normalisation() -> None:
    image = rgb(8, 8)
    crop = params("SINGLE_OP_CROP", CropX=1, CropY=2).chain((3, 3, 4))
    np.testing.assert_array_equal(crop(image)[0], image[2:5, 1:5].transpose(2, 0, 1))
    resize = params("SINGLE_OP_RESIZE", OimageWidth=4, OimageHeight=2).chain()
    np.testing.assert_array_equal(resize(image)[0], cv2.resize(image, (4, 2)).transpose(2, 0, 1))
    swap = params("SINGLE_OP_CVT_COLOR", ColorCvtCode="BGR2RGB").chain((3, 8, 8))
    np.testing.assert_array_equal(swap(image)[0], image[:, :, ::-1].transpose(2, 0, 1))
    edges = {"EdgeTop": 1, "EdgeBottom": 1, "EdgeLeft": 5, "EdgeRight": 9}
    border = params("SINGLE_OP_COPY_MAKE_BORDER", **edges).chain((3, 10, 22))(image)
    assert (border[0, :, 1:9, 5:13] == image.transpose(2, 0, 1)).all()
    assert border.sum() == image.sum() + 114 * 3 * (10 * 22 - 64)
    sized = params("SINGLE_OP_COPY_MAKE_BORDER", **edges, OimageWidth=24, OimageHeight=12).chain()
    np.testing.assert_array_equal(
        sized(image)[0, :, 1:11, 5:15], cv2.resize(image, (10, 10)).transpose(2, 0, 1)
    )


def test_no_resize_leaves_the_size_to_the_image() -> None:
    op = params(ResizeType="NO_RESIZE")
    np.testing.assert_array_equal(op.chain((3, 4, 4))(rgb(4, 4))[0], rgb(4, 4).transpose(2, 0, 1))


def test_an_embedding_op_has_no_chain() -> None:
    for content in (
        {"OpType": "BERT_EMBEDDING_OP"},
        {"OpType": "BERT_EMBEDDING_OP", "OpConfig": {}},
    ):
        op = parse_vdsp(content)
        assert not op.reads_images
        with pytest.raises(BuildFileError, match="takes tensors"):
            op.chain()


NUMBERS = st.sampled_from([0, 1, 2, 4, 5, 8, 16, 3.0])
TRIPLES = st.sampled_from(
    [
        *IMAGENET,
        *IMAGENET_255,
        *EXACT,
        [0, 0, 0],
        [1, 1, 1],
        [5.960464477539063e-08] * 3,
        [0.5],
        None,
    ]
)
CONTENTS = st.fixed_dictionaries(
    {
        "OpType": st.sampled_from([*OP_TYPES, *REFUSED_OP_TYPES]),
        "OpConfig": st.fixed_dictionaries(
            {
                "ColorCvtCode": st.sampled_from(list(COLOR_CVT_CODES.values())),
                "NormaType": st.sampled_from(list(NORMA_TYPES.values())),
                "ResizeType": st.sampled_from(list(RESIZE_TYPES.values())),
            },
            optional={
                "IimageFormat": st.sampled_from(["RGB_PLANAR", "BGR888", "GRAY", "YUV_NV12", 5003]),
                "Mean": TRIPLES,
                "Std": TRIPLES,
                "Padding": st.sampled_from([[0, 0, 0], [127] * 3, [1, 2, 3], None]),
                **{f"Oimage{side}": NUMBERS for side in ("Width", "Height")},
                **{f"Iimage{side}": NUMBERS for side in ("Width", "Height")},
                **{f"Resize{side}": NUMBERS for side in ("Width", "Height")},
                **{f"Crop{side}": NUMBERS for side in ("X", "Y", "Width", "Height")},
                **{f"Padding{side}": NUMBERS for side in ("Top", "Bottom", "Left", "Right")},
                **{f"Edge{side}": NUMBERS for side in ("Top", "Bottom", "Left", "Right")},
            },
        ),
    }
)
SHAPES = st.none() | st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=300)
@given(CONTENTS, SHAPES, st.booleans())
def test_any_combination_of_known_values_works_or_is_refused_in_words(
    content: dict[str, Any], shape: tuple[int, int, int] | None, normalize: bool
) -> None:
    try:
        op = parse_vdsp(content)
        chain = op.chain(shape, normalize=normalize)
        tensor = chain(rgb(6, 7))
    except ModcError:
        return
    assert np.isfinite(tensor).all()
    restored = Chain.from_list(chain.to_list(), shape)
    assert restored.ops == chain.ops
    np.testing.assert_array_equal(restored(rgb(6, 7)), tensor)
    np.testing.assert_array_equal(tensor.astype(np.float16).astype(np.float32), tensor)
    try:
        again = corrected(op, chain, normalize=normalize)
    except ValueError:
        return
    other = parse_vdsp(again).chain(shape, normalize=normalize)(rgb(6, 7))
    np.testing.assert_allclose(other, tensor, rtol=2e-3, atol=2e-3 * max(1, np.abs(tensor).max()))
