"""The preprocessing linter names what is wrong, and is silent where nothing is."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from compiler.config.load import load_config
from compiler.pipeline.lint_preprocessing import Lint, lint_preprocessing
from compiler.report.lint import lint_facts, lint_lines, lint_table
from tests.support.few_images import link_images
from tests.support.models import SHARED
from tests.support.project import make_project

EXAMPLE = Path(__file__).resolve().parents[2] / "build_configs" / "official_unet3p"

Ops = list[dict[str, Any]]  # Any: YAML values

SWAP = {"type": "CvtColor", "code": "COLOR_RGB2BGR"}
UNIT = {"type": "Normalize", "norm_type": None}
IMAGENET = {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def _ops(resize: Ops, *values: dict[str, Any], bgr: bool = False) -> Ops:
    swap = [SWAP] if bgr else []
    return [{"type": "DecodeImage"}, *swap, *resize, *values, {"type": "ToTensor"}]


def _lint(folder: Path, document: dict[str, Any], **options: Any) -> Lint:
    path = folder / "build.yaml"
    path.write_text(yaml.safe_dump(document))
    return lint_preprocessing(load_config(path), **options)


def _example(folder: Path, ops: Ops, *, masks: bool = False) -> Lint:
    document: dict[str, Any] = {
        "name": "example",
        "frontend": {
            "checkpoint": str(EXAMPLE / "official_unet3p.onnx"),
            "shape": {"input": [1, 3, 128, 128]},
        },
        "backend": {"type": "onnxruntime", "dtype": "fp32"},
        "dataset": {"path": str(EXAMPLE / "calib"), "process_ops": ops},
    }
    if masks:
        document["verify"] = {
            "images": str(EXAMPLE / "eval" / "images"),
            "masks": str(EXAMPLE / "eval" / "masks"),
            "metric": "foreground_iou",
        }
    return _lint(folder, document, images=FEW)


FEW = 4  # images, to be quick
STRETCH: Ops = [{"type": "Resize", "size": [128, 128]}]
RIGHT = _ops(STRETCH, UNIT, bgr=True)


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True])
def test_a_right_build_file_is_left_in_peace(masks: bool, tmp_path: Path) -> None:
    lint = _example(tmp_path, RIGHT, masks=masks)
    assert lint.findings == ()
    assert lint.notes == ()
    assert lint.trials[0].alternative == "as it is"
    assert max(row.gain or 0 for row in lint.trials) <= 1
    assert (lint.pairs > 0) == masks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        (_ops(STRETCH, UNIT), "BGR order"),
        (_ops(STRETCH, bgr=True), "0 … 1"),
        (_ops(STRETCH, UNIT, UNIT, bgr=True), "normalised once"),
    ],
    ids=["swapped", "not divided", "twice"],
)
def test_a_slip_is_named_with_its_repair(ops: Ops, expected: str, tmp_path: Path) -> None:
    [finding] = _example(tmp_path, ops).findings
    assert finding.alternative == expected
    assert finding.certainty is not None
    assert finding.certainty_now is not None
    assert finding.certainty > 1.3 * finding.certainty_now
    assert "dataset.process_ops" in finding.advice


@pytest.mark.slow
def test_masks_decide_where_there_are_some(tmp_path: Path) -> None:
    lint = _example(tmp_path, _ops(STRETCH, UNIT), masks=True)
    [finding] = lint.findings
    assert finding.alternative == "BGR order"
    assert finding.points is not None
    assert finding.points_now is not None
    assert finding.points > finding.points_now + 5
    assert "points instead of" in finding.what
    assert list(lint_lines(lint))[1] == f"  fix: {finding.advice}"
    assert "foreground_iou (" in str(lint_table(lint, "example").columns[-1].header)


# File and size of the input.
NETWORKS = {
    "human": ("unet3p_human_128", (128, 128)),
    "camvid": ("unet_camvid_192x256", (192, 256)),
}
PLANTED: list[tuple[str, list[dict[str, Any]], bool, str | None]] = [
    ("human", [UNIT], False, None),
    ("human", [UNIT], True, "RGB order"),
    ("human", [], False, "0 … 1"),
    ("human", [UNIT, UNIT], False, "normalised once"),
    ("camvid", [IMAGENET], False, None),
    ("camvid", [IMAGENET], True, "RGB order"),
    ("camvid", [{**IMAGENET, "div255": False}], False, "divided by 255"),
    ("camvid", [IMAGENET, IMAGENET], False, "normalised once"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "values", "bgr", "expected"), PLANTED)
def test_trained_networks_know_their_preprocessing(
    name: str, values: list[dict[str, Any]], bgr: bool, expected: str | None, tmp_path: Path
) -> None:
    file, size = NETWORKS[name]
    model = SHARED / "models" / f"{file}.onnx"
    if not model.exists():
        pytest.skip("needs ../shared/models")
    resize: Ops = [{"type": "Resize", "size": list(size)}]
    lint = _lint(
        tmp_path,
        {
            "name": name,
            "frontend": {"checkpoint": str(model), "shape": {"input": [1, 3, *size]}},
            "backend": {"type": "onnxruntime", "dtype": "fp32"},
            "dataset": {
                "path": str(link_images(SHARED / "data" / name / "calib", tmp_path / "calib", 8)),
                "process_ops": _ops(resize, *values, bgr=bgr),
            },
        },
        images=FEW,
    )
    assert [one.alternative for one in lint.findings] == ([expected] if expected else [])


def test_what_was_tried_is_a_table_and_one_object(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    lint = _lint(tmp_path, project.document)
    assert lint.unit == "bits per pixel"
    table = lint_table(lint, "net")
    console = Console(width=200, record=True, file=StringIO())
    console.print(table)
    text = console.export_text()
    assert table.row_count == len(lint.trials) > 5
    assert "as it is" in text
    assert "BGR order" in text
    facts = lint_facts(lint)
    assert facts["trials"][0]["alternative"] == "as it is"
    assert all(isinstance(line, str) for line in lint_lines(lint))


def test_arrays_have_no_preprocessing(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    del project.document["dataset"]["process_ops"]
    project.document["dataset"]["sampler"] = {}
    project.document["backend"] = {"type": "onnxruntime", "dtype": "fp32"}
    lint = _lint(tmp_path, project.document)
    assert lint.trials == ()
    assert lint.notes == ("the data are arrays: there is no preprocessing to change",)
    assert list(lint_lines(lint)) == [f"note: {lint.notes[0]}"]


def test_without_images_nothing_is_said(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    del project.document["dataset"]["path"]
    assert _lint(tmp_path, project.document).notes == ("there are no images to look at",)


def test_files_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    broken = sorted((tmp_path / "calib").iterdir())
    for path in broken[:5]:
        path.write_bytes(b"broken")
    lint = _lint(tmp_path, project.document)
    assert lint.trials == () or lint.trials[0].images == 1
    broken[5].write_bytes(b"broken")
    assert _lint(tmp_path, project.document).notes == ("none of the images can be used",)


def test_masks_that_are_missing_leave_certainty(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["verify"] = {
        "images": str(tmp_path / "calib"),
        "masks": str(tmp_path / "nowhere"),
        "metric": "foreground_iou",
    }
    lint = _lint(tmp_path, project.document)
    assert any(note.startswith("masks are not used:") for note in lint.notes)
    assert lint.trials[0].certainty is not None


def test_own_code_runs_only_where_it_may_and_is_linted_by_its_result(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    code = tmp_path / "own.py"
    code.write_text(
        "import numpy as np\n"
        "from PIL import Image\n"
        "def load(path):\n"
        "    pixels = np.asarray(Image.open(path).resize((16, 16)), np.float32)\n"
        "    return pixels.transpose(2, 0, 1)[None] / 255\n"
    )
    project.document["dataset"]["process_ops"] = [
        {"type": "CustomFunc", "module_path": str(code), "func_name": "load"}
    ]
    lint = _lint(tmp_path, project.document, allow_custom_code=True)
    assert [row.alternative for row in lint.trials] == [
        "as it is",
        "channels reversed",
        "divided by 255",
        "255 times as large",
    ]
    assert np.isfinite([row.certainty for row in lint.trials if row.certainty is not None]).all()
