"""`mod.json`: what is written is read back, and nothing else is."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import BundleError
from compiler.runner.delivered import Delivered
from compiler.runner.manifest import FileFact, Manifest, Postprocessing, TensorSpec
from tests.support.bundles import MANIFEST

FULL = replace(
    MANIFEST,
    postprocessing=Postprocessing("binary", 0.5),
    classes=("background", "person", "猫"),
    quantization={"layers": 3, "skipped": [{"name": "last", "reason": "linear Resize"}]},
    verification={"cosine": 0.999_123_456_789, "sqnr_db": 41.5},
    files={"mod.onnx": FileFact(3, "a" * 64)},
)


def read(text: str) -> Manifest:
    return Manifest.from_json(text, where="net/mod.json")


def forge(manifest: Manifest, removed: Sequence[str] = (), /, **changes: object) -> str:
    """Text with other values, or without some, and a checksum that fits them."""
    data = json.loads(manifest.to_json()) | changes
    for key in ("checksum", *removed):
        del data[key]
    canonical = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    data["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(data)


@pytest.mark.parametrize("manifest", [MANIFEST, FULL])
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    assert read(manifest.to_json()).to_json() == manifest.to_json()
    assert read(FULL.to_json()).classes == FULL.classes
    assert read(FULL.to_json()).preprocessing == FULL.preprocessing


def test_the_text_is_canonical() -> None:
    text = FULL.to_json()
    lines = text.splitlines()
    keys = [line.split('"')[1] for line in lines if line.startswith(' "')]
    assert keys == sorted(keys)
    assert lines[0] == "{"
    assert text.endswith("}\n")
    shuffled = replace(FULL, quantization=dict(reversed(list(FULL.quantization.items()))))
    assert shuffled.to_json() == text


@pytest.mark.parametrize(
    "form", [Delivered("YX"), Delivered("XY"), Delivered("kept", (32, 48)), Delivered("XY", (64,))]
)
def test_the_form_of_an_output_reads_back(form: Delivered) -> None:
    output = TensorSpec("y", (1, 4, 16), "float32", delivered=form)
    back = read(replace(MANIFEST, outputs=(output,)).to_json())
    assert back.outputs == (output,)
    assert back.outputs[0].delivered == form


def test_outputs_without_a_form_are_written_as_before_there_were_forms() -> None:
    (output,) = json.loads(MANIFEST.to_json())["outputs"]
    assert sorted(output) == ["bounds", "dtype", "name", "shape"]
    assert read(MANIFEST.to_json()).outputs[0].delivered is None


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"shape": [2, 2]}, "nor does it fit into it"),
        ({"shape": [0]}, r"sizes of \[0\] are not all 1 or more"),
        ({"layout": "NHWC"}, "layout: 'NHWC' is not one of kept, YX, XY"),
        ({"transposed": 1}, "unknown key 'transposed'"),
    ],
)
def test_a_form_that_does_not_fit_its_output_is_refused(
    form: dict[str, object], problem: str
) -> None:
    outputs = [{"name": "y", "shape": [1, 3, 4], "dtype": "float32", "delivered": form}]
    with pytest.raises(BundleError, match=problem):
        read(forge(FULL, outputs=outputs))


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20))
def test_any_figure_and_any_text_survive(figure: float, text: str) -> None:
    manifest = replace(MANIFEST, verification={"figure": figure}, classes=(text,))
    back = read(manifest.to_json())
    assert back.verification["figure"] == figure
    assert back.classes == (text,)


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_figures_that_json_cannot_express_are_refused(figure: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(MANIFEST, verification={"sqnr_db": figure}).to_json()


def test_the_build_file_is_found_among_the_sources() -> None:
    assert MANIFEST.build_file is not None
    assert MANIFEST.build_file.name == "net.yaml"
    assert replace(MANIFEST, sources=()).build_file is None


@pytest.mark.parametrize("cut", [0, 1, 100, -3])
def test_a_torn_manifest_is_refused(cut: int) -> None:
    with pytest.raises(BundleError, match="not a usable bundle manifest") as caught:
        read(FULL.to_json()[:cut])
    assert caught.value.where == "net/mod.json"
    assert "build the bundle again" in caught.value.fix


def test_an_edited_value_is_refused() -> None:
    edited = FULL.to_json().replace('"size": 3', '"size": 4')
    with pytest.raises(BundleError, match="it was edited"):
        read(edited)


def test_a_newer_format_is_refused_with_both_numbers() -> None:
    with pytest.raises(BundleError, match=r"format 3 is newer than this modc reads \(2\)") as error:
        read(forge(FULL, format=3, something={"of": "the future"}))
    assert "install a newer modc" in error.value.fix


def test_format_1_names_no_engine_and_has_fixed_sizes() -> None:
    inputs = [{"name": "x", "shape": [1, 3, 4, 6], "dtype": "float32"}]
    old = read(forge(FULL, ["engine"], format=1, inputs=inputs))
    assert old == FULL


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": "one"}, "format: 'one' is not of type int"),
        ({"format": True}, "format: True is not of type int"),
        ({"inputs": {}}, "inputs: {} is not a list"),
        ({"inputs": [{"name": "x", "shape": [1]}]}, r"inputs\[0\]: key 'dtype' is missing"),
        ({"inputs": [7]}, r"inputs\[0\]: 7 is not an object"),
        ({"preprocessing": {"ops": [], "shape": [3, 4]}}, r"shape: \[3, 4\] is not 3 elements"),
        ({"postprocessing": {"kind": "best"}}, "kind: 'best' is not one of binary, argmax"),
        ({"versions": {"onnx": 1}}, "versions.onnx: 1 is not of type str"),
        ({"versions": []}, r"versions: \[\] is not an object"),
        ({"surprise": 1}, "manifest: unknown key 'surprise'"),
        ({"files": {"../x": {"size": 1, "sha256": ""}}}, "'../x' is not the name"),
        ({"files": {"mod./x": {"size": 1, "sha256": ""}}}, "'mod./x' is not the name"),
    ],
)
def test_a_wrong_type_is_refused_at_its_key(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        read(forge(FULL, **changes))


def test_json_that_is_no_object_is_refused() -> None:
    with pytest.raises(BundleError, match="no JSON object"):
        read("[]")
