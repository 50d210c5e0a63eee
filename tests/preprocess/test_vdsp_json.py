"""Reading vdsp JSONs: what is accepted, what is refused, and in which words."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import BuildFileError
from compiler.preprocess.ops import Normalize, Op
from compiler.preprocess.vdsp import VdspParams, parse_vdsp, read_vdsp
from compiler.preprocess.vdsp_names import (
    COLOR_CVT_CODES,
    IMAGE_FORMATS,
    LEGACY_OP_TYPES,
    NORMA_TYPES,
    OP_TYPES,
    REFUSED_OP_TYPES,
    RESIZE_TYPES,
)

LETTERBOX = "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR"
RESIZE = "FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR"
CONFIG = {
    "IimageFormat": "RGB_PLANAR",
    "ColorCvtCode": "NO_CHANGE",
    "ResizeType": "BILINEAR_CV",
    "NormaType": "DIV255",
}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "vdsp_params.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def one_op(**config: Any) -> dict[str, Any]:
    return {"OpType": RESIZE, "OpConfig": {**CONFIG, **config}}


def refusal(content: dict[str, Any]) -> str:
    with pytest.raises(BuildFileError) as caught:
        parse_vdsp(content, "a.json")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("a.json: ")
    return str(caught.value)


def normalize(ops: tuple[Op, ...]) -> Normalize:
    return next(op for op in ops if isinstance(op, Normalize))


def test_a_file_is_read(tmp_path: Path) -> None:
    loaded = read_vdsp(write(tmp_path, one_op(OimageWidth=96, OimageHeight=64)))
    assert loaded == VdspParams(
        op_type=RESIZE, norma_type="DIV255", oimage_width=96, oimage_height=64
    )
    assert loaded.source == str(tmp_path / "vdsp_params.json")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "no JSON: Expecting property name"),
        ("[" * 100_000, "no JSON: "),
        ("[]", "holds a list; expected one object"),
        ('"a"', "holds a str"),
    ],
)
def test_a_file_without_one_object_is_refused(tmp_path: Path, content: str, text: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(BuildFileError, match=text) as caught:
        read_vdsp(path)
    assert caught.value.where == str(path)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(BuildFileError, match="vdsp JSON cannot be read"):
            read_vdsp(path)
    (tmp_path / "utf16.json").write_bytes("{}".encode("utf-16"))
    with pytest.raises(BuildFileError, match="no JSON"):
        read_vdsp(tmp_path / "utf16.json")


def test_an_unknown_op_type_lists_those_that_are_supported() -> None:
    text = refusal({"OpType": RESIZE.replace("RESIZE", "RESZE")})
    assert f"did you mean '{RESIZE}'?" in text
    assert "supported: FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR, " in text
    assert "no OpType; did you mean 'OpTyp'?" in refusal({"OpTyp": RESIZE})
    assert "OpType ['a'] is not known" in refusal({"OpType": ["a"]})


@pytest.mark.parametrize("op_type", REFUSED_OP_TYPES)
def test_ops_that_prepare_no_input_are_refused(op_type: str) -> None:
    text = refusal({"OpType": op_type, "OpConfig": CONFIG})
    assert f"{op_type} cannot run as preprocessing" in text
    assert "supported: FUSION_OP_" in text


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"NormaType": "DIV256"}, 'OpConfig.NormaType is "DIV256"; expected one of NONE, EQUAL'),
        ({"NormaType": "div255"}, "did you mean 'DIV255'?"),
        ({"NormaType": 7}, "OpConfig.NormaType is 7; "),
        ({"NormaType": True}, "OpConfig.NormaType is true; "),
        ({"NormaType": ["DIV255"]}, "expected one of NONE, EQUAL, MINUSMEAN, "),
        ({"ColorCvtCode": "YUV2RGB_NV12"}, "expected one of NO_CHANGE, BGR2RGB, RGB2BGR"),
        ({"ColorCvtCode": "RGB2GBR"}, "did you mean 'RGB2BGR'?"),
        ({"ResizeType": "BILINEAR_PILOW"}, "did you mean 'BILINEAR_PILLOW'?"),
        ({"IimageFormat": "BGR88"}, "did you mean 'BGR888'?"),
        ({"IimageFormat": "YUV_NV12"}, "OpConfig.IimageFormat"),
        ({"OimageWidth": 0}, "OpConfig.OimageWidth is 0; expected a whole number from 1"),
        ({"OimageWidth": 1.5}, "whole number"),
        ({"OimageWidth": "640"}, 'OpConfig.OimageWidth is "640"'),
        ({"OimageWidth": 10**400}, "whole number"),
        ({"OimageWidth": float("nan")}, "OpConfig.OimageWidth is NaN"),
        ({"OimageWidth": True}, "whole number"),
        ({"NormaType": "MINUSMEAN"}, "OpConfig.Mean is absent; expected a list of three numbers"),
        ({"NormaType": "MINUSMEAN", "Mean": [1, 2]}, "three numbers"),
        ({"NormaType": "MINUSMEAN", "Mean": [1, 2, "3"]}, "within ±65504"),
        ({"NormaType": "MINUSMEAN", "Mean": [1, 2, 1e9]}, "within ±65504"),
        ({"NormaType": "MINUSMEAN", "Mean": [1, 2, float("inf")]}, "OpConfig.Mean"),
        (
            {"NormaType": "MINUSMEAN_DIVSTD", "Mean": [0, 0, 0], "Std": [1, 0, 1]},
            "OpConfig.Std is [1, 0, 1]; expected numbers other than 0 with MINUSMEAN_DIVSTD",
        ),
        (
            {"NormaType": "DIV255_MINUSMEAN_DIVSTD", "Mean": [0, 0, 0], "Std": [1, 1, 1e-30]},
            "other than 0",
        ),
    ],
)
def test_a_wrong_value_names_the_key_and_the_choices(config: dict[str, Any], text: str) -> None:
    assert text in refusal(one_op(**config))


@pytest.mark.parametrize("padding", [[256, 0, 0], [-1, 0, 0], [0.5, 0, 0], 114, []])
def test_a_padding_is_three_pixel_values(padding: object) -> None:
    content = {"OpType": LETTERBOX, "OpConfig": {**CONFIG, "Padding": padding}}
    assert "three numbers from 0 to 255" in refusal(content)
    assert parse_vdsp(one_op(Padding=padding)).padding == (114, 114, 114)  # no letterbox, not read


@pytest.mark.parametrize("key", ["ColorCvtCode", "ResizeType", "NormaType"])
def test_an_absent_enumeration_is_refused_with_a_near_miss(key: str) -> None:
    config = {name: value for name, value in CONFIG.items() if name != key}
    text = refusal({"OpType": RESIZE, "OpConfig": {**config, f"{key}s": "DIV255"}})
    assert f"OpConfig has no {key}; did you mean '{key}s'?" in text
    assert "OpConfig has no" in refusal({"OpType": RESIZE})
    assert "OpConfig is list" in refusal({"OpType": RESIZE, "OpConfig": []})


def test_unknown_keys_are_ignored_and_a_likely_slip_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = parse_vdsp(one_op(Scale=[127] * 3, TensorType0="FP16", Foo=1, OimageWith=640))
    assert loaded == parse_vdsp(one_op())
    assert [record.getMessage() for record in caplog.records] == [
        "vdsp_params: unknown key OimageWith is ignored; did you mean OimageWidth?"
    ]


def test_sizes_of_the_source_image_are_ignored() -> None:
    nominal = {f"Iimage{side}": -5 for side in ("Width", "Height", "WidthPitch", "HeightPitch")}
    assert parse_vdsp(one_op(**nominal)) == parse_vdsp(one_op())


def test_enumerations_are_read_by_number_too() -> None:
    for key, names in (
        ("NormaType", NORMA_TYPES),
        ("ResizeType", RESIZE_TYPES),
        ("ColorCvtCode", {n: name for n, name in COLOR_CVT_CODES.items() if n > 1}),
        ("IimageFormat", {n: name for n, name in IMAGE_FORMATS.items() if n}),
    ):
        for number, name in names.items():
            constants = {"Mean": [1, 2, 3], "Std": [1, 1, 1]}
            by_number = parse_vdsp(one_op(**constants, **{key: number}))
            assert by_number == parse_vdsp(one_op(**constants, **{key: name}))


def test_a_colour_space_belongs_to_nv12() -> None:
    op_type = "FUSION_OP_YUV_NV12_RESIZE_2RGB_NORM_TENSOR"
    config = {**CONFIG, "ColorCvtCode": "YUV2RGB_NV12", "ColorSpace": "BT709"}
    assert parse_vdsp({"OpType": op_type, "OpConfig": config}).color_space == "BT709"
    assert parse_vdsp(one_op(ColorSpace="nonsense")).color_space == "BT601"
    single = {"OpType": "SINGLE_OP_CVT_COLOR", "OpConfig": {"ColorCvtCode": "YUV2RGB_NV12"}}
    assert parse_vdsp(single).iimage_format == "YUV_NV12"


FLAT = {
    "vdsp_op_type": 301,
    "iimage_format": 5000,
    "iimage_width": 100,
    "iimage_height": 32,
    "iimage_width_pitch": 100,
    "oimage_width": 100,
    "oimage_height": 32,
    "resize_type": 1,
    "color_cvt_code": 2,
    "color_space": 1,
    **dict.fromkeys(("meanr", "meang", "meanb"), 14336),
    **dict.fromkeys(("stdr", "stdg", "stdb"), 14336),
    "norma_type": 4,
}


def test_flat_integers_mean_what_their_current_twin_says() -> None:
    twin = {"NormaType": "DIV255_MINUSMEAN_DIVSTD", "Mean": [0.5] * 3, "Std": [0.5] * 3}
    size = {"ResizeType": "BILINEAR", "OimageWidth": 100, "OimageHeight": 32}
    assert parse_vdsp(FLAT) == parse_vdsp(one_op(**twin, **size))


@pytest.mark.parametrize(("number", "op_type"), LEGACY_OP_TYPES.items())
def test_every_legacy_number_names_an_op(number: int, op_type: str) -> None:
    assert parse_vdsp({**FLAT, "vdsp_op_type": number}).op_type == op_type


@pytest.mark.parametrize(
    ("bits", "value"),
    [
        (14275, 0.485107421875),
        (13099, 0.2239990234375),
        (22459, 123.6875),
        (21292, 57.375),
        (12911, 0.2010498046875),
        (14336, 0.5),
        (15360, 1.0),
        (22520, 127.5),
        (22528, 128.0),
        (23552, 256.0),
        (13622, 0.32568359375),
        (14350, 0.5068359375),
        (1, 5.960464477539063e-08),
    ],
)
def test_legacy_constants_are_the_bits_of_a_float16(bits: int, value: float) -> None:
    loaded = parse_vdsp({**FLAT, "meang": bits, "stdb": bits})
    assert loaded.mean == (0.5, value, 0.5)
    assert loaded.std == (0.5, 0.5, value)
    assert normalize(loaded.chain((3, 32, 100)).ops).mean == (0.5, value, 0.5)


def test_current_constants_are_never_bits() -> None:
    loaded = parse_vdsp(one_op(NormaType="MINUSMEAN_DIVSTD", Mean=[104, 117, 123], Std=[1, 1, 256]))
    assert (loaded.mean, loaded.std) == ((104, 117, 123), (1, 1, 256))


def properties(**values: object) -> list[dict[str, object]]:
    return [
        {"Property": name, "DType": "UINT_16", "ParamType": "ELEMENT", "Value": value}
        for name, value in values.items()
    ]


def test_a_property_list_means_what_its_current_twin_says() -> None:
    config = properties(
        iimage_format="RGB_PLANAR",
        iimage_width=640,
        oimage_width=640,
        oimage_height=480,
        padding_value_r=1,
        padding_value_g=2,
        padding_value_b=3,
        edge_padding_type="EDGE_PADDING_TYPE_CONSTANT",
        meanr=14275,
        meang=14156,
        meanb=13951,
        stdr=13140,
        stdg=13099,
        stdb=13107,
        norma_type="DIV255",
        resize_type="BILINEAR_CV",
        color_cvt_code="COLOR_NO_CHANGE",
        color_space="COLOR_SPACE_BT601",
    )
    name = "RGB_LETTERBOX_CVTCOLOR_NORMALIZATION_TENSORIZATION_U8"
    twin = {**CONFIG, "OimageWidth": 640, "OimageHeight": 480, "Padding": [1, 2, 3]}
    assert parse_vdsp({"vdsp_op_type": name, "config": config}) == parse_vdsp(
        {"OpType": LETTERBOX, "OpConfig": twin}
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({**FLAT, "vdsp_op_type": 302}, "vdsp_op_type 302 is not known; expected 300 (FUSION"),
        ({**FLAT, "vdsp_op_type": None}, "no OpType"),
        ({**FLAT, "vdsp_op_type": True}, "OpType True is not known"),
        ({**FLAT, "stdb": 70000}, "70000 is not the bits of a float16"),
        ({**FLAT, "stdb": 0.5}, "0.5 is not the bits of a float16"),
        ({**FLAT, "short_edge_threshold": 256}, "short_edge_threshold scales the short side"),
        ({"vdsp_op_type": "RGB", "config": 3}, "config is not a list"),
        ({"vdsp_op_type": "RGB", "config": [{}]}, "config is not a list"),
        ({**FLAT, "color_cvt_code": 9}, "OpConfig.ColorCvtCode is 9"),
    ],
)
def test_a_legacy_file_that_cannot_be_right_is_refused(content: dict[str, Any], text: str) -> None:
    assert text in refusal(content)


def test_the_reference_page_names_every_op_and_formula() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/reference/vdsp_params.md"
    words = set(re.findall(r"`(\w+)`", page.read_text("utf-8")))
    rgb = {name for name in OP_TYPES if name.startswith("FUSION_OP_RGB")}
    assert rgb | {"BERT_EMBEDDING_OP"} | set(NORMA_TYPES.values()) <= words
    assert sum(name.startswith("FUSION_OP_YUV_NV12") for name in OP_TYPES) == 7
