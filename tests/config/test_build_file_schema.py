import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from compiler.config.schema import json_schema, reference

ROOT = Path(__file__).resolve().parents[2]
BUILD_FILES = sorted((ROOT / "build_configs").glob("*.yaml"))


def test_the_schema_file_is_current() -> None:
    written = (ROOT / "build_configs" / "modc.schema.json").read_text(encoding="utf-8")
    assert written == json.dumps(json_schema(), indent=2) + "\n", "modc schema > build_configs/…"


def test_the_reference_page_is_current() -> None:
    written = (ROOT / "docs" / "reference" / "build_file.md").read_text(encoding="utf-8")
    assert written == reference(), "write compiler.config.schema.reference() there"


def test_the_schema_is_valid_and_describes_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "modc build file"
    for name, definition in schema["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            assert value.get("description") or "$ref" in value, f"{name}.{key}"


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"name": 3}, False),
        ({"nmae": "x"}, False),
        ({"backend": {"dtype": "int4"}}, False),
        ({"dataset": {"process_ops": [{"type": "Resize", "size": [8, 8]}]}}, True),
        ({"dataset": {"process_ops": [{"type": "Resize", "sise": [8, 8]}]}}, False),
        ({"dataset": {"process_ops": [{"type": "Rezise", "size": [8, 8]}]}}, False),
        ({"dataset": {"process_ops": [{"size": [8, 8]}]}}, False),
        ({"graph": {"extra_ops": {"type": None}}}, True),
        ({"backend": {"dtype": "fp16", "compile": {"next_years_option": 1}}}, True),
    ],
)
def test_an_editor_sees_what_the_compiler_would_refuse(
    change: dict[str, object], valid: bool
) -> None:
    shape = {"input": [1, 3, 8, 8]}
    document = {
        "name": "x",
        "frontend": {"checkpoint": "a.onnx", "shape": shape},
        "backend": {"dtype": "fp16"},
    }
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(document | change) == valid


@pytest.mark.parametrize("path", BUILD_FILES, ids=lambda path: path.name)
def test_our_own_build_files_follow_the_schema(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, json_schema())


def test_the_reference_page_opens_with_a_command_and_lists_every_section() -> None:
    page = reference()
    assert page.index("modc schema > modc.schema.json") < 40
    for title in ("## backend.quantize", "## verify", "### Resize", "### CustomFunc"):
        assert f"\n{title}\n" in page
    assert "| `opt_level` | whole number |" in page
    assert page.count("*Accepted and ignored.*") > 30
    assert "`<name>.log` beside the bundle" in page
    assert "`<name>.ir` beside the bundle" in page
