"""Names, images, tensors and operators of `vaststreamx`."""

import json
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import compiler.compat.vaststreamx as vsx
from compiler.errors import BuildFileError, BundleError
from compiler.preprocess.vdsp_names import COLOR_CVT_CODES, IMAGE_FORMATS, OP_TYPES, RESIZE_TYPES
from tests.support import scripts
from tests.support.scripts import script_bundle, vdsp_json

RGB = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
FORMATS = vsx.ImageFormat


def rgb_image() -> vsx.Image:
    return vsx.create_image(RGB, FORMATS.RGB_INTERLEAVE, 10, 6, 0)


def test_an_unknown_name_is_an_attribute_error_with_names_near_it() -> None:
    with pytest.raises(AttributeError, match=r"no 'create_images'.*create_image"):
        vsx.create_images  # noqa: B018  # the mistake
    with pytest.raises(AttributeError, match=r"no 'qqq' on this machine$"):
        vsx.qqq  # noqa: B018  # the mistake
    assert not hasattr(vsx, "Context")


def test_any_device_number_is_accepted_with_0() -> None:
    assert vsx.set_device(0) == 0
    assert vsx.set_device(6) == 0
    with pytest.raises(BundleError, match="device -1"):
        vsx.set_device(-1)


def test_numpy_has_the_names_that_scripts_use() -> None:
    assert vars(np)["int"] is int
    assert vars(np)["float"] is float


def test_image_formats_have_the_numbers_that_scripts_compare() -> None:
    assert {form.name: int(form) for form in FORMATS} == {
        "YUV_NV12": 0,
        "RGB_PLANAR": 5000,
        "BGR_PLANAR": 5001,
        "RGB_INTERLEAVE": 5002,
        "BGR_INTERLEAVE": 5003,
        "GRAY": 5004,
    }
    assert len(set(vsx.ColorCvtCode)) == len(vsx.ColorCvtCode.__members__) == 16


@pytest.mark.parametrize(
    ("constants", "of_json"),
    [
        (vsx.ImageFormat, IMAGE_FORMATS),
        (vsx.ImageResizeType, RESIZE_TYPES),
        (vsx.ColorCvtCode, COLOR_CVT_CODES),
    ],
)
def test_constants_have_the_numbers_of_a_json(
    constants: type[IntEnum], of_json: Mapping[int, str]
) -> None:
    assert {number: constants(number).name for number in of_json} == of_json


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (FORMATS.RGB_PLANAR, (3, 6, 10)),
        (FORMATS.BGR_PLANAR, (3, 6, 10)),
        (FORMATS.RGB_INTERLEAVE, (6, 10, 3)),
        (FORMATS.BGR_INTERLEAVE, (6, 10, 3)),
        (FORMATS.GRAY, (6, 10)),
        (FORMATS.GRAY, (1, 6, 10)),
        (FORMATS.YUV_NV12, (9, 10)),
    ],
)
def test_images_copy_arrays_of_the_format(form: vsx.ImageFormat, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape[::-1]).T  # not contiguous
    array.flags.writeable = False
    image = vsx.create_image(array, form, 10, 6, 0)
    assert (image.width, image.height, image.format, image.shape) == (10, 6, form, list(shape))
    copy = vsx.as_numpy(image.clone(0))
    np.testing.assert_array_equal(copy, array)
    copy[:] = 0
    np.testing.assert_array_equal(vsx.as_numpy(image), array)


@pytest.mark.parametrize(
    ("array", "form", "size"),
    [
        (RGB, FORMATS.RGB_INTERLEAVE, (6, 10)),  # width and height exchanged
        (RGB, FORMATS.RGB_PLANAR, (10, 6)),
        (RGB.astype(np.float32), FORMATS.RGB_INTERLEAVE, (10, 6)),
        (np.zeros((9, 11), np.uint8), FORMATS.YUV_NV12, (11, 6)),
        (np.zeros((0, 0, 3), np.uint8), FORMATS.RGB_INTERLEAVE, (0, 0)),
        (RGB, "RGB_INTERLEAVE", (10, 6)),
    ],
)
def test_other_arrays_are_refused(
    array: np.ndarray, form: vsx.ImageFormat, size: tuple[int, int]
) -> None:
    with pytest.raises(BundleError, match=r"vaststreamx\.create_image"):
        vsx.create_image(array, form, *size, 0)


