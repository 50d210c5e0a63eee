"""`output_layout` and `real_output_shape`: how outputs are handed out."""

from pathlib import Path

import pytest

from compiler.config.dump import dump_config
from compiler.config.load import BuildFile, read_build_file
from compiler.errors import BuildFileError

TEXT = """name: net_fp32
frontend: {checkpoint: net.onnx, shape: {x: [1, 3, 64, 64]}}
backend:
  dtype: fp32
  compile:
    cluster_mode: 0
"""


def _read(folder: Path, line: str, *, strict: bool = False) -> BuildFile:
    path = folder / "build.yaml"
    path.write_text(f"{TEXT}    {line}\n", encoding="utf-8")
    return read_build_file(path, strict=strict)


@pytest.mark.parametrize(
    ("written", "layouts"),
    [
        ('[0:"YX",1:"YX"]', {0: "YX", 1: "YX"}),
        ("['0:YX','1:XY']", {0: "YX", 1: "XY"}),
        ("\n    - 0:YX\n    - '2: XY'", {0: "YX", 2: "XY"}),
        ("[]", {}),
        ("null", {}),
    ],
)
def test_every_spelling_of_a_layout_is_read(
    written: str, layouts: dict[int, str], tmp_path: Path
) -> None:
    file = _read(tmp_path, f"output_layout: {written}", strict=True)
    assert file.config.backend.compile.layouts == layouts
    file.path.write_text(dump_config(file.config), encoding="utf-8")
    assert read_build_file(file.path).config == file.config


@pytest.mark.parametrize(
    ("written", "shapes"),
    [
        ("[[32, 48]]", {0: (32, 48)}),
        ("[null, [32, 48], [], [7]]", {1: (32, 48), 3: (7,)}),
        ("[]", {}),
        ("null", {}),
    ],
)
def test_an_empty_shape_leaves_its_output_as_it_is(
    written: str, shapes: dict[int, tuple[int, ...]], tmp_path: Path
) -> None:
    file = _read(tmp_path, f"real_output_shape: {written}", strict=True)
    assert file.config.backend.compile.shapes == shapes
    file.path.write_text(dump_config(file.config), encoding="utf-8")
    assert read_build_file(file.path).config == file.config


def test_only_keys_that_change_nothing_are_noted_as_such(tmp_path: Path) -> None:
    for line in ("output_layout: ['0:YX']", "real_output_shape: [[32, 48]]"):
        texts = [note.text for note in _read(tmp_path, line).notes]
        assert texts == ["backend.compile.cluster_mode: changes nothing on this host; ignored"]


def test_without_them_the_effective_build_file_does_not_name_them(tmp_path: Path) -> None:
    text = dump_config(_read(tmp_path, "mem_inplace: true").config)
    assert "mem_inplace" in text
    assert "output_layout" not in text
    assert "real_output_shape" not in text


@pytest.mark.parametrize(
    ("layouts", "warning"),
    [
        ("['0:YX', 'NHWC']", "output_layout[1]: 'NHWC' is not like '0:YX' or '0:XY'; ignored"),
        ("['0:YX', '1:NC']", "output_layout[1]: '1:NC' is not like '0:YX' or '0:XY'; ignored"),
        ("['0:YX', '0:XY']", "output_layout[1]: output 0 is given twice; the last one counts"),
    ],
)
def test_a_layout_that_means_nothing_is_warned_of(
    layouts: str, warning: str, tmp_path: Path
) -> None:
    line = f"output_layout: {layouts}"
    warnings = [note for note in _read(tmp_path, line).notes if note.kind == "warning"]
    assert [note.text for note in warnings] == [f"backend.compile.{warning}"]
    assert warnings[0].where == f"{tmp_path / 'build.yaml'}:7:29"
    with pytest.raises(BuildFileError, match="output_layout"):
        _read(tmp_path, line, strict=True)


@pytest.mark.parametrize(
    ("written", "where", "problem"),
    [
        ("[32, 48]", "7:25", "real_output_shape[0]: 32 given; expected a list"),
        ("[[32, 0]]", "7:30", "real_output_shape[0][1]: 0 given; expected 1 or more"),
        ("[[32, wide]]", "7:30", 'real_output_shape[0][1]: "wide" given; expected a whole number'),
    ],
)
def test_a_wrong_shape_is_refused_at_its_place(
    written: str, where: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(BuildFileError) as refusal:
        _read(tmp_path, f"real_output_shape: {written}")
    assert problem in str(refusal.value)
    assert f"build.yaml:{where}" in str(refusal.value)
