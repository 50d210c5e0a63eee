from pathlib import Path

import pytest
import yaml

from compiler.config.dialects import migrate
from compiler.config.load import read_build_file

CURRENT = """\
name: tinynet
frontend:
  checkpoint: onnx/tinynet.onnx
  shape:
    input: [1, 3, 96, 96]
graph:
  extra_ops:
    type: softmax
backend:
  type: tvm_vacc
  dtype: int8
  compile:
    cluster_mode: 0
  quantize:
    calibrate_mode: kl_divergence
    quantize_per_channel: true
    skip_conv_layers: [0]
dataset:
  path: calib/flowers
  sampler:
    suffix: jpg
    get_data_num: 32
  process_ops:
  - type: DecodeImage
  - type: Resize
    size: [96, 96]
  - type: Normalize
    norm_type: null
  - type: ToTensor
workspace:
  path: ./deploy_weights/
  enable_ir: false
  save_log: true
"""
D3W = CURRENT.replace("  path: ./deploy_weights/", "  work_dir: ./deploy_weights/")
D2 = """\
model:
  name: tinynet
  inputs:
    input: [1, 3, 96, 96]
  checkpoint: onnx/tinynet.onnx
engine:
  type: vacc
  dtype: int8
  common:
    cluster_mode: 0
  add_extra_ops_to_graph:
    type: softmax
  calibration:
    calibrate_mode: kl_divergence
    quantize_per_channel: true
    skip_conv_layers: [0]
dataset:
  path: calib/flowers
  sampler:
    suffix: jpg
    get_data_num: 32
  transform_ops:
    - type: DecodeImage
    - type: Resize
      size: [96, 96]
    - type: Normalize
      norm_type: None
    - type: ToTensor
workspace:
  work_dir: ./deploy_weights/
  enable_ir: false
  save_log: true
"""
D1 = (
    D2.replace("  dtype: int8\n", "")
    .replace("  common:\n", "  common:\n    do_quantization: true\n")
    .replace("calibrate_mode", "quant_mode")
    .replace("quantize_per_channel", "per_channel")
)
DIALECTS = {"D1": D1, "D2": D2, "D3w": D3W, "D3": CURRENT}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_dialects_of_one_build_give_one_configuration(tmp_path: Path, dialect: str) -> None:
    (tmp_path / "current.yaml").write_text(CURRENT)
    (tmp_path / "other.yaml").write_text(DIALECTS[dialect])
    other = read_build_file(tmp_path / "other.yaml")
    assert other.dialect == dialect
    current = read_build_file(tmp_path / "current.yaml")
    assert other.config.at(current.path) == current.config


@pytest.mark.parametrize("dialect", DIALECTS)
def test_migrate_writes_the_current_dialect(tmp_path: Path, dialect: str) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(DIALECTS[dialect])
    assert migrate(path) == CURRENT
    assert migrate(str(path)) == CURRENT


def test_each_move_is_noted_with_the_line_and_the_modern_spelling(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(D1)
    texts = [f"{note.line}: {note.text}" for note in read_build_file(path).notes]
    assert texts[0].startswith("1: engine: older dialect D1; `modc migrate` writes the current")
    assert "9: engine.common.do_quantization: now written backend.dtype" in texts
    assert "14: engine.calibration.quant_mode: now written backend.quantize.calibrate_mode" in texts
    assert "22: dataset.transform_ops: now written dataset.process_ops" in texts
    assert "30: workspace.work_dir: now written workspace.path" in texts


def test_a_problem_in_an_older_dialect_names_the_line_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(D1.replace("kl_divergence", "entropy"))
    with pytest.raises(Exception, match=r"old\.yaml:14:17: backend\.quantize\.calibrate_mode"):
        read_build_file(path)


@pytest.mark.parametrize(
    ("value", "dtype"), [("true", "int8"), ("false", "fp16"), ("fp16", "fp16"), ("debug", "int8")]
)
def test_do_quantization_becomes_a_precision(tmp_path: Path, value: str, dtype: str) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(D1.replace("do_quantization: true", f"do_quantization: {value}"))
    file = read_build_file(path)
    assert file.config.backend.dtype == dtype
    warnings = [note.text for note in file.notes if note.kind == "warning"]
    assert bool(warnings) == (value == "debug")


def test_the_debug_engine_and_the_model_config_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    text = D2.replace("type: vacc", "type: debug").replace("  inputs", "  config: a.json\n  inputs")
    path.write_text(text.replace("add_extra_ops_to_graph", "extra_ops"))
    file = read_build_file(path)
    assert file.config.backend.type == "tvm_runmodel"
    assert file.config.graph.extra_ops.type == "softmax"
    assert any("not needed by a compiler" in note.text for note in file.notes)


def test_a_model_that_is_a_text_is_the_name(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(CURRENT.replace("name: tinynet", "model: tinynet"))
    file = read_build_file(path)
    assert (file.dialect, file.config.name) == ("D3", "tinynet")


def test_sections_given_in_both_spellings_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(D2 + "backend: {compile: {opt_level: 2}, type: null}\ngraph: 3\n")
    with pytest.raises(Exception, match="graph: 3 given; expected keys and values below it"):
        read_build_file(path)
    path.write_text(D2 + "backend: {compile: {opt_level: 2}, type: null}\n")
    compile_options = read_build_file(path).config.backend.compile
    assert (compile_options.opt_level, compile_options.cluster_mode) == (2, 0)


def test_migrate_keeps_only_what_was_written_and_refuses_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("backend: {dtype: fp16, compile: {new_key: {a: [[1], [2]]}}}\n"
                    "frontend: {shape: {'1': [1, 2]}, checkpoint: a.onnx}\n")  # fmt: skip
    assert yaml.safe_load(migrate(path)) == {
        "name": "old",
        "frontend": {"checkpoint": "a.onnx", "shape": {"1": [1, 2]}},
        "backend": {"dtype": "fp16", "compile": {"new_key": {"a": [[1], [2]]}}},
    }
    path.write_text("engine: {dtype: fp16}\nmodel: {}\n")
    with pytest.raises(Exception, match=r"frontend: required, but absent"):
        migrate(path)
