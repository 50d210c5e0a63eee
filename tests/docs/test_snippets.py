"""Every shell and Python block of every page runs, in the order of the page, as a reader runs it.

Each page has a folder of its own that looks like a clone in which the example was compiled, with
the files that pages leave to the reader (`net.onnx`, `photos/`).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from filelock import FileLock
from PIL import Image

from tests.support.models import model_from_text

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    if not path.name.endswith(".zh.md")
)
BLOCK = re.compile(r"^ *```(sh|python)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

MAKES_ENVIRONMENT = "makes a virtual environment and installs packages"
MEASURES = "measures for many minutes; tests/benchmarks tests what it runs"
NOT_RUN = {
    "make example": MAKES_ENVIRONMENT,
    "make test": MAKES_ENVIRONMENT + "; runs this test",
    "make bench": MAKES_ENVIRONMENT + "; " + MEASURES,
    "make install     # .venv with everything": MAKES_ENVIRONMENT,
    "make check       # ruff, mypy --strict, import contracts": MAKES_ENVIRONMENT,
    "make test        # all tests with coverage": MAKES_ENVIRONMENT,
    "python tests/benchmarks/accuracy_table.py --out build/accuracy": MEASURES,
    "python tests/benchmarks/engine_table.py --out build/engines --seconds 1.5 --rounds 5 "
    "--starts 3": MEASURES,
    "python tests/benchmarks/stream_throughput.py build_configs/official_unet3p.yaml "
    "tests/networks/*.yaml": MEASURES,
    "python tests/benchmarks/page_sharing.py deploy_weights/unet3p_full_fp32 "
    "deploy_weights/unet3p_full_int8 --out build/bench": MEASURES,
}
INT8 = "deploy_weights/official_unet3p_int8/mod"
SHORT_BENCH, SHORT_DEBUG = "--seconds 0.5 --starts 1", "--limit 1 --images 4"
SHORTENED = {  # options that stand behind a line here, so that it repeats less; the last one counts
    f"modc bench -m {INT8}": SHORT_BENCH,
    f"modc bench -m {INT8} --engine onnxruntime,openvino --instances 1,2": SHORT_BENCH,
    "modc bench -m deploy_weights/net_int8/mod --threads 1,2 --compare net.onnx": SHORT_BENCH,
    f"modc debug -m {INT8} --limit 3": SHORT_DEBUG,
    "modc debug -m deploy_weights/max_int8/mod --limit 2 --images 50": SHORT_DEBUG,
}
PARTS = ("build_configs", "docs", "tests/compat/scripts", "tests/networks", "mkdocs.yml")
BUNDLES = {
    "deploy_weights/official_unet3p_int8": ("deploy_weights/net_int8", "deploy/net", "net_int8"),
    "deploy_weights/official_unet3p_fp16": ("deploy_weights/net_fp16", "net_fp16"),
}
IMAGES, MASKS = (f"build_configs/official_unet3p/eval/{name}" for name in ("images", "masks"))
SCRIPT = """\
import argparse

import cv2
import vaststreamx

parser = argparse.ArgumentParser()
parser.add_argument("--file_path")
parser.add_argument("--device", type=int)
given = parser.parse_args()
print(vaststreamx.create_image(cv2.imread(given.file_path), vaststreamx.ImageFormat.BGR_INTERLEAVE,
                               128, 128, given.device))
"""
NETWORK = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[1, 3, 224, 224] input) => (float[1, 4, 112, 112] output)
<float[4, 3, 3, 3] w, float[4] b>
{ c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(input, w, b)
  output = Relu(c) }"""


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return [
        dedent(body) for body in re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.M | re.S)
    ]


def _environment(folder: Path) -> dict[str, str]:
    """The environment of this test, with a home and a cache of the folder's own."""
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, os.environ["PATH"]])
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return cleared | {
        "PATH": path,
        "HOME": str(folder / "home"),
        "MODC_CACHE": str(folder / "home/cache"),
    }


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=_environment(folder), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def _make_clone(folder: Path) -> None:
    (folder / "home").mkdir(parents=True)
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    activate = folder / ".venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    build_file = "build_configs/official_unet3p.yaml"
    _run(["modc", "compile", build_file, "--quiet"], folder)
    _run(["modc", "compile", build_file, "--quiet", "--dtype", "fp16"], folder)
    _leave_to_the_reader(folder)


def _leave_to_the_reader(folder: Path) -> None:
    """What pages name and readers have: networks, images, build files, scripts, results."""
    for bundle, names in BUNDLES.items():
        for name in names:
            shutil.copytree(folder / bundle, folder / name)
    for name in ("images", "test"):
        shutil.copytree(folder / IMAGES, folder / name)
    for name in ("calib", "calibration_images", "photos"):
        shutil.copytree(folder / "build_configs/official_unet3p/calib", folder / name)
    shutil.copytree(folder / MASKS, folder / "truth")
    first = min((folder / IMAGES).iterdir())
    Image.open(first).save(folder / "street.png")
    table = folder / "deploy_weights/official_unet3p_int8/mod.calib.txt"
    shutil.copy(table, folder / "edited.txt")
    network = folder / "build_configs/official_unet3p/official_unet3p.onnx"
    shutil.copy(network, folder / "net.onnx")
    onnx_file = folder / "my_network.onnx"
    onnx_file.write_bytes(model_from_text(NETWORK).SerializeToString())
    own = _blocks("docs/how_to/own_network.md", "yaml")[0]
    (folder / "my_network.yaml").write_text(own)
    vdsp = _blocks("docs/how_to/existing_documentation.md", "json")[0]
    (folder / "unet3p-vdsp_params.json").write_text(vdsp)
    (folder / "vsx_inference.py").write_text(SCRIPT)
    _run(["modc", "npz", "--dataset_path", "images", "--target_path", "npz", "--text_path",
          "npz_datalist.txt"], folder)  # fmt: skip
    _run(["vamp", "-m", "net_int8/mod", "--datalist", "npz_datalist.txt", "--path_output",
          "npz_output"], folder)  # fmt: skip


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Made once, also where several processes test."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "clone"
    whole = folder.with_name("clone-is-whole")
    with FileLock(f"{folder}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make_clone(folder)
            whole.touch()
    return folder


def _script(page: str) -> str:
    """The page as a bash script: its blocks in order, without the lines that are not run."""
    parts = ["set -euo pipefail"]
    text = (ROOT / page).read_text("utf-8")
    for number, (language, body) in enumerate(BLOCK.findall(text)):
        parts.append(f"echo '--- block {number}' >&2")
        block = dedent(body)
        if language == "python":
            parts.append(
                f"cat > snippet.py <<'SNIPPET'\n{block}SNIPPET\npython -W error snippet.py"
            )
        else:
            lines = [line for line in block.splitlines() if line not in NOT_RUN]
            parts += [f"{line} {SHORTENED[line]}" if line in SHORTENED else line for line in lines]
    return "\n".join(parts)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if BLOCK.search((ROOT / page).read_text("utf-8"))]
)
def test_every_block_of_a_page_runs(page: str, clone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(clone, folder)
    _run(["bash", "-c", _script(page)], folder)


def test_every_line_that_is_treated_apart_stands_on_a_page() -> None:
    lines = {
        line
        for page in PAGES
        for language, body in BLOCK.findall((ROOT / page).read_text("utf-8"))
        if language == "sh"
        for line in dedent(body).splitlines()
    }
    assert {*NOT_RUN, *SHORTENED} <= lines
