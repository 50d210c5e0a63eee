from typing import Any

import pytest
from pydantic import ValidationError

from compiler.config.backend import Backend, Quantize
from compiler.config.model import BuildConfig, Dataset, Frontend, Sampler, Verify, ends_of, is_range

FRONTEND = Frontend(checkpoint="net.onnx", shape={"x": (1, 3, 8, 8)})


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"images": "eval"}, "images, masks and metric go together; add masks and metric"),
        ({"max_drop": 1}, "max_drop needs images, masks and metric"),
        (
            {"images": "a", "masks": "b", "metric": "mean_iou"},
            "metric mean_iou needs classes",
        ),
        ({"min_cosine": 2}, "less than or equal to 1"),
    ],
)
def test_an_incomplete_verification_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Verify(**fields)


def test_a_complete_verification_is_accepted() -> None:
    verify = Verify(images="a", masks="b", metric="mean_iou", classes=11, ignore=11, max_drop=0.5)
    assert (verify.classes, verify.ignore, verify.max_drop) == (11, 11, 0.5)


def test_int8_from_python_needs_calibration_data_as_well() -> None:
    with pytest.raises(ValidationError, match=r"an int8 build needs dataset\.path"):
        BuildConfig(name="x", frontend=FRONTEND, backend=Backend(dtype="int8"))


def test_images_need_preprocessing_and_arrays_do_not() -> None:
    with pytest.raises(ValidationError, match="jpeg images need process_ops"):
        Dataset(path="d", sampler=Sampler(suffix=".JPEG"))
    assert Dataset(path="d", sampler=Sampler(suffix="NPZ")).process_ops == ()


@pytest.mark.parametrize(
    ("checkpoint", "written", "expected"),
    [
        ("a.onnx", None, "onnx"),
        ("a.torchscript.pt", None, "pytorch"),
        ("a.H5", None, "keras"),
        ("a.weights", None, "darknet"),
        ("a.bin", None, "onnx"),
        ("a.onnx", "keras", "keras"),
    ],
)
def test_the_format_follows_the_extension_unless_written(
    checkpoint: str, written: Any, expected: str
) -> None:
    frontend = Frontend(checkpoint=checkpoint, shape={}, type=written)
    assert frontend.format == expected


@pytest.mark.parametrize("field", ["name", "backend"])
def test_a_configuration_is_frozen(field: str) -> None:
    config = BuildConfig(name="x", frontend=FRONTEND, backend=Backend(dtype="fp16"))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, field, "y")
    assert config.backend.quantize == Quantize()


def test_a_shape_with_two_lists_is_a_range() -> None:
    frontend = Frontend(checkpoint="a", shape={"a": (1, 2), "b": ((1, 2), (1, 4))})
    assert [is_range(shape) for shape in frontend.shape.values()] == [False, True]
    assert ends_of(frontend.shape["a"]) == ((1, 2), (1, 2))
    assert ends_of(frontend.shape["b"]) == ((1, 2), (1, 4))


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "a b", "-x"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="it names a folder"):
        BuildConfig(name=name, frontend=FRONTEND, backend=Backend(dtype="fp16"))


@pytest.mark.parametrize("name", ["450_act3", "pytorch_pan++_stream_int8", "ernie3.0_base-256"])
def test_names_of_public_files_are_accepted(name: str) -> None:
    config = BuildConfig(name=name, frontend=FRONTEND, backend=Backend(dtype="fp16"))
    assert config.name == name
