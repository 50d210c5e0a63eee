from pathlib import Path

import pytest

from compiler.config.load import read_build_file
from compiler.config.parse import MAX_BYTES
from compiler.config.problems import RefusedFileError
from compiler.errors import BuildFileError

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in GOLDEN.glob("*.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_file_is_refused_in_these_words(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(BuildFileError) as caught:
        read_build_file(case)
    expected = Path(case).with_suffix(".txt").read_text(encoding="utf-8")
    assert str(caught.value) + "\n" == expected
    assert caught.value.exit_code == 2


def test_every_problem_can_be_read_by_a_program() -> None:
    with pytest.raises(RefusedFileError) as caught:
        read_build_file(GOLDEN / "duplicate_keys.yaml")
    places = [(problem.place.line, problem.key) for problem in caught.value.problems]
    assert places == [(5, "backend.dtype"), (6, "name")]


def test_a_missing_file_offers_the_closest_name(tmp_path: Path) -> None:
    (tmp_path / "official_unet3p.yaml").write_text("")
    with pytest.raises(BuildFileError, match="not found") as caught:
        read_build_file(tmp_path / "oficial_unet3p.yaml")
    assert f"did you mean '{tmp_path / 'official_unet3p.yaml'}'?" in caught.value.fix


def test_a_missing_file_without_a_close_name_lists_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(BuildFileError) as caught:
        read_build_file(tmp_path / "something_else.yaml")
    assert caught.value.fix == f"build files in {tmp_path}: a.yaml"
    with pytest.raises(BuildFileError) as caught:
        read_build_file(tmp_path / "sub" / "x.yaml")
    assert caught.value.fix == f"no folder {tmp_path / 'sub'}"
    (tmp_path / "bare").mkdir()
    with pytest.raises(BuildFileError) as caught:
        read_build_file(tmp_path / "bare" / "x.yaml")
    assert caught.value.fix == f"there is no build file in {tmp_path / 'bare'}"


def test_a_folder_is_not_a_build_file(tmp_path: Path) -> None:
    with pytest.raises(BuildFileError, match="cannot be read: is a directory"):
        read_build_file(tmp_path)


def test_a_file_of_model_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\0" * (MAX_BYTES + 1))
    with pytest.raises(BuildFileError, match="a build file has at most"):
        read_build_file(path)


def test_deep_nesting_is_refused_even_where_the_parser_gives_up(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("name: " + "[" * 5000)
    with pytest.raises(BuildFileError, match="levels deep"):
        read_build_file(path)


def test_numbers_that_yaml_accepts_and_python_does_not_are_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: 0x_\nbackend: {dtype: !!bool maybe}\n")
    with pytest.raises(BuildFileError) as caught:
        read_build_file(path)
    assert "1:7: name: '0x_' is not a number" in str(caught.value)
    assert "2:18: backend.dtype: 'maybe' is not a number" in str(caught.value)


def test_with_strict_every_warning_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net_fp16.yaml"
    path.write_text(
        "name: net_fp16\n"
        "frontend: {checkpoint: net.onnx, shape: {input: [1, 3, 16, 16]}}\n"
        "backend: {dtype: int8}\n"
        "dataset: {path: calib}\n"
    )
    assert [note.kind for note in read_build_file(path).notes] == ["warning", "warning"]
    with pytest.raises(RefusedFileError) as caught:
        read_build_file(path, strict=True)
    assert [problem.what for problem in caught.value.problems] == [
        "name: says fp16, backend.dtype says int8; dtype decides",
        "backend.quantize.calibrate_mode: absent; percentile is used",
    ]


@pytest.mark.parametrize("key", ["type", "dtype"])
@pytest.mark.parametrize(("written", "shown"), [("{a: 1}", '{"a": 1}'), ("[fp16]", '["fp16"]')])
def test_a_mapping_or_list_in_place_of_a_word_is_a_problem(
    tmp_path: Path, key: str, written: str, shown: str
) -> None:
    path = tmp_path / "net.yaml"
    backend = {"type": "onnxruntime", "dtype": "fp16"} | {key: written}
    path.write_text(f"name: net\nbackend: {{type: {backend['type']}, dtype: {backend['dtype']}}}\n")
    with pytest.raises(BuildFileError) as caught:
        read_build_file(path)
    first = {"type": "onnxruntime", "dtype": "fp32"}[key]
    assert f"backend.{key}: {shown} given; expected '{first}'" in str(caught.value)


def test_a_list_in_place_of_the_switch_of_the_first_dialect_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        "model: {name: net, checkpoint: net.onnx, inputs: {x: [1, 3, 8, 8]}}\n"
        "engine: {common: {do_quantization: []}}\n"
    )
    with pytest.raises(BuildFileError, match=r"backend\.dtype: \[\] given; expected 'fp32'"):
        read_build_file(path)


def test_texts_that_are_not_unicode_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        'name: "\\ud800"\n'
        'frontend: {checkpoint: "a\\udfff.onnx", shape: {"\\ud800": [1, 3, 8, 8]}}\n'
        'backend: {dtype: fp16, compile: {free: ["\\udc00"]}}\n'
        'classes: ["\\ud83d\\ude00"]\n'
    )
    with pytest.raises(RefusedFileError) as caught:
        read_build_file(path)
    lines = [
        problem.place.line
        for problem in caught.value.problems
        if "is not valid Unicode" in problem.text
    ]
    assert lines == [1, 2, 2, 3, 4]
    assert r"name: '\ud800' is not valid Unicode" in str(caught.value)
    assert str(caught.value).encode("utf-8")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", '""', "--- ~\n"])
def test_a_file_without_a_value_is_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(text)
    with pytest.raises(BuildFileError, match="the file is empty") as caught:
        read_build_file(path)
    assert caught.value.where == f"{path}:1:1"
