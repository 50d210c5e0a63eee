"""A small table for notebooks; it takes its colours from the notebook, light or dark."""

from collections.abc import Iterable
from html import escape


def html_table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table of facts.

    Args:
        title: Its caption.
        rows: What, and its value.
    """
    lines = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(what)}</th>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for what, value in rows
    )
    caption = f'<caption style="text-align:left">{escape(title)}</caption>'
    return f"<table>{caption}<tbody>{lines}</tbody></table>"
