from pathlib import Path

import pytest

from compiler.config.load import read_build_file
from compiler.config.model import BuildConfig
from compiler.errors import BuildFileError
from compiler.preprocess.ops import Resize

TEXT = """\
name: net_int8_v2
frontend: {checkpoint: net.onnx, shape: {input.1: [1, 3, 16, 16]}}
backend: {dtype: int8, quantize: {calibrate_mode: max}}
dataset:
  path: calib
  sampler: null
  process_ops: [{type: DecodeImage}, {type: Resize, size: [16, 16]}, {type: ToTensor}]
"""


def load(tmp_path: Path, *overrides: str, dtype: str | None = None) -> BuildConfig:
    path = tmp_path / "net.yaml"
    path.write_text(TEXT)
    return read_build_file(path, overrides=overrides, dtype=dtype).config


def test_an_override_replaces_a_value_and_makes_missing_sections(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "backend.quantize.calibrate_mode=kl",
        "verify.min_cosine=0.99",
        "dataset.sampler.suffix=png",
        "dataset.sampler.get_data_num=7",
    )
    assert config.backend.quantize.calibrate_mode == "kl_divergence"
    assert config.verify.min_cosine == 0.99
    assert config.dataset is not None
    assert (config.dataset.sampler.suffix, config.dataset.sampler.get_data_num) == ("png", 7)


@pytest.mark.parametrize("quoted", ['"input.1"', "'input.1'"])
def test_names_with_dots_are_quoted(tmp_path: Path, quoted: str) -> None:
    config = load(tmp_path, f"frontend.shape.{quoted}=[1, 3, 8, 8]")
    assert config.frontend.shape == {"input.1": (1, 3, 8, 8)}


@pytest.mark.parametrize("item", ["[1]", ".1"])
def test_items_of_a_list_are_numbered(tmp_path: Path, item: str) -> None:
    config = load(tmp_path, f"dataset.process_ops{item}.size=[8, 8]")
    assert config.dataset is not None
    assert config.dataset.process_ops[1] == Resize(size=(8, 8))


def test_an_item_can_be_replaced_and_a_value_removed(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "dataset.process_ops[1]={type: Resize, size: 4}",
        "backend.quantize=",
        "verify= # nothing",
        "name=a_fp16",
    )
    assert config.dataset is not None
    assert config.dataset.process_ops[1] == Resize(size=4)
    assert config.backend.quantize.calibrate_mode == "percentile"
    assert config.name == "a_fp16"


def test_the_precision_of_the_name_follows_the_dtype_option(tmp_path: Path) -> None:
    config = load(tmp_path, dtype="fp16")
    assert (config.backend.dtype, config.name) == ("fp16", "net_fp16_v2")
    with pytest.raises(BuildFileError, match="int4") as caught:
        load(tmp_path, dtype="int4")
    assert caught.value.where == "--dtype int4"


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("backend.dtyp=fp16", "--set backend.dtyp=fp16", "backend.dtyp: unknown key; did you mean"),
        ("backend.dtype=int3", "--set backend.dtype=int3", 'backend.dtype: "int3" given'),
        ("backend.dtype", "--set backend.dtype", "no key path and value"),
        ("a..b=1", "--set a..b=1", "no key path and value"),
        ("=1", "--set =1", "no key path and value"),
        ("name=[1", "--set name=[1", "not valid YAML"),
        ("name=!x y", "--set name=!x y", "YAML tag"),
        ("dataset.process_ops[9].size=3", "--set dataset.process_ops[9].size=3", "has no item '9'"),
        ("dataset.process_ops.x=3", "--set dataset.process_ops.x=3", "has no item 'x'"),
        ("name.x=3", "--set name.x=3", "name: {"),
        ('name=""', '--set name=""', "name: '' given; use letters"),
        ("name=''", "--set name=''", "name: '' given; use letters"),
        ("backend.dtype.x=int8", "--set backend.dtype.x=int8", 'backend.dtype: {"x": "int8"}'),
        ("backend.type=[x]", "--set backend.type=[x]", 'backend.type: ["x"] given; expected'),
        ("name=\udcff", "--set name=\\udcff", "not valid Unicode"),
        ('name="\\ud800"', '--set name="\\ud800"', "is not valid Unicode"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, where: str, what: str) -> None:
    with pytest.raises(BuildFileError) as caught:
        load(tmp_path, override)
    assert where in str(caught.value)
    assert what in str(caught.value)
    assert ":1:" not in str(caught.value)


def test_problems_of_file_and_overrides_come_together(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(TEXT.replace("path: calib", "path: calib\n  colour: red"))
    with pytest.raises(BuildFileError, match="2 problems") as caught:
        read_build_file(path, overrides=["backend.dtype=int3"])
    assert f"{path}:6:3: dataset.colour" in str(caught.value)