def test_tensors_copy_arrays() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    tensor = vsx.from_numpy(array, 0)
    assert isinstance(tensor, vsx.Tensor)
    assert (tensor.shape, tensor.size, tensor.dtype) == ([2, 3], 6, vsx.TypeFlag.INT32)
    clone = tensor.clone(-1)
    assert clone.addr != tensor.addr
    array[:] = 0
    np.testing.assert_array_equal(vsx.as_numpy(clone), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(BundleError, match="bool values"):
        vsx.from_numpy(np.array([True]), 0)
    with pytest.raises(BundleError, match="outputs of a sample are a list"):
        vsx.as_numpy([tensor])  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("form", FORMATS)
def test_colours_survive_a_conversion_there_and_back(form: vsx.ImageFormat) -> None:
    image = vsx.cvtcolor(rgb_image(), form)
    assert (image.format, image.width, image.height) == (form, 10, 6)
    back = vsx.as_numpy(vsx.cvtcolor(image, FORMATS.RGB_INTERLEAVE))
    if form is FORMATS.GRAY:
        gray = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(back, np.repeat(gray[:, :, None], 3, 2))
        np.testing.assert_array_equal(vsx.as_numpy(vsx.cvtcolor(image, form)), gray)
    elif form is FORMATS.YUV_NV12:
        plain = vsx.create_image(
            np.full((6, 10, 3), (128, 64, 255), np.uint8), FORMATS.RGB_INTERLEAVE, 10, 6, 0
        )
        nv12 = vsx.as_numpy(vsx.cvtcolor(plain, form))
        assert nv12[0, 0] == pytest.approx(106.1, abs=1)  # Y, U, V of video-range BT.601
        assert nv12[6, :2] == pytest.approx([202.4, 142.5], abs=1)
    else:
        np.testing.assert_array_equal(back, RGB)


def test_an_odd_image_cannot_become_nv12() -> None:
    odd = vsx.crop(rgb_image(), (0, 0, 9, 6))
    with pytest.raises(BundleError, match="even sizes"):
        vsx.cvtcolor(odd, FORMATS.YUV_NV12)


@pytest.mark.parametrize("form", [FORMATS.RGB_PLANAR, FORMATS.BGR_INTERLEAVE, FORMATS.GRAY])
def test_resizing_is_that_of_opencv_and_pillow(form: vsx.ImageFormat) -> None:
    image = vsx.cvtcolor(rgb_image(), form)
    rows = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY) if form is FORMATS.GRAY else RGB

    def resized(type: vsx.ImageResizeType) -> np.ndarray:
        small = vsx.resize(image, type, resize_width=5, resize_height=4)
        assert (small.width, small.height, small.format) == (5, 4, form)
        plain = form if form is FORMATS.GRAY else FORMATS.RGB_INTERLEAVE
        return vsx.as_numpy(vsx.cvtcolor(small, plain))

    kinds = vsx.ImageResizeType
    np.testing.assert_array_equal(resized(kinds.BILINEAR_CV), cv2.resize(rows, (5, 4)))
    for kind, method in [
        (kinds.BILINEAR_PILLOW, Image.Resampling.BILINEAR),
        (kinds.BICUBIC_PILLOW, Image.Resampling.BICUBIC),
    ]:
        expected = np.asarray(Image.fromarray(rows).resize((5, 4), method))
        np.testing.assert_array_equal(resized(kind), expected)


def test_images_are_cropped_and_surrounded() -> None:
    image = vsx.cvtcolor(rgb_image(), FORMATS.RGB_PLANAR)
    cut = vsx.crop(image, (2, 1, 5, 3))
    np.testing.assert_array_equal(vsx.as_numpy(cut), RGB[1:4, 2:7].transpose(2, 0, 1))

    framed = vsx.resize_copy_make_border(
        image,
        vsx.ImageResizeType.NO_RESIZE,
        10,
        6,
        vsx.ImagePaddingType.PADDING_TYPE_CONSTANT,
        (114, 113, 112),
        padding_edges=(1, 2, 3, 4),
    )
    expected = np.empty((9, 17, 3), np.uint8)
    expected[:] = (114, 113, 112)
    expected[1:7, 3:13] = RGB
    np.testing.assert_array_equal(vsx.as_numpy(framed), expected.transpose(2, 0, 1))
    assert (framed.width, framed.height) == (17, 9)


def test_functions_on_images_refuse_what_they_cannot_do() -> None:
    with pytest.raises(BundleError, match=r"vaststreamx\.crop: .*does not contain"):
        vsx.crop(rgb_image(), (8, 0, 5, 3))
    with pytest.raises(BundleError, match=r"vaststreamx\.crop: .*unpack"):
        vsx.crop(rgb_image(), (0, 0, 5))
    with pytest.raises(BundleError, match="convert it with cvtcolor first"):
        vsx.crop(vsx.cvtcolor(rgb_image(), FORMATS.YUV_NV12), (0, 0, 2, 2))
    with pytest.raises(BundleError, match="ImageResizeType"):
        vsx.resize(rgb_image(), "BILINEAR", 4, 4)  # type: ignore[arg-type]  # the mistake


