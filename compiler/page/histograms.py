"""Histograms of tensors as outlines that a page can colour."""

import atexit
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

METHODS: Final = ("max", "percentile", "kl_divergence", "mse")
WIDTH, HEIGHT = 256, 48  # of a drawing, in its own units

_FOLDER: Final = "MPLCONFIGDIR"


@dataclass(frozen=True, slots=True)
class Line:
    """A threshold in a drawing.

    Args:
        method: That found it.
        value: In the tensor's own units.
        at: Where it stands, 0 to `WIDTH`.
    """

    method: str
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """The histogram of one tensor.

    Args:
        facts: As the report data has them.
        outline: Path data of |x| against the logarithm of its count, in `WIDTH` by `HEIGHT`.
        lines: What the methods would choose, and last, on top, what was chosen.
    """

    facts: Mapping[str, Any]  # Any: a JSON object
    outline: str
    lines: tuple[Line, ...]


def draw(histograms: Sequence[Mapping[str, Any]]) -> tuple[Drawing, ...]:
    """Draw the histograms of a bundle's report data; the same facts give the same text."""
    if not histograms:
        return ()
    _import_matplotlib()
    return tuple(
        Drawing(facts, _outline(np.asarray(facts["counts"], np.float64)), _lines(facts))
        for facts in histograms
    )


def _lines(facts: Mapping[str, Any]) -> tuple[Line, ...]:
    whole = facts["bin_width"] * len(facts["counts"])
    found = {name: facts["thresholds"][name] for name in METHODS if name in facts["thresholds"]}
    found.pop(facts["method"], None)
    return tuple(
        Line(name, value, round(WIDTH * min(1.0, value / whole), 1))
        for name, value in (*found.items(), (facts["method"], facts["threshold"]))
    )


def _outline(counts: NDArray[np.float64]) -> str:
    """The plotting library's steps, of which only the path is kept: a page has its own colours.

    A figure of them would cost a second, most of it for axes and fonts that nobody sees.
    """
    from matplotlib.patches import StepPatch

    edges = np.linspace(0, WIDTH, counts.size + 1).round(1)
    corners = np.asarray(StepPatch(_heights(counts), edges).get_path().vertices)
    return "M" + " ".join(f"{x:g} {HEIGHT - y:g}" for x, y in corners.tolist())


def _heights(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """On a logarithmic scale, in whole units: that is half the text, and looks the same."""
    heights: NDArray[np.float64] = np.log1p(counts)
    tallest = max(float(heights.max(initial=0.0)), 1.0)
    return np.asarray(np.round(heights * (HEIGHT - 1) / tallest))


def _import_matplotlib() -> None:
    """Import it without the folders that it makes in the home of a user who does not use it."""
    if "matplotlib" in sys.modules or _FOLDER in os.environ or _has_folder():
        return
    folder = mkdtemp(prefix="modc-matplotlib-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[_FOLDER] = folder
    try:
        import matplotlib as mpl  # noqa: F401 (asks for the folder)
    finally:
        del os.environ[_FOLDER]


def _has_folder() -> bool:
    try:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        return any(one.is_dir() for one in (config / "matplotlib", Path.home() / ".matplotlib"))
    except RuntimeError:  # no home at all
        return False
