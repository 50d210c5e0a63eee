"""One chain for calibration and running: order, size guard, inputs, storage, the user's code."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from compiler.errors import CalibrationError
from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import Shape
from compiler.preprocess.ops import CustomFunc, Pad, ProcessOp, Resize, ToTensor
from compiler.preprocess.serialise import OPS

DECODE = {"type": "DecodeImage"}
TENSOR = {"type": "ToTensor"}
PLAIN = {"type": "Normalize", "norm_type": None}


def chain_of(*ops: dict[str, Any], shape: Shape | None = None) -> Chain:
    return Chain.from_list([DECODE, *ops, TENSOR], shape)


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def test_path_text_bytes_and_pixels_give_the_same_sample(
    photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    chain = chain_of({"type": "Resize", "size": [16, 24]}, PLAIN, shape=(3, 16, 24))
    sample = chain(path)
    assert sample.shape == (1, 3, 16, 24)
    assert sample.dtype == np.float32
    for image in (str(path), path.read_bytes(), photo):
        np.testing.assert_array_equal(chain(image), sample)
    assert chain.warnings() == ()


@pytest.mark.parametrize(("backend", "tolerance"), [(None, 1), ("pillow", 0)])
def test_pixels_become_gray_when_decoding_would_make_them_so(
    photo: NDArray[np.uint8], tmp_path: Path, backend: str | None, tolerance: int
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    chain = Chain.from_list([{"type": "DecodeImage", "cv2_flags": 0, "backend": backend}, TENSOR])
    # OpenCV's PNG reader rounds its own gray differently from cvtColor.
    np.testing.assert_allclose(chain(photo), chain(path), atol=tolerance)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1)])
def test_gray_pixels_are_repeated_for_a_colour_chain(shape: tuple[int, ...]) -> None:
    gray = np.arange(20, dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(chain_of()(gray)[0], [gray.reshape(5, 4)] * 3)
    plain = Chain.from_list([{"type": "DecodeImage", "cv2_flags": 0}, TENSOR])
    np.testing.assert_array_equal(plain(gray)[0], [gray.reshape(5, 4)])


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_pixels_of_another_type_or_shape_are_refused(image: NDArray[Any]) -> None:
    with pytest.raises(CalibrationError, match="expected an RGB image"):
        chain_of()(image)


def test_missing_ends_are_added_with_a_note(photo: NDArray[np.uint8]) -> None:
    chain = Chain([Resize(size=8)])
    assert [op.type for op in chain.ops] == ["DecodeImage", "Resize", "ToTensor"]
    assert len(chain.notes) == 2
    assert chain(photo).shape == (1, 3, 8, 8)
    assert Chain([]).notes == chain.notes


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([PLAIN, DECODE, TENSOR], "DecodeImage at position 1 must be the first op"),
        ([DECODE, DECODE, TENSOR], "DecodeImage at position 1 must be the first op, once"),
        ([DECODE, TENSOR, PLAIN], "ToTensor at position 1 must be the last op"),
        ([DECODE, PLAIN, {"type": "Pad"}, TENSOR], "Pad at position 2 works on 8-bit images"),
    ],
)
def test_an_order_without_meaning_is_refused(ops: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Chain.from_list(ops)


@pytest.mark.parametrize(
    "ops",
    [
        [{"type": "Resize", "size": [32, 48]}],
        [{"type": "Resize", "size": [99, -1]}, {"type": "CenterCrop", "crop_size": [32, 48]}],
        [{"type": "Resize", "size": [32, 20]}, {"type": "Pad"}],
    ],
)
def test_a_size_that_contradicts_the_input_is_refused_before_any_image(
    ops: list[dict[str, Any]],
) -> None:
    with pytest.raises(ValueError, match="the network's input is 48×32"):
        chain_of(*ops, shape=(3, 48, 32))


def test_swapped_height_and_width_are_pointed_out() -> None:
    with pytest.raises(ValueError, match=r"32×48 .* 48×32 .*size is \[height, width\]"):
        chain_of({"type": "Resize", "size": [32, 48]}, shape=(3, 48, 32))


def test_a_ratio_keeping_resize_without_pad_is_padded_and_warned_of_once(
    photo: NDArray[np.uint8],
) -> None:
    resize = {"type": "Resize", "size": [40, -1], "adaptive_side": "long"}
    chain = chain_of(resize, shape=(3, 40, 40))
    expected = chain_of(resize, {"type": "Pad"}, shape=(3, 40, 40))(photo)
    np.testing.assert_array_equal(chain(photo), expected)
    chain(photo)
    (warning,) = chain.warnings()
    assert "no Pad follows: images are padded to 40×40 (centred, 114)" in warning


def test_the_implied_pad_reaches_a_declared_rectangle(photo: NDArray[np.uint8]) -> None:
    resize = {"type": "Resize", "size": [20, 50], "adaptive_side": "long"}
    sample = chain_of(resize, shape=(3, 20, 50))(photo)
    assert sample.shape == (1, 3, 20, 50)
    width = round(40 * 20 / 30)
    np.testing.assert_array_equal(sample[0, 0, 0, : (50 - width) // 2], 114)
    assert sample[0, 0, 0, (50 - width) // 2] != 114


def test_a_padded_image_smaller_than_the_input_is_padded_on_in_the_same_way(
    photo: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    resize = {"type": "Resize", "size": [20, -1], "adaptive_side": "long"}
    chain = chain_of(resize, {"type": "Pad", "value": 7, "position": "topleft"}, shape=(3, 32, 32))
    with caplog.at_level(logging.WARNING):
        sample = chain(photo)
        chain(photo)
    assert sample[0, 0, 31, 31] == 7
    assert chain.warnings() == ("the preprocessing gives other sizes: images are padded to 32×32",)
    assert [record.getMessage() for record in caplog.records] == [
        f"{chain.warnings()[0]} (first: image ndarray)"
    ]


def test_without_resize_an_image_of_another_size_is_stretched_with_a_warning(
    photo: NDArray[np.uint8],
) -> None:
    swap = {"type": "CvtColor", "code": "COLOR_BGR2RGB"}
    chain = chain_of(swap, PLAIN, shape=(3, 16, 16))
    stretched = chain_of({"type": "Resize", "size": [16, 16]}, swap, PLAIN, shape=(3, 16, 16))
    np.testing.assert_array_equal(chain(photo), stretched(photo))
    assert chain.warnings() == ("no Resize: images are stretched to 16×16",)
    exact = chain_of(swap, PLAIN, shape=(3, 30, 40))
    exact(photo)
    assert exact.warnings() == ()


@pytest.mark.parametrize(
    "ops",
    [
        [{"type": "Resize", "size": [64, -1], "adaptive_side": "long"}],
        [{"type": "CenterCrop", "crop_size": 20}, {"type": "Resize", "size": [64, -1]}],
    ],
)
def test_an_image_larger_than_the_input_is_an_error(
    ops: list[dict[str, Any]], photo: NDArray[np.uint8]
) -> None:
    with pytest.raises(CalibrationError, match="the network's input is 32×32; correct size"):
        chain_of(*ops, shape=(3, 32, 32))(photo)


def test_a_colour_code_that_changes_the_size_is_found_at_the_image() -> None:
    ops: list[dict[str, Any]] = [
        {"type": "Resize", "size": 4},
        {"type": "CvtColor", "code": "RGB2YUV_I420"},
        {"type": "Pad"},
    ]
    with pytest.raises(CalibrationError, match=r"gives 6×6, .* is 4×4; correct size at Resize or"):
        chain_of(*ops, shape=(1, 4, 4))(np.zeros((8, 8, 3), np.uint8))


def test_without_a_declared_shape_nothing_is_fitted(photo: NDArray[np.uint8]) -> None:
    chain = chain_of({"type": "Resize", "size": [20, -1]})
    assert chain(photo).shape == (1, 3, 15, 20)


def test_an_image_smaller_than_the_crop_is_the_one_named() -> None:
    chain = chain_of({"type": "CenterCrop", "crop_size": [8, 8]}, shape=(3, 8, 8))
    with pytest.raises(CalibrationError, match="image 4×4 is smaller than crop_size 8×8"):
        chain(np.zeros((4, 4, 3), np.uint8))


def test_another_number_of_channels_than_the_input_names_the_remedy(
    photo: NDArray[np.uint8],
) -> None:
    chain = chain_of({"type": "Resize", "size": 8}, shape=(1, 8, 8))
    with pytest.raises(CalibrationError, match=r"gives \[1, 3, 8, 8\].*cv2_flags: 0") as caught:
        chain(photo)
    assert caught.value.where == "image ndarray"


def test_a_chain_survives_json() -> None:
    ops: list[dict[str, Any]] = [
        {"type": "DecodeImage", "cv2_flags": 1, "backend": "pillow"},
        {"type": "CvtColor", "code": "COLOR_RGB2BGR"},
        {"type": "Resize", "size": [8, -1], "adaptive_side": "long", "interpolation": "bicubic"},
        {"type": "CenterCrop", "crop_size": 8},
        {"type": "Pad", "value": [1, 2, 3]},
        {"type": "ChannelSplit", "index": 2},
        {"type": "Normalize", "mean": [0.1], "std": [0.3], "div255": None},
    ]
    chain = Chain.from_list(ops, (1, 8, 8))
    stored = json.loads(json.dumps(chain.to_list()))
    again = Chain.from_list(stored, (1, 8, 8))
    assert again.ops == chain.ops
    assert again.to_list() == chain.to_list()
    assert stored[2]["rounding"] == "round"


Ops = TypeAdapter(list[Annotated[ProcessOp, Field(discriminator="type")]])


def test_pydantic_reads_the_ops_as_a_discriminated_union() -> None:
    ops = Ops.validate_python(
        [
            DECODE,
            {"type": "Resize", "size": [40, -1], "adaptive_side": "long"},
            {"type": "Pad", "pad_to_square": True},
            {"type": "Normalize", "mean": [0, 0, 0], "std": [1, 1, 1], "div255": None},
            TENSOR,
        ]
    )
    assert ops[1:3] == [Resize(size=(40, -1), adaptive_side="long"), Pad()]
    assert Chain.from_list(Chain(ops).to_list()).ops == tuple(ops)


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ({"type": "Resize", "size": [4, 4], "sise": 1}, ("Resize", "sise"), "Unexpected"),
        ({"type": "Resize"}, ("Resize", "size"), "required"),
        ({"type": "Resize", "size": [0, 4]}, ("Resize",), "expected positive numbers"),
        ({"type": "Normalize"}, ("Normalize",), "give mean and std, or norm_type: null"),
        ({"type": "Resise", "size": 4}, (), "expected tags: 'DecodeImage', 'CvtColor', 'Resize'"),
        ({"type": "Pad", "value": "light"}, ("Pad", "value", "int"), "valid integer"),
    ],
)
def test_pydantic_places_the_refusals(
    data: dict[str, Any], place: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        Ops.validate_python([data])
    assert caught.value.errors()[0]["loc"] == (0, *place)


def test_every_op_says_its_name() -> None:
    fields = {name: op.__dataclass_fields__["type"].default for name, op in OPS.items()}
    assert fields == {name: name for name in OPS}
    assert len(OPS) == 9


USER_CODE = """
import numpy as np

