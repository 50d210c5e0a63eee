from pathlib import Path

import pytest

from compiler.config.backend import Optimize
from compiler.config.dump import dump_config
from compiler.config.load import load_config
from compiler.errors import BuildFileError

BASE = """\
name: net
frontend: {checkpoint: a.onnx, shape: {x: [1, 3, 8, 8]}}
backend: {dtype: fp32, optimize: %s}
"""


def _load(folder: Path, optimize: str) -> Optimize:
    path = folder / "net.yaml"
    path.write_text(BASE % optimize)
    config = load_config(path)
    path.write_text(dump_config(config))
    assert load_config(path) == config
    return config.backend.optimize


def test_everything_is_on_with_built_in_constants(tmp_path: Path) -> None:
    assert _load(tmp_path, "{}") == Optimize(rewrite=True, winograd=True, machine="builtin")


def test_each_part_can_be_set(tmp_path: Path) -> None:
    found = _load(tmp_path, "{rewrite: false, winograd: false, machine: tuned}")
    assert found == Optimize(rewrite=False, winograd=False, machine="tuned")


@pytest.mark.parametrize(
    ("optimize", "words"),
    [
        ("{winogrd: false}", "did you mean 'winograd'"),
        ("{machine: tune}", "tuned"),
        ("{rewrite: sometimes}", "sometimes"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, optimize: str, words: str) -> None:
    with pytest.raises(BuildFileError, match=r"backend\.optimize") as caught:
        _load(tmp_path, optimize)
    assert words in str(caught.value)
