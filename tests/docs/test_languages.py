"""Every page exists in English and in Chinese, and both say the same."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]
ONLY_ENGLISH = ("CHANGELOG.md", "CONTRIBUTING.md")  # for those who work on the code, not its users
READMES = ("README.md", "README.zh-CN.md")  # each links to the other

BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
HEADING = re.compile(r"^(#+) +(.+?)(?: +\{#([\w-]+)\})?$", re.MULTILINE)
LINK = re.compile(r"(!?)\[[^][]*\]\(([^)\s]+)[^)]*\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
TABLE = re.compile(r"(?:^ *\|.*\n?)+", re.MULTILINE)


def _chinese(page: str) -> str:
    return READMES[1] if page == READMES[0] else page.removesuffix(".md") + ".zh.md"


def _is_chinese(page: str) -> bool:
    return page.endswith(".zh.md") or page == READMES[1]


PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
)
ENGLISH = [page for page in PAGES if not _is_chinese(page) and page not in ONLY_ENGLISH]
TRANSLATED = [page for page in ENGLISH if (ROOT / _chinese(page)).exists()]


def _read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def _prose(page: str) -> str:
    """The page without its code blocks."""
    return BLOCK.sub("", _read(page))


def _blocks(page: str) -> list[tuple[str, str]]:
    return [(language, dedent(body)) for language, body in BLOCK.findall(_read(page))]


def _code(page: str) -> list[str]:
    """What stands between backticks, also across the end of a line."""
    return sorted(" ".join(code.split()) for code in CODE.findall(_prose(page)))


def _levels(page: str) -> list[int]:
    return [len(marks) for marks, _, _ in HEADING.findall(_prose(page))]


def _links(page: str) -> list[tuple[str, str]]:
    """Links and images but the one between the READMEs; a sentence may turn their order."""
    found = LINK.findall(_prose(page))
    return sorted((mark, target) for mark, target in found if target not in READMES)


def _rows(page: str) -> list[list[int]]:
    """For every table the number of bars in each of its rows."""
    tables = TABLE.findall(CODE.sub("", _prose(page)))
    return [[row.count("|") for row in table.splitlines()] for table in tables]


def _numbers(page: str) -> list[str]:
    text = LINK.sub("", CODE.sub("", HEADING.sub(r"\2", _prose(page))))
    return sorted(NUMBER.findall(text))


def _anchors(page: str) -> set[str]:
    """What a heading can be linked to by: its id if it has one, else its words."""
    plain = [(re.sub(r"[^\w\s-]", "", text), own) for _, text, own in HEADING.findall(_prose(page))]
    return {own or re.sub(r"[-\s]+", "-", text.strip().lower()) for text, own in plain}


def test_every_page_exists_in_both_languages() -> None:
    assert {_chinese(page) for page in ENGLISH} == {page for page in PAGES if _is_chinese(page)}


@pytest.mark.parametrize("page", TRANSLATED)
def test_code_is_the_same_in_both_languages(page: str) -> None:
    assert _blocks(_chinese(page)) == _blocks(page)
    assert _code(_chinese(page)) == _code(page)


@pytest.mark.parametrize("page", TRANSLATED)
def test_headings_have_the_same_levels_in_both_languages(page: str) -> None:
    assert _levels(_chinese(page)) == _levels(page)


@pytest.mark.parametrize("page", TRANSLATED)
def test_links_and_images_are_the_same_in_both_languages(page: str) -> None:
    assert _links(_chinese(page)) == _links(page)


@pytest.mark.parametrize("page", TRANSLATED)
def test_tables_have_the_same_cells_in_both_languages(page: str) -> None:
    assert _rows(_chinese(page)) == _rows(page)


@pytest.mark.parametrize("page", TRANSLATED)
def test_numbers_are_the_same_in_both_languages(page: str) -> None:
    assert _numbers(_chinese(page)) == _numbers(page)


@pytest.mark.parametrize("page", [*TRANSLATED, *map(_chinese, TRANSLATED)])
def test_every_anchor_that_a_page_links_to_exists_in_its_language(page: str) -> None:
    for _, target in LINK.findall(_prose(page)):
        path, mark, anchor = target.partition("#")
        if mark and "//" not in path:
            other = str((ROOT / page).parent.joinpath(path).resolve().relative_to(ROOT))
            other = other if path else page
            if path and page.endswith(".zh.md"):
                other = _chinese(other)
            assert anchor in _anchors(other), target