def planes(path, input_shape, layout="chw"):
    result = np.full(input_shape, len(path), np.float64)
    return {"chw": result[0], "nchw": result, "hwc": result[0].transpose(1, 2, 0)}[layout]

def words(path):
    return np.full((3, 4, 5), "red")

def fails(path):
    raise RuntimeError("no luck")

def leaves(path):
    raise SystemExit(3)
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "user_code.py"
    path.write_text(USER_CODE)
    return str(path)


def custom(module: str, name: str, **arguments: Any) -> list[dict[str, Any]]:
    return [{"type": "CustomFunc", "module_path": module, "func_name": name, **arguments}]


def test_code_that_a_build_file_names_runs_only_by_permission(module: str) -> None:
    with pytest.raises(ValueError, match=r"run planes of .*must be allowed explicitly"):
        Chain.from_list(custom(module, "planes"))


@pytest.mark.parametrize("layout", ["chw", "nchw", "hwc"])
def test_the_users_function_gets_path_and_arguments_and_may_return_any_layout(
    module: str, layout: str
) -> None:
    ops = Ops.validate_python(custom(module, "planes", input_shape=[1, 3, 4, 5], layout=layout))
    assert ops == [
        CustomFunc(
            module_path=module,
            func_name="planes",
            arguments={"input_shape": [1, 3, 4, 5], "layout": layout},
        )
    ]
    chain = Chain(ops, (3, 4, 5), allow_custom_code=True)
    sample = chain("four")
    assert sample.shape == (1, 3, 4, 5)
    assert sample.dtype == np.float32
    assert sample.max() == len("four")
    again = Chain.from_list(chain.to_list(), (3, 4, 5), allow_custom_code=True)
    assert again.ops == chain.ops
    assert again.notes == ()


