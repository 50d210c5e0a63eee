"""Templates, numbers and drawings that every page is made of."""

import hashlib
import os
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from compiler.page import words
from compiler.page.histograms import HEIGHT, WIDTH, draw
from compiler.page.html import FILTERS, render
from tests.support.page_facts import make_contents

DRAW = """
from compiler.page.histograms import draw
facts = {"method": "max", "threshold": 3.0, "thresholds": {"max": 3.0}}
draw([{"counts": [3, 2, 1], "bin_width": 1.0, **facts}])
"""


def facts_of(counts: list[int], **more: object) -> dict[str, object]:
    facts = {"method": "max", "threshold": 3.0, "thresholds": {"max": 3.0}}
    return {"counts": counts, "bin_width": 1.0, **facts, **more}


def test_a_missing_value_is_an_error_and_no_gap() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("base.html", sections={})


def test_the_policy_of_a_page_names_the_script_that_is_in_it() -> None:
    page = render("base.html", title="t", sections={})

    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.count(1_234_567), "1,234,567"),
        (words.count(None), "–"),
        (words.short_count(999), "999"),
        (words.short_count(1234), "1.23 k"),
        (words.short_count(56_700_000), "56.7 M"),
        (words.short_count(None), "–"),
        (words.size(1023), "1,023 B"),
        (words.size(1536), "1.50 KiB"),
        (words.size(200 << 20), "200 MiB"),
        (words.size(5000 << 30), "5,000 GiB"),
        (words.size(None), "–"),
        (words.decimals(1234.5, 2), "1,234.50"),
        (words.decimals(None, 2), "–"),
        (words.figures(0.000123456), "0.0001235"),
        (words.figures(None), "–"),
        (words.signed(0.001, 2), "0.00"),
        (words.signed(-0.001, 2), "0.00"),
        (words.signed(-1.5, 1), "−1.5"),
        (words.signed(2.25, 2), "+2.25"),
        (words.ratio(4, 2, "smaller", "larger"), "2.00× smaller"),
        (words.ratio(2, 4, "smaller", "larger"), "2.00× larger"),
        (words.ratio(2, 0, "smaller", "larger"), ""),
        (words.plural(1, "image"), "1 image"),
        (words.plural(1000, "image"), "1,000 images"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("/a/Conv=>aligned/node", ["/", "a/", "Conv", "=>aligned/", "node"]),
        ("x" * 42, ["x" * 40, "x", "x"]),
        (reason := "integers would not make the network any faster", [reason]),
    ],
)
def test_a_name_breaks_after_its_parts_or_where_it_goes_on_for_long(
    name: str, parts: list[str]
) -> None:
    assert FILTERS["path"](name).split("<wbr>") == [escape(part) for part in parts]


def test_the_outline_follows_the_logarithm_of_the_counts() -> None:
    (drawing,) = draw([facts_of([0, 99, 9, 99])])

    numbers = [float(one) for one in re.findall(r"[\d.]+", drawing.outline)]
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    assert min(x for x, _ in corners) == 0
    assert max(x for x, _ in corners) == WIDTH
    assert {HEIGHT - y for _, y in corners} == {0.0, 24.0, 47.0}  # ln 10 is half of ln 100


def test_an_empty_histogram_is_drawn_flat() -> None:
    (drawing,) = draw([facts_of([0, 0, 0])])

    assert set(re.findall(r"[\d.]+ ([\d.]+)", drawing.outline)) <= {str(HEIGHT)}


def test_a_threshold_beyond_the_histogram_stands_at_its_end() -> None:
    (drawing,) = draw([facts_of([1, 2], threshold=5.0)])

    assert [(line.value, line.at) for line in drawing.lines] == [(5.0, WIDTH)]


def test_a_threshold_of_no_known_method_is_drawn_too() -> None:
    (drawing,) = draw([facts_of([1, 2, 3, 4], method="by hand", threshold=2.0)])

    assert [(line.method, line.at) for line in drawing.lines] == [("max", 192), ("by hand", 128)]


def test_a_drawing_is_small_whatever_the_counts_are() -> None:
    histograms = make_contents(layers=5).report["histograms"]
    for facts in histograms:  # type: ignore[attr-defined] # a JSON object
        facts["counts"] = [one * (index % 2) for index, one in enumerate(facts["counts"])]

    drawings = draw(histograms)  # type: ignore[arg-type] # likewise

    assert max(len(drawing.outline) for drawing in drawings) < 4000


def test_drawing_leaves_the_settings_of_a_caller_alone() -> None:
    import matplotlib as mpl

    mpl.rcParams["lines.linewidth"] = 7.5
    try:
        first = draw([facts_of([3, 2, 1])])
        assert mpl.rcParams["lines.linewidth"] == 7.5
    finally:
        mpl.rcParams["lines.linewidth"] = mpl.rcParamsDefault["lines.linewidth"]
    assert draw([facts_of([3, 2, 1])]) == first


def run_in(home: Path, script: str, **more: str) -> None:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG", "MPL"))
    }
    subprocess.run(
        [sys.executable, "-c", script], env={**kept, "HOME": str(home), **more}, check=True
    )


def test_drawing_makes_no_folder_in_the_home_of_a_user(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()

    run_in(home, DRAW, TMPDIR=str(temporary))

    assert list(home.rglob("*")) == []
    assert list(temporary.rglob("*")) == []


def test_a_users_own_settings_of_the_plotting_library_stay_his(tmp_path: Path) -> None:
    folder = tmp_path / ".config/matplotlib"
    folder.mkdir(parents=True)
    settings = folder / "matplotlibrc"
    settings.write_text("lines.linewidth: 7.5\n")

    run_in(
        tmp_path, DRAW + "import matplotlib\nassert matplotlib.rcParams['lines.linewidth'] == 7.5"
    )

    assert settings.read_text() == "lines.linewidth: 7.5\n"


def test_a_page_without_histograms_needs_no_plotting_library() -> None:
    script = (
        "import sys; import compiler.page.render; from tests.support.page_facts import *\n"
        "compiler.page.render.render_bundle(make_contents(dtype='fp32'))\n"
        "assert 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
