"""What public build files get wrong, and how each slip is read."""

import logging
from pathlib import Path

import pytest

from compiler.config.load import BuildFile, load_config, read_build_file
from compiler.errors import BuildFileError
from compiler.preprocess.ops import Normalize

BASE = """\
name: net_int8
frontend: {checkpoint: net.onnx, shape: {input: [1, 3, 16, 16]}}
"""
INT8 = BASE + "backend: {dtype: int8, quantize: {calibrate_mode: max}}\n"
OPS = """\
dataset:
  path: calib
  process_ops:
    - {type: DecodeImage}
    - {type: Resize, size: [16, 16]}
"""


def load(tmp_path: Path, text: str, lenient: bool = False) -> BuildFile:
    path = tmp_path / "net_int8.yaml"
    path.write_bytes(text.encode("utf-8"))
    return read_build_file(path, lenient=lenient)


def notes(file: BuildFile) -> list[str]:
    return [f"{note.line}: {note.kind}: {note.text}" for note in file.notes]


def test_a_misspelt_calibrate_mode_is_used_with_a_warning(tmp_path: Path) -> None:
    text = BASE + "backend: {dtype: int8, quantize: {alibrate_mode: mse}}\ndataset: {path: d}\n"
    file = load(tmp_path, text)
    assert file.config.backend.quantize.calibrate_mode == "mse"
    assert notes(file) == [
        "3: warning: backend.quantize.alibrate_mode: read as calibrate_mode; correct the spelling"
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("kl", "kl_divergence"), ("minmax", "max"), ("min_max", "max"), ("MSE", "mse")],
)
def test_other_names_of_a_calibrate_mode_are_noted(
    tmp_path: Path, written: str, meant: str
) -> None:
    text = BASE + f"backend: {{dtype: int8, quantize: {{calibrate_mode: {written}}}}}\n"
    file = load(tmp_path, text + "dataset: {path: d}\n")
    assert file.config.backend.quantize.calibrate_mode == meant
    assert notes(file) == [
        f"3: note: backend.quantize.calibrate_mode: '{written}' is read as '{meant}'"
    ]


def test_the_text_none_is_null_where_null_has_a_meaning(tmp_path: Path) -> None:
    text = INT8 + "graph: {extra_ops: {type: None}}\n" + OPS
    text += "    - {type: Normalize, norm_type: None}\n    - type: ToTensor\n"
    text += "  sampler: {suffix: None}\n"
    file = load(tmp_path, text)
    assert file.config.dataset is not None
    assert file.config.dataset.process_ops[2] == Normalize(norm_type=None)
    assert file.config.dataset.sampler.suffix is None
    assert file.config.graph.extra_ops.type is None
    assert [line.split(": ")[2] for line in notes(file)] == [
        "graph.extra_ops.type",
        "dataset.process_ops[2].norm_type",
        "dataset.sampler.suffix",
    ]
    assert {note.kind for note in file.notes} == {"note"}


def test_the_text_none_elsewhere_is_warned_of(tmp_path: Path) -> None:
    text = BASE.replace("net_int8", "None")
    text += "backend: {dtype: fp32, compile: None}\nworkspace: {enable_ir: none}\n"
    text += "dataset: {process_ops: [{type: Resize, size: 16, adaptive_side: None}]}\n"
    file = load(tmp_path, text)
    assert file.config.name == "None"
    assert file.config.workspace.enable_ir is False
    assert [note.text for note in file.notes if note.kind == "warning"] == [
        "name: 'None' is taken as text; null is written null, or the key left out",
        "backend.compile: the text 'None' is read as null",
        "workspace.enable_ir: the text 'none' is read as null",
        "dataset.process_ops[0].adaptive_side: the text 'None' is read as null",
    ]


def test_div255_null_is_false_and_absent_is_true(tmp_path: Path) -> None:
    text = INT8 + OPS + "    - {type: Normalize, div255: null, mean: [127.5], std: [128]}\n"
    text += "    - type: ToTensor\n"
    file = load(tmp_path, text)
    assert file.config.dataset is not None
    normalize = file.config.dataset.process_ops[2]
    assert isinstance(normalize, Normalize)
    assert not normalize.div255
    assert notes(file) == [
        "9: note: dataset.process_ops[2].div255: null means false "
        "(the default, when absent, is true)"
    ]


def test_null_means_absent_everywhere_else(tmp_path: Path) -> None:
    text = BASE + "backend: {dtype: fp16, compile: , quantize: null}\ndataset:\nverify: null\n"
    text += "graph: {extra_ops: null}\n"
    file = load(tmp_path, text)
    assert file.config.dataset is None
    assert file.config.backend.quantize.calibrate_mode == "percentile"
    assert notes(file) == ["1: warning: name: says int8, backend.dtype says fp16; dtype decides"]


def test_keys_of_the_original_accelerator_are_noted_once_each(tmp_path: Path) -> None:
    text = BASE + "backend: {type: tvm_vacc, dtype: fp32, merge_params: true, compile: {"
    text += "cluster_mode: 0, next_years_option: [1]}, dynamic_params: {is_elic_gs: true, x: 1}}\n"
    file = load(tmp_path, text.replace("net_int8", "net"))
    ignored = "changes nothing on this host; ignored"
    unknown = "unknown option of the original accelerator; ignored"
    assert [line.removeprefix("3: note: backend.") for line in notes(file)] == [
        "type: tvm_vacc is not built here; the bundle targets this host (ONNX Runtime)",
        f"merge_params: {ignored}",
        f"compile.cluster_mode: {ignored}",
        f"compile.next_years_option: {unknown}",
        f"dynamic_params.is_elic_gs: {ignored}",
        f"dynamic_params.x: {unknown}",
    ]


