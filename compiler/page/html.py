"""Templates to self-contained pages: no request leaves them, no name in them becomes markup."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from compiler.page import words

_SCRIPT: Final = "page.js"

_BREAK: Final = Markup("<wbr>")


def _path(name: str) -> Markup:
    """A name that may go on in the next line where one of its parts ends, or goes on for long."""
    return _BREAK.join(re.split(r"(?<=/)(?=.)|(?==>)|(?<=[^/\s]{40})(?=.)", name))


FILTERS: Final[Mapping[str, Callable[..., str]]] = MappingProxyType(
    {
        "data_uri": lambda content, media: f"data:{media};base64,{b64encode(content).decode()}",
        "count": words.count,
        "decimals": words.decimals,
        "figures": words.figures,
        "path": _path,
        "plural": words.plural,
        "short_count": words.short_count,
        "signed": words.signed,
        "size": words.size,
    }
)


def render(template: str, **values: object) -> str:
    """The page that a template of `compiler/page/templates` makes of some values.

    A template extends `base.html`, which needs `title` and `sections` (a mapping of every section's
    id to its heading, in order), and takes its tables and sections from the macros of `parts.html`.

    Args:
        template: Name of its file.
        **values: What it shows; text is escaped.

    Returns:
        The whole page; style, script and pictures are in it, and its content security policy
        forbids everything that is not.

    Raises:
        jinja2.UndefinedError: A value that the template needs is missing.
    """
    environment = _environment()
    return environment.get_template(template).render(script_hash=_script_hash(), **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("compiler.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


@cache
def _script_hash() -> str:
    """What the page's policy names as the only script that may run."""
    script = _environment().get_template(_SCRIPT).render()
    return b64encode(hashlib.sha256(script.encode()).digest()).decode()
