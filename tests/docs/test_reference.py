"""The generated pages of the reference are those of the present code."""

import subprocess
import sys
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
BY_HAND = "vdsp_params"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, REFERENCE / "generate.py", folder], check=True)
    return folder


def test_every_page_of_the_reference_is_current(generated: Path) -> None:
    pages = {path.name: path.read_text("utf-8") for path in generated.iterdir()}
    written = {path.name: path.read_text("utf-8") for path in REFERENCE.glob("*.md")}
    own = {name: text for name, text in written.items() if not name.startswith(BY_HAND)}
    assert pages == own, "python docs/reference/generate.py"


def test_the_reference_has_every_command_metric_and_exit_code(generated: Path) -> None:
    commands, metrics, codes = (
        (generated / f"{name}.md").read_text("utf-8")
        for name in ("commands", "metrics", "exit_codes")
    )
    for heading in ("modc compile", "modc calib inspect", "modc eval", "vamp"):
        assert f"\n## {heading}\n" in commands
    assert "| `--max-drop POINTS` |" in commands
    assert "| `foreground_iou` |" in metrics
    assert "| `m6` |" in metrics
    assert [line.split()[1] for line in codes.splitlines() if line[:3].strip("| ").isdigit()] == [
        "0", "1", "2", "3", "4", "5", "6", "7", "130",
    ]  # fmt: skip