def test_a_custom_result_of_another_shape_is_an_error(module: str) -> None:
    ops = custom(module, "planes", input_shape=[1, 3, 4, 5])
    chain = Chain.from_list(ops, (3, 8, 8), allow_custom_code=True)
    with pytest.raises(CalibrationError, match=r"shape \[3, 4, 5\]; expected \[3, 8, 8\]"):
        chain("x")
    batch = custom(module, "planes", input_shape=[2, 3, 4, 5], layout="nchw")
    with pytest.raises(CalibrationError, match=r"expected \[channels, height, width\]"):
        Chain.from_list(batch, allow_custom_code=True)("x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "fails of .*user_code.py failed: RuntimeError: no luck"),
        ("leaves", "leaves of .*user_code.py failed: it calls sys.exit"),
        ("words", "words returned <U3 values; expected numbers"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_faults_of_the_users_code_are_named(module: str, name: str, message: str) -> None:
    chain = Chain.from_list(custom(module, name), allow_custom_code=True)
    with pytest.raises(CalibrationError, match=message) as caught:
        chain("photo.png")
    assert caught.value.where == "photo.png"


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name")
    for path, message in ((broken, "cannot import"), (tmp_path / "a.txt", "is not a Python file")):
        chain = Chain.from_list(custom(str(path), "f"), allow_custom_code=True)
        with pytest.raises(CalibrationError, match=message):
            chain("photo.png")


def test_a_custom_function_stands_alone_and_reads_files_only(module: str) -> None:
    with pytest.raises(ValueError, match="CustomFunc replaces the whole chain"):
        Chain([CustomFunc(module_path=module, func_name="f"), ToTensor()], allow_custom_code=True)
    chain = Chain.from_list(custom(module, "planes"), allow_custom_code=True)
    with pytest.raises(CalibrationError, match="give a path"):
        chain(b"bytes")
