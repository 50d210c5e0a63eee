"""The pages in a browser: what a reader sees, clicks and hears. Needs chromium, node and npm.

`MODC_SCREENSHOTS=folder` keeps pictures of the pages there.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from filelock import FileLock

from compiler.config.load import load_config
from compiler.page.calibration import SECTIONS as CALIBRATION_SECTIONS
from compiler.page.calibration import render_calibration
from compiler.page.render import (
    BUNDLE_SECTIONS,
    BUNDLES_SECTIONS,
    render_bundle,
    render_bundles,
)
from compiler.pipeline.inspect_calibration import inspect_build, make_thumbnails
from compiler.report.calib import inspection_facts
from tests.support.page_facts import make_contents
from tests.support.project import make_project

HERE: Final = Path(__file__).resolve().parent
MODULES: Final = HERE.parents[1] / "build" / "browser"
VIEWS: Final = ["light", "dark", "phone", "phone dark"]
ORDERS: Final = ("ascending", "descending")
SECTIONS: Final = {
    "bundle": BUNDLE_SECTIONS,
    "bundles": BUNDLES_SECTIONS,
    "calibration": CALIBRATION_SECTIONS,
}
TABLES: Final = {
    "bundle": "layer-table",
    "bundles": "layer-table",
    "calibration": "extremes-table",
}

Facts = dict[str, Any]  # Any: a JSON object, as visit_page.mjs prints it

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


@pytest.fixture(scope="session")
def modules() -> Path:
    """Folder with node_modules, filled once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    wanted = (HERE / "package.json").read_text()
    MODULES.mkdir(parents=True, exist_ok=True)
    with FileLock(MODULES / ".lock"):
        done = MODULES / "installed.json"
        if not done.is_file() or done.read_text() != wanted:
            shutil.copy(HERE / "package.json", MODULES)
            install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
            tried = subprocess.run(install, cwd=MODULES, capture_output=True, text=True)
            if tried.returncode:
                pytest.skip(f"the packages cannot be had: {tried.stderr.strip()[-300:]}")
            done.write_text(wanted)
    return MODULES


@pytest.fixture(scope="module", params=list(SECTIONS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def visit(
    name: str, chromium: str, modules: Path, tmp_path_factory: pytest.TempPathFactory
) -> Facts:
    """What happened on a page."""
    folder = tmp_path_factory.mktemp("page")
    path = folder / f"{name}.html"
    path.write_text(_render(name, folder / "project"), encoding="utf-8")
    command = ["node", str(HERE / "visit_page.mjs"), str(modules), chromium, str(path)]
    command.append(TABLES[name])
    if kept := os.environ.get("MODC_SCREENSHOTS"):
        pictures = Path(kept).resolve() / name
        pictures.mkdir(parents=True, exist_ok=True)
        command.append(str(pictures))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    facts: Facts = json.loads(done.stdout)
    return facts


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_opens_without_errors_and_asks_for_nothing_else(visit: Facts, view: str) -> None:
    assert visit["views"][view]["errors"] == []
    assert visit["views"][view]["requests"] == []


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_serious_violation(visit: Facts, view: str) -> None:
    found = visit["views"][view]["violations"]

    assert [one for one in found if one["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_is_never_wider_than_the_screen(visit: Facts, view: str) -> None:
    assert visit["views"][view]["overflow"] <= 0


def test_every_section_is_present_and_linked(visit: Facts, name: str) -> None:
    assert visit["sections"] == visit["links"] == list(SECTIONS[name])


def test_a_link_leads_to_the_top_of_its_section(visit: Facts, name: str) -> None:
    assert list(visit["jumps"]) == list(SECTIONS[name])
    assert all(abs(top) < 0.1 for top in visit["jumps"].values()), visit["jumps"]


def test_every_column_sorts_both_ways(visit: Facts) -> None:
    assert len(visit["sorts"]) >= 4
    for column in visit["sorts"]:
        up, down = ([_key(key) for key in column[order] if key] for order in ORDERS)
        assert up == sorted(up), column["heading"]
        assert down == sorted(up, reverse=True), column["heading"]


def test_rows_without_a_value_stay_below(visit: Facts) -> None:
    for column in visit["sorts"]:
        for order in ORDERS:
            blanks = [key == "" for key in column[order]]
            assert blanks == sorted(blanks), column["heading"]


def test_text_and_menus_filter_rows(visit: Facts) -> None:
    filters = visit["filters"]

    total = filters["all"]
    assert total == filters["cleared"] > 1
    assert len(filters["word"]["rows"]) == 1
    assert filters["word"]["word"] in filters["word"]["rows"][0]
    assert filters["word"]["says"] == f"1 of {total} rows"
    assert filters["none"] == 0
    if menu := filters.get("menu"):
        assert 0 < len(menu["rows"]) < total
        assert all(menu["choice"] in row for row in menu["rows"])


def test_the_keyboard_reaches_and_sorts_a_table(visit: Facts) -> None:
    assert visit["keyboard"]["first"] == "skip"
    assert visit["keyboard"]["reached"]
    assert visit["keyboard"]["sorted"] in ORDERS


def test_pictures_open_large_and_close_by_keyboard(visit: Facts, name: str) -> None:
    opened = {"opened": True, "closed": True, "violations": []}
    assert visit["enlarges"] == (opened if name == "bundle" else None)


def test_nothing_that_a_reader_does_makes_an_error(visit: Facts) -> None:
    assert visit["errors"] == []
    assert visit["requests"] == []


def test_a_page_reads_without_scripts(visit: Facts) -> None:
    assert visit["unscripted"] == visit["filters"]["all"]


def _render(name: str, folder: Path) -> str:
    if name == "calibration":
        found = inspect_build(load_config(make_project(folder).write()))
        return render_calibration(inspection_facts(found), make_thumbnails(found))
    contents = make_contents(layers=40)
    if name == "bundle":
        return render_bundle(contents)
    floats = make_contents(dtype="fp16", name="unet_fp16", layers=40, pictures=False, seed=1)
    return render_bundles([contents, floats])


def _key(text: str) -> tuple[float | str, ...]:
    """What a cell sorts by: numbers within a text count as numbers."""
    try:
        return (float(text),)
    except ValueError:
        return tuple(int(one) if one.isdigit() else one for one in re.split(r"(\d+)", text))
