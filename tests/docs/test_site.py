"""The documentation as a site: complete, without broken links, and from one place."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("mkdocs", "material", "mkdocs_static_i18n")
OF_ASSETS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")}
SHEET = re.compile(r"url\(\s*[\"']?((?:https?:)?//[^\"')]+)|@import")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in NEEDED), reason="needs modc's extra 'docs'"
    ),
]


class Page(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.assets: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for name, value in attrs:
            if (tag, name) in OF_ASSETS and values.get("rel") not in ("alternate", "canonical"):
                self.assets.append(value or "")
            if (tag, name) == ("a", "href"):
                self.links.append(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_in_both_languages(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        built = page.relative_to(ROOT / "docs").with_suffix(".html")
        if page.name.endswith(".zh.md"):
            built = Path("zh") / str(built).replace(".zh.html", ".html")
        assert (site / built).is_file(), built


def test_every_page_is_reached_from_the_first_one(site: Path) -> None:
    first = (site / "index.html").read_text("utf-8")
    reached = {urlsplit(link).path for link in Page(first).links}
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    english = {page for page in pages if not page.startswith("zh/")} - {"404.html"}
    assert english - {"index.html"} <= reached


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for path in pages:
        assets = Page(path.read_text("utf-8")).assets
        assert assets
        assert not [asset for asset in assets if urlsplit(asset).netloc], path
    for path in site.rglob("*.css"):
        assert not SHEET.search(path.read_text("utf-8")), path


def test_both_languages_can_be_searched(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text("utf-8")
    assert '"location":"how_to/run.html"' in index
    assert '"location":"zh/how_to/run.html"' in index