def test_an_image_operator_shows_what_its_json_says(tmp_path: Path) -> None:
    path = vdsp_json(tmp_path, IimageFormat="BGR888", NormaType="MINUSMEAN", Mean=[1, 2, 3])
    (operator,) = vsx.Operator.load_ops_from_json_file(path)
    assert operator.op_type >= 100
    assert operator.op_type is vsx.OpType.FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR
    built_in = operator.cast_to_buildin_operator()
    assert built_in.get_attribute(vsx.AttrKey.IIMAGE_FORMAT) == 5003
    assert built_in.get_attribute(vsx.AttrKey.OIMAGE_WIDTH) == 8
    assert built_in.get_attribute(vsx.AttrKey.MEAN, 1) == 2
    assert "RESIZE_WIDTH" not in list(built_in.attributes.keys())
    with pytest.raises(BundleError, match="RESIZE_WIDTH is not set"):
        built_in.get_attribute(vsx.AttrKey.RESIZE_WIDTH)
    built_in.set_attribute({vsx.AttrKey.IIMAGE_FORMAT: FORMATS.GRAY, vsx.AttrKey.MEAN: [4, 5, 6]})
    assert built_in.params.iimage_format == "GRAY"
    assert built_in.params.mean == (4, 5, 6)


def test_attributes_are_set_by_the_rules_of_a_json(tmp_path: Path) -> None:
    (operator,) = vsx.Operator.load_ops_from_json_file(vdsp_json(tmp_path))
    built_in = operator.cast_to_buildin_operator()
    built_in.set_attribute(
        {
            vsx.AttrKey.RESIZE_TYPE: int(vsx.ImageResizeType.NEAREST_CV),
            vsx.AttrKey.COLOR_CVT_CODE: vsx.ColorCvtCode.BGR2RGB,
            vsx.AttrKey.OIMAGE_WIDTH: np.int64(4),
        }
    )
    assert built_in.params.resize_type == "NEAREST_CV"
    assert built_in.params.color_cvt_code == "BGR2RGB"
    before = built_in.params
    with pytest.raises(BuildFileError, match="OimageWidth is 0; expected a whole number from 1"):
        built_in.set_attribute({vsx.AttrKey.OIMAGE_WIDTH: 0})
    assert built_in.params == before
    assert built_in.get_attribute(vsx.AttrKey.OIMAGE_WIDTH) == 4


def test_a_legacy_json_has_attributes_too(tmp_path: Path) -> None:
    flat = {"vdsp_op_type": 301, "iimage_format": 5000, "oimage_width": 8, "oimage_height": 6}
    flat |= {"resize_type": 6, "color_cvt_code": 2, "norma_type": 6}
    (tmp_path / "flat.json").write_text(json.dumps(flat))
    (operator,) = vsx.Operator.load_ops_from_json_file(tmp_path / "flat.json")
    built_in = operator.cast_to_buildin_operator()
    built_in.set_attribute({vsx.AttrKey.OIMAGE_WIDTH: 16})
    assert (built_in.params.oimage_height, built_in.params.oimage_width) == (6, 16)


def test_every_op_type_of_a_json_has_its_number() -> None:
    for name, kind in OP_TYPES.items():
        assert (vsx.OpType[name] >= 100) == (kind.source != "single")


def test_a_token_operator_has_no_attributes(tmp_path: Path) -> None:
    path = tmp_path / "bert.json"
    path.write_text('{"OpType": "BERT_EMBEDDING_OP"}')
    (operator,) = vsx.Operator.load_ops_from_json_file(path)
    assert operator.op_type is vsx.OpType.BERT_EMBEDDING_OP
    assert operator.op_type < 100
    with pytest.raises(BundleError, match="no attributes"):
        operator.cast_to_buildin_operator()
    with pytest.raises(BundleError, match="load_ops_from_json_file"):
        vsx.Operator(vsx.OpType.FUSION_OP_RGB_RESIZE_CVTCOLOR_NORM_TENSOR)


def test_a_json_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BuildFileError):
        vsx.Operator.load_ops_from_json_file(tmp_path / "absent.json")


def test_a_model_tells_its_shapes(tmp_path: Path) -> None:
    model = vsx.Model(str(script_bundle(tmp_path, scripts.SEGMENTATION)), 4, "")
    _, channels, height, width = model.input_shape[0]
    assert (channels, height, width) == (3, 8, 8)
    assert model.output_shape == [[1, 1, 8, 8]]
    assert (model.input_count, model.output_count) == (1, 1)
    assert (model.batch_size, model.max_batch_size) == (4, 4)
    with pytest.raises(BundleError, match="batch size 0"):
        model.set_batch_size(0)
    with pytest.raises(BundleError, match="give the bundle's prefix"):
        vsx.Model({"prefix": "x"})  # type: ignore[arg-type]  # the mistake
