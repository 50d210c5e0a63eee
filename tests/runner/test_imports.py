"""What the runner stands on: numpy, onnxruntime, and the image libraries once an image comes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import compiler.runner
from tests.support.bundles import make_bundle

ROOT = Path(__file__).resolve().parents[2]
OWN = ("compiler.errors", "compiler.runner", "compiler.preprocess")
ALLOWED = {"runner": {"numpy", "onnxruntime", "PIL"}, "preprocess": {"numpy", "cv2", "PIL"}}
ALLOWED_IN = {"openvino.py": {"openvino"}}  # and nowhere else

# Refuses every module but the standard library, the named packages and our own three.
GUARD = """
import sys
allowed = {*sys.stdlib_module_names, *sys.argv[1].split(",")}
own = {"compiler", "compiler.errors", "compiler.runner", "compiler.preprocess"}

class Guard:
    def find_spec(self, name, path=None, target=None):
        top, ours = name.split(".")[0], ".".join(name.split(".")[:2])
        if top not in allowed and ours not in own:
            raise ImportError(f"refused: {name}")

sys.meta_path.insert(0, Guard())
import numpy as np
from compiler.runner.load import Runner
with Runner(sys.argv[2], threads=1) as runner:
    tensor = runner.run(np.ones((1, 3, 4, 6), np.float32))["y"]
    assert tensor.sum() == 144, tensor
    if "cv2" in sys.argv[1]:
        assert runner.run(np.full((8, 12, 3), 255, np.uint8))["y"].sum() == 144
"""
ORT = "numpy,onnxruntime,flatbuffers,google,packaging"


def guarded(packages: str, prefix: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", GUARD, packages, str(prefix)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("packages", [ORT, f"{ORT},cv2,PIL"])
def test_a_bundle_runs_where_nothing_else_can_be_imported(tmp_path: Path, packages: str) -> None:
    result = guarded(packages, make_bundle(tmp_path))
    assert result.returncode == 0, result.stderr


def test_the_guard_refuses_what_is_not_allowed(tmp_path: Path) -> None:
    result = guarded("numpy", make_bundle(tmp_path))
    assert "refused: onnxruntime" in result.stderr


@pytest.mark.parametrize("package", ["runner", "preprocess"])
def test_every_import_statement_is_on_the_list(package: str) -> None:
    foreign = set()
    for path in (ROOT / "compiler" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                allowed = ALLOWED[package] | ALLOWED_IN.get(path.name, set())
                known = top in sys.stdlib_module_names or top in allowed
                if not known and not name.startswith(OWN):
                    foreign.add(f"{path.name}: {name}")
    assert foreign == set()


def test_the_package_gives_the_runner_and_costs_nothing() -> None:
    code = (
        "import sys, compiler.runner\n"
        "assert not {'numpy', 'onnxruntime', 'compiler.runner.load'} & sys.modules.keys()\n"
        "from compiler.runner.load import Runner\n"
        "assert compiler.runner.Runner is Runner"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match=r"'compiler.runner' has no attribute 'Walker'"):
        vars(compiler.runner)["__getattr__"]("Walker")
    assert compiler.runner.Runner.__module__ == "compiler.runner.load"


def test_openvino_is_imported_only_when_it_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from compiler.runner.load import Runner\n"
        "from compiler import load_config, compile_model\n"
        f"Runner({str(make_bundle(tmp_path))!r}, threads=1).close()\n"
        "assert 'openvino' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
