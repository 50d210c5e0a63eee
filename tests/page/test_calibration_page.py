"""The page of an inspection of calibration data."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from compiler.config.load import load_config
from compiler.page.calibration import KINDS, SECTIONS, render_calibration
from compiler.pipeline.calibration_set import Kind
from compiler.pipeline.inspect_calibration import inspect_build, inspect_folder, make_thumbnails
from compiler.report.calib import inspection_facts
from tests.support.project import make_project


class _Page(HTMLParser):
    """Headings by section, texts of cells, and sources of pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.words: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tables: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "section":
            self.sections.append(values["id"] or "")
        elif tag == "img":
            self.images.append(values)
        elif tag == "table":
            self.tables.append(values["id"] or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_every_kind_of_finding_has_a_heading() -> None:
    assert set(KINDS) == set(get_args(Kind))


def test_a_build_file_fills_every_section(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (tmp_path / "calib" / "image_1.png").write_bytes(b"torn")
    project.document["dataset"]["sampler"]["get_data_num"] = 6
    found = inspect_build(load_config(project.write()))
    page = _Page(render_calibration(inspection_facts(found), make_thumbnails(found)))
    assert page.sections == list(SECTIONS)
    assert {"settling-table", "leaders", "extremes-table", "channels-table"} <= set(page.tables)
    assert "No tensors were observed." not in page.words
    assert "image_1.png: not an image in a known format" in page.words
    assert len(page.images) == 5
    for one in page.images:
        assert (one["src"] or "").startswith("data:image/jpeg;base64,")
        assert (one["alt"] or "").startswith("Calibration image image_")


def test_a_folder_shows_what_needs_no_network_and_escapes_names(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "<script>alert(1)<.png")
    Image.new("L", (8, 8)).save(tmp_path / "flat.png")
    found = inspect_folder(tmp_path)
    text = render_calibration(inspection_facts(found), make_thumbnails(found))
    page = _Page(text)
    assert page.sections == list(SECTIONS)
    assert "<script>alert" not in text
    assert page.words.count("No tensors were observed.") == 2
    assert "no content" in page.words  # beside the picture


def test_arrays_and_clean_data_say_so(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (tmp_path / "arrays").mkdir()
    for number in range(2):
        values = np.random.default_rng(number).random((1, 3, 16, 16), np.float32)
        np.savez(tmp_path / "arrays" / f"{number}.npz", input=values)
    project.document["dataset"] = {"path": str(tmp_path / "arrays")}
    found = inspect_build(load_config(project.write()), network=False)
    page = _Page(render_calibration(inspection_facts(found), ()))
    for words in (
        "Nothing is wrong with these files.",
        "There are no images, so there are no channels of pixels.",
        "There are no pictures to show.",
    ):
        assert words in page.words


@pytest.mark.parametrize("limit", [0, 1])
def test_the_same_facts_give_the_same_bytes(tmp_path: Path, limit: int) -> None:
    project = make_project(tmp_path, images=2 + limit)
    found = inspect_build(load_config(project.write()))
    facts: dict[str, Any] = json.loads(json.dumps(inspection_facts(found)))  # Any: JSON
    sheet = make_thumbnails(found)
    assert render_calibration(facts, sheet) == render_calibration(inspection_facts(found), sheet)
