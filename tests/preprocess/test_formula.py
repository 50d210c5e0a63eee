"""Two dialects, one formula: words for a chain, comparison of chains, and the corrected JSON."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.preprocess.chain import Chain
from compiler.preprocess.formula import compare_chains, describe
from compiler.preprocess.ops import CustomFunc
from compiler.preprocess.vdsp import VdspParams, parse_vdsp
from compiler.preprocess.vdsp_correct import contradiction, corrected

CROP = "FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR"
RESIZE = "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR"
LETTERBOX = "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR"
EXT = "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR_EXT"
EXACT = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
IMAGENET: dict[str, Any] = {
    "NormaType": "DIV255_MINUSMEAN_DIVSTD",
    "Mean": [0.485107421875, 0.4560546875, 0.406005859375],
    "Std": [0.22900390625, 0.2239990234375, 0.2249755859375],
}
IMAGENET_255: dict[str, Any] = {
    "NormaType": "MINUSMEAN_DIVSTD",
    "Mean": [123.6875, 116.25, 103.5],
    "Std": [58.40625, 57.125, 57.375],
}
SWAP = {"type": "CvtColor", "code": "COLOR_RGB2BGR"}
NO_NORM = {"type": "Normalize", "norm_type": None}
Shape = tuple[int, int, int]


def yaml(*ops: dict[str, Any], shape: Shape | None = None) -> Chain:
    return Chain.from_list([{"type": "DecodeImage"}, *ops, {"type": "ToTensor"}], shape)


def resize(*size: int, **fields: Any) -> dict[str, Any]:
    return {"type": "Resize", "size": list(size), **fields}


def vdsp(op_type: str = RESIZE, **config: Any) -> VdspParams:
    enums = {"ColorCvtCode": "NO_CHANGE", "ResizeType": "BILINEAR_CV", "NormaType": "DIV255"}
    return parse_vdsp({"OpType": op_type, "OpConfig": {**enums, **config}})


def warning_of(json_: VdspParams, own: Chain, *, normalize: bool = True) -> str | None:
    chain = json_.chain(own.shape, normalize=normalize)
    return contradiction(json_, chain, own, normalize=normalize)


def words(chain: Chain) -> str:
    return describe(chain.ops, chain.shape)


UNET3P = yaml(SWAP, resize(128, 128), {**NO_NORM, "norm_type": "None"}, shape=(3, 128, 128))
MODNET_NORM = {"type": "Normalize", "div255": False, "mean": [127.5] * 3, "std": [127.5] * 3}
MODNET = yaml(resize(480, 288), MODNET_NORM, shape=(3, 480, 288))
MODNET_JSON: dict[str, Any] = {
    "NormaType": "MINUSMEAN_DIVSTD",
    "Mean": [127.5] * 3,
    "Std": [127.5] * 3,
}


def test_both_dialects_of_unet3p_swap_and_read_the_same() -> None:
    """The JSON lists a mean and std of 0.5 that DIV255 does not use."""
    json_ = vdsp(ColorCvtCode="BGR2RGB", Mean=[0.5] * 3, Std=[0.5] * 3)
    sentence = "RGB -> swap channels 0 and 2 (BGR); resize to 128×128, bilinear (OpenCV); x / 255"
    assert words(UNET3P) == words(json_.chain(UNET3P.shape)) == sentence
    assert warning_of(json_, UNET3P) is None


def test_modnets_json_swaps_where_its_build_file_does_not() -> None:
    json_ = vdsp(ColorCvtCode="BGR2RGB", **MODNET_JSON)
    assert warning_of(json_, MODNET) == (
        "prepares images differently from the bundle (channel order)\n"
        "  bundle: RGB; resize to 480×288, bilinear (OpenCV); (x - 127.5) / 127.5\n"
        "  here:   RGB -> swap channels 0 and 2 (BGR); resize to 480×288, bilinear (OpenCV); "
        "(x - 127.5) / 127.5\n"
        "  fix: follow what the network was trained with; leave the JSON out to prepare images as "
        'the bundle does, or set in the JSON ColorCvtCode "NO_CHANGE"'
    )
    assert compare_chains(MODNET, vdsp(**MODNET_JSON).chain(MODNET.shape)) is None


@pytest.mark.parametrize(
    ("ops", "op_type", "config", "shape"),
    [
        ([resize(8, 8), {"type": "Normalize", **EXACT}], RESIZE, IMAGENET, (3, 8, 8)),
        ([resize(8, 8), {"type": "Normalize", **EXACT}], RESIZE, IMAGENET_255, (3, 8, 8)),
        (
            [resize(8, 8), {"type": "Normalize", "mean": [0.5], "std": [0.5]}],
            RESIZE,
            {"NormaType": "DIV1275_MINUSONE", "Mean": [0.4] * 3, "Std": [0.2] * 3},
            (3, 8, 8),
        ),
        (
            [resize(8, 8, interpolation="linear"), NO_NORM],
            RESIZE,
            {"NormaType": "DIV255_MINUSMEAN_DIVSTD", "Mean": [0, 0, 0], "Std": [1, 1, 1]},
            (3, 8, 8),
        ),
        ([resize(8, 8)], RESIZE, {"NormaType": "EQUAL"}, (3, 8, 8)),
        (
            [resize(256, 256), {"type": "CenterCrop", "crop_size": 224}, NO_NORM],
            CROP,
            {"ResizeWidth": 256, "ResizeHeight": 256, "CropX": 16, "CropY": 16},
            (3, 224, 224),
        ),
        (
            [resize(342, 342), {"type": "CenterCrop", "crop_size": 299}, NO_NORM],
            CROP,
            {"ResizeWidth": 342, "ResizeHeight": 342, "CropX": 21, "CropY": 21},
            (3, 299, 299),
        ),
        (
            [resize(160, 160), NO_NORM],
            CROP,
            {"ResizeWidth": 160, "ResizeHeight": 160, "CropX": 0, "CropY": 0},
            (3, 160, 160),
        ),
        (
            [resize(640, -1, adaptive_side="long"), {"type": "Pad"}, NO_NORM],
            LETTERBOX,
            {"OimageWidth": 640, "OimageHeight": 640},
            (3, 640, 640),
        ),
        # fairmot: no Pad in the build file, so that the chain pads.
        ([resize(608, 1088, adaptive_side="long"), NO_NORM], LETTERBOX, {}, (3, 608, 1088)),
        (
            [
                resize(6, 9, adaptive_side="long"),
                {"type": "Pad", "pad_to_square": False, "value": 5},
                NO_NORM,
            ],
            LETTERBOX,
            {"Padding": [5, 5, 5]},
            (3, 6, 9),
        ),
        # pfld: no Resize in the build file, so that the chain stretches.
        ([NO_NORM], RESIZE, {}, (3, 112, 112)),
        ([SWAP, resize(8, 8), SWAP, NO_NORM], RESIZE, {}, (3, 8, 8)),
        ([resize(8, 8), SWAP, NO_NORM], RESIZE, {"ColorCvtCode": "RGB2BGR"}, (3, 8, 8)),
        (
            [resize(8, 8, backend="pillow", interpolation="hamming"), NO_NORM],
            RESIZE,
            {"ResizeType": "HAMMING_PILLOW"},
            (3, 8, 8),
        ),
        (
            [resize(8, -1), {"type": "Pad", "value": [9, 9, 9]}, resize(8, 8), NO_NORM],
            LETTERBOX,
            {"Padding": [9, 9, 9]},
            (3, 8, 8),
        ),
        (
            [resize(4, 8), {"type": "Pad"}, {"type": "Pad", "value": 3}, NO_NORM],
            EXT,
            {"ResizeWidth": 8, "ResizeHeight": 4, "PaddingTop": 2, "PaddingBottom": 2},
            (3, 8, 8),
        ),
    ],
)
def test_chains_that_do_the_same_are_the_same(
    ops: list[dict[str, Any]], op_type: str, config: dict[str, Any], shape: Shape
) -> None:
    build_file, json_ = yaml(*ops, shape=shape), vdsp(op_type, **config)
    chain = json_.chain(shape)
    assert compare_chains(build_file, chain) is None
    assert compare_chains(chain, build_file) is None
    geometry = [words(one).split("; ")[:-1] for one in (build_file, chain)]
    assert geometry[0] == geometry[1]
    image = np.random.default_rng(1).integers(0, 256, (19, 31, 3), np.uint8)
    np.testing.assert_allclose(build_file(image), chain(image), atol=4e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("op_type", "config", "names"),
    [
        (RESIZE, {"ColorCvtCode": "RGB2BGR"}, "channel order"),
        (RESIZE, {"NormaType": "EQUAL"}, "scale"),
        (RESIZE, IMAGENET, "mean and std"),
        (RESIZE, {"ResizeType": "BILINEAR_PILLOW"}, "interpolation"),
        (RESIZE, {"ResizeType": "NEAREST_CV"}, "interpolation"),
        (LETTERBOX, {}, "aspect ratio, padding"),
        (CROP, {"ResizeWidth": 10, "ResizeHeight": 10}, "size, crop"),
        (EXT, {"ResizeWidth": 8, "ResizeHeight": 6, "PaddingTop": 2}, "padding, size"),
    ],
)
def test_what_differs_is_named(op_type: str, config: dict[str, Any], names: str) -> None:
    build_file = yaml(resize(8, 8), NO_NORM, shape=(3, 8, 8))
    text = compare_chains(build_file, vdsp(op_type, **config).chain((3, 8, 8)))
    assert text is not None
    assert text.startswith(f"prepares images differently from the bundle ({names})\n")


def test_means_of_other_data_sets_are_told_apart() -> None:
    cifar = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
    build_file = yaml(resize(8, 8), {"type": "Normalize", **cifar}, shape=(3, 8, 8))
    text = compare_chains(build_file, vdsp(**IMAGENET).chain((3, 8, 8)))
    assert text is not None
    assert "(x / 255 - [0.4914, 0.4822, 0.4465]) / [0.2023, 0.1994, 0.201]" in text
    assert "(x / 255 - [0.485107, 0.456055, 0.406006]) / [0.229004, 0.223999, 0.224976]" in text


def test_means_for_other_numbers_of_channels_differ() -> None:
    one, other = (
        yaml({"type": "Normalize", "mean": [0.0] * count, "std": [1.0] * count}) for count in (2, 3)
    )
    text = compare_chains(one, other)
    assert text is not None
    assert "(mean and std)" in text


def test_two_normalisations_are_one_formula() -> None:
    twice = yaml(resize(8, 8), NO_NORM, {"type": "Normalize", "div255": False, **EXACT})
    once = yaml(resize(8, 8), {"type": "Normalize", **EXACT})
    assert compare_chains(twice, once) is None
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_allclose(twice(image), once(image), atol=1e-6)
    halved = yaml(
        resize(8, 8),
        {"type": "Normalize", "mean": [0.5], "std": [0.25]},
        {"type": "Normalize", "mean": [0.1], "std": [2.0]},
    )
    line = {"mean": [255 * (0.5 + 0.1 * 255 * 0.25)], "std": [0.25 * 255 * 2.0 * 255]}
    alone = yaml(resize(8, 8), {"type": "Normalize", "div255": False, **line})
    assert compare_chains(halved, alone) is None
    np.testing.assert_allclose(halved(image), alone(image), atol=1e-6)


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        (
            [resize(8, -1, adaptive_side="short"), {"type": "CenterCrop", "crop_size": 6}],
            "RGB; cover 8×8, bilinear (OpenCV); crop 6×6 in the middle; x (0 to 255)",
        ),
        (
            [resize(8, -1, rounding="floor"), {"type": "Pad", "position": "topleft", "value": 0}],
            "RGB; fit into 8×8, bilinear (OpenCV), sizes rounded down; pad to 8×8 with 0 at "
            "the bottom and right; x (0 to 255)",
        ),
        (
            [{"type": "CvtColor", "code": "RGB2YCrCb"}, {"type": "ChannelSplit"}, resize(4, 4)],
            "RGB -> COLOR_RGB2YCrCb -> channel 0; resize to 4×4, bilinear (OpenCV); x (0 to 255)",
        ),
        (
            [resize(4, 6), {"type": "Pad", "position": "topleft", "value": [1, 2, 3]}, SWAP],
            "RGB -> swap channels 0 and 2 (BGR); resize to 4×6, bilinear (OpenCV); "
            "pad with [3, 2, 1]: top 0, bottom 2, left 0, right 0; x (0 to 255)",
        ),
        (
            [resize(9, 9), resize(4, -1), {"type": "Normalize", "mean": [3], "std": [1]}],
            "RGB; resize to 9×9, bilinear (OpenCV); resize to 4×4, bilinear (OpenCV); x / 255 - 3",
        ),
        (
            [{"type": "Pad", "position": "topleft"}, resize(4, -1, adaptive_side="short")],
            "RGB; pad to a square with 114 at the bottom and right; cover 4×4, bilinear (OpenCV); "
            "x (0 to 255)",
        ),
        (
            [{"type": "Normalize", "div255": None, "mean": [0], "std": [2]}],
            "RGB; x / 2",
        ),
    ],
)
def test_a_chain_in_words(ops: list[dict[str, Any]], expected: str) -> None:
    assert words(yaml(*ops)) == expected


def test_decoding_is_told_apart() -> None:
    gray = Chain.from_list([{"type": "DecodeImage", "cv2_flags": 0}])
    small = Chain.from_list([{"type": "DecodeImage", "cv2_flags": 17}])
    assert words(gray) == "gray; x (0 to 255)"
    assert words(small) == "RGB decoded at 1/2 of the size; x (0 to 255)"
    text = compare_chains(gray, small)
    assert text is not None
    assert "(channels)" in text


def test_a_function_of_the_user_cannot_be_compared() -> None:
    op = CustomFunc(module_path="own.py", func_name="prepare")
    own = Chain([op], (3, 8, 8), allow_custom_code=True)
    assert compare_chains(own, Chain([op], (3, 8, 8), allow_custom_code=True)) is None
    text = warning_of(vdsp(), own)
    assert text is not None
    assert "a function of the user, which cannot be compared" in text
    assert "bundle: prepare of own.py" in text


def test_a_network_that_normalises_by_itself_is_compared_without() -> None:
    build_file = yaml(resize(8, 8), shape=(3, 8, 8))
    json_ = vdsp(**IMAGENET)
    assert warning_of(json_, build_file, normalize=False) is None
    swapped = vdsp(**IMAGENET, ColorCvtCode="RGB2BGR")
    text = warning_of(swapped, build_file, normalize=False)
    assert text is not None
    assert text.endswith('or set in the JSON ColorCvtCode "NO_CHANGE"')
    content = corrected(swapped, build_file, normalize=False)
    assert content["OpConfig"]["Mean"] == IMAGENET["Mean"]


def test_a_corrected_json_does_what_the_bundle_does() -> None:
    build_file = yaml(
        SWAP,
        resize(64, -1, adaptive_side="long", backend="pillow"),
        {"type": "Pad", "value": 0},
        {"type": "Normalize", **EXACT},
        shape=(3, 64, 64),
    )
    content = corrected(vdsp(IimageFormat="BGR888"), build_file)
    assert content == {
        "OpType": LETTERBOX,
        "OpConfig": {
            "IimageFormat": "BGR888",
            "ColorCvtCode": "NO_CHANGE",
            "ResizeType": "BILINEAR_PILLOW",
            "OimageWidth": 64,
            "OimageHeight": 64,
            "Padding": [0, 0, 0],
            **IMAGENET,
        },
    }
    assert compare_chains(build_file, parse_vdsp(content).chain((3, 64, 64))) is None


@pytest.mark.parametrize(
    ("geometry", "op_type", "keys"),
    [
        (
            [resize(8, 10), {"type": "CenterCrop", "crop_size": [6, 4]}],
            CROP,
            {"ResizeWidth": 10, "OimageHeight": 6, "CropX": 3, "CropY": 1},
        ),
        (
            [{"type": "Crop", "crop_size": 5, "top": 2, "left": 1}, resize(8, 9)],
            "FUSION_OP_RGB_CROP_RESIZE_CVTCOLOR_NORM_TENSOR",
            {"CropWidth": 5, "CropX": 1, "CropY": 2, "OimageWidth": 9},
        ),
        (
            [resize(4, 9), {"type": "Pad", "value": 5}],
            EXT,
            {"ResizeWidth": 9, "PaddingTop": 2, "PaddingBottom": 3, "Padding": [5, 5, 5]},
        ),
        ([], "FUSION_OP_RGB_CVTCOLOR_NORM_TENSOR", {"NormaType": "DIV255"}),
    ],
)
def test_every_geometry_has_its_op_type(
    geometry: list[dict[str, Any]], op_type: str, keys: dict[str, Any]
) -> None:
    build_file = yaml(*geometry, NO_NORM)
    content = corrected(vdsp(OimageWidth=8, OimageHeight=8), build_file)
    assert content["OpType"] == op_type
    assert content["OpConfig"].items() >= keys.items()
    assert compare_chains(build_file, parse_vdsp(content).chain()) is None


def test_an_nv12_json_stays_one() -> None:
    op_type = "FUSION_OP_YUV_NV12_RESIZE_2RGB_NORM_TENSOR"
    json_ = vdsp(op_type, ColorCvtCode="YUV2RGB_NV12", NormaType="EQUAL")
    content = corrected(json_, UNET3P)
    assert content["OpType"] == op_type
    assert content["OpConfig"]["ColorCvtCode"] == "YUV2BGR_NV12"
    letterbox = yaml(resize(8, 8, adaptive_side="long"), NO_NORM, shape=(3, 8, 8))
    other = corrected(json_, letterbox)
    assert other["OpType"] == "FUSION_OP_YUV_NV12_CVTCOLOR_LETTERBOX_NORM_TENSOR"
    padded = yaml(resize(4, 8), {"type": "Pad"}, NO_NORM)
    with pytest.raises(ValueError, match="no nv12 op type has the geometry letterbox_ext"):
        corrected(json_, padded)


@pytest.mark.parametrize(
    ("ops", "text"),
    [
        ([{"type": "CvtColor", "code": "RGB2YCrCb"}], "no ColorCvtCode does COLOR_RGB2YCrCb"),
        ([resize(8, 8, interpolation="area")], "no ResizeType means area"),
        ([resize(16, 16), resize(8, 8)], "no op type has these geometric steps"),
        ([resize(8, -1, rounding="floor"), {"type": "Pad"}], "no op type has these"),
        ([resize(8, -1), {"type": "Pad", "value": [1, 2, 3]}], "Padding is in the order"),
        ([{"type": "Normalize", "mean": [0.5], "std": [1e-7]}, resize(8, 8)][:1], "float16"),
    ],
)
def test_what_a_json_cannot_say_is_an_error_and_leaves_the_warning_whole(
    ops: list[dict[str, Any]], text: str
) -> None:
    build_file = yaml(*ops, shape=(3, 8, 8))
    with pytest.raises(ValueError, match=text):
        corrected(vdsp(), build_file)
    warning = warning_of(vdsp(ResizeType="NEAREST_CV"), build_file)
    assert warning is not None
    assert warning.endswith("to prepare images as the bundle does")


GEOMETRY = st.sampled_from(
    [
        resize(8, 8),
        resize(6, 9),
        resize(8, -1),
        resize(8, -1, adaptive_side="short"),
        resize(8, 8, adaptive_side="long", interpolation="nearest"),
        {"type": "CenterCrop", "crop_size": 4},
        {"type": "Crop", "crop_size": [3, 4], "top": 1, "left": 0},
        {"type": "Pad", "value": [1, 2, 3]},
        {"type": "Pad", "pad_to_square": False},
        {"type": "PadTo", "size": [9, 9]},
        {"type": "Border", "left": 1, "value": 7},
        SWAP,
    ]
)
VALUES = st.lists(
    st.sampled_from(
        [NO_NORM, {"type": "Normalize", **EXACT}, {"type": "Normalize", "div255": False, **EXACT}]
    ),
    max_size=2,
)


@settings(max_examples=300)
@given(st.lists(GEOMETRY, max_size=4), VALUES)
def test_a_chain_is_the_same_as_itself_and_its_normal_form_is_true(
    geometry: list[dict[str, Any]], values: list[dict[str, Any]]
) -> None:
    chain = yaml(*geometry, *values)
    assert compare_chains(chain, yaml(*geometry, *values)) is None
    assert words(chain) == words(Chain.from_list(chain.to_list()))
    assert "\n" not in words(chain)
    # A swap in front and one at the end of the geometry cancel, whatever pads between them.
    grays = [op for op in geometry if op.get("value") != [1, 2, 3]]
    assert compare_chains(yaml(*grays), yaml(SWAP, *grays, SWAP)) is None
