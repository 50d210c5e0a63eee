import io
import sys

import pytest

from compiler.cli.progress import progress


def test_plain_lines_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=False) as report:
        report("load", 0, 0)
        for done in range(9):
            report("calibrate", done, 8)
    assert capsys.readouterr().err.splitlines() == [
        "load",
        "calibrate 2/8",
        "calibrate 4/8",
        "calibrate 6/8",
        "calibrate 8/8",
    ]


def test_nothing_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=True) as report:
        report("load", 0, 0)
    assert capsys.readouterr().err == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(quiet=False) as report:
        report("load", 0, 0)
        for done in range(5):
            report("calibrate", done, 4)
        report("bundle", 0, 0)
    shown = terminal.getvalue()
    assert "calibrate" in shown
    assert "4/4" in shown