def test_nulls_with_a_wrong_indentation_are_dropped(tmp_path: Path) -> None:
    text = INT8 + "dataset: {path: d}\ngraph: {type: null, extra_ops: {extra_ops: null}}\n"
    file = load(tmp_path, text)
    assert notes(file) == [
        "5: note: graph.type: does not belong here, but is null; ignored",
        "5: warning: graph.extra_ops.extra_ops: does not belong here, but is null; ignored",
    ]


def test_an_absent_name_is_that_of_the_file(tmp_path: Path) -> None:
    file = load(tmp_path, INT8.partition("\n")[2] + "dataset: {path: d}\n")
    assert file.config.name == "net_int8"
    assert str(file.notes[0]).startswith(f"{file.path}:1:1: warning: name: absent")
    assert notes(file) == ["1: warning: name: absent; 'net_int8' is used, as the file is called"]


def test_lenient_uses_near_keys_and_drops_others_with_a_warning(tmp_path: Path) -> None:
    text = INT8 + "dataset: {paht: calib, sampler: {get_data_mun: 7, colour: red}}\nextra: {a: 1}\n"
    file = load(tmp_path, text, lenient=True)
    assert file.config.dataset is not None
    assert file.config.dataset.path == "calib"
    assert file.config.dataset.sampler.get_data_num == 7
    assert notes(file) == [
        "4: warning: dataset.paht: unknown key, read as path",
        "4: warning: dataset.sampler.get_data_mun: unknown key, read as get_data_num",
        "4: warning: dataset.sampler.colour: unknown key, ignored",
        "5: warning: extra: unknown key, ignored",
    ]


def test_lenient_still_refuses_unknown_fields_of_an_op(tmp_path: Path) -> None:
    text = INT8 + OPS + "    - {type: ToTensor, scale: 255}\n"
    with pytest.raises(BuildFileError, match="ToTensor has no such field"):
        load(tmp_path, text, lenient=True)


def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    plain = load(tmp_path, INT8 + OPS)
    windows = load(tmp_path, "\ufeff" + (INT8 + OPS).replace("\n", "\r\n"))
    assert windows.config == plain.config
    assert windows.notes == plain.notes
    assert windows.sha256 != plain.sha256


def test_exponents_without_a_dot_are_numbers_where_numbers_are_expected(tmp_path: Path) -> None:
    text = INT8 + "dataset: {path: d}\nverify: {min_cosine: 1e-3, min_sqnr_db: '20'}\n"
    verify = load(tmp_path, text).config.verify
    assert (verify.min_cosine, verify.min_sqnr_db) == (0.001, 20.0)


def test_fields_of_a_custom_function_are_its_arguments(tmp_path: Path) -> None:
    text = INT8 + "dataset:\n  path: d\n  process_ops:\n    - type: CustomFunc\n"
    text += "      module_path: a.py\n      func_name: f\n      input_shape: [1, 3, 16, 16]\n"
    config = load(tmp_path, text).config
    assert config.dataset is not None
    [custom] = config.dataset.process_ops
    assert custom.arguments == {"input_shape": [1, 3, 16, 16]}  # type: ignore[union-attr]  # CustomFunc


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("graph: {extra_ops: {type: sofmax}}", "did you mean 'softmax'?"),
        ("graph: {extra_ops: {type: arg_max}}", "did you mean 'argmax'?"),
        ("graph: {extra_ops: {type: insert_odma}}", "original accelerator only; ignored"),
    ],
)
def test_extra_ops_that_do_nothing_are_told(tmp_path: Path, extra: str, text: str) -> None:
    [note] = load(tmp_path, f"{INT8}dataset: {{path: d}}\n{extra}\n").notes
    assert text in note.text


def test_contradictions_that_the_file_alone_shows_are_warned_of(tmp_path: Path) -> None:
    text = INT8.replace("max}", "max, exclude_layers: [3]}")
    text = text.replace("[1, 3, 16, 16]", "[1, 3, 32, 32]") + OPS.replace("[16, 16]", "[32, -1]")
    text += "    - {type: Normalize, mean: [103.939, 116.779, 123.68], std: [1], div255: false}"
    lines = notes(load(tmp_path, text))
    assert lines[0].startswith("3: warning: backend.quantize.exclude_layers: numbers count all")
    assert "no ToTensor" in lines[1]
    assert "no Pad follows: images are padded to 32×32" in lines[2]
    assert "looks BGR-ordered but the image is RGB" in lines[3]


def test_load_config_logs_what_it_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "net_fp16.yaml"
    path.write_text(BASE + "backend: {type: tvm_vacc, dtype: fp16}\n")
    with caplog.at_level(logging.INFO, "compiler.config.load"):
        config = load_config(path)
    assert config.base_dir == tmp_path
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[0].startswith(f"{path}:1:1: name: says int8")
