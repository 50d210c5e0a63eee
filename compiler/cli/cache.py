"""`modc cache`: results of stages that later builds reuse."""

import json
import re
from datetime import UTC, datetime
from typing import Final

import typer

from compiler.cli.tables import print_table
from compiler.errors import BuildFileError
from compiler.pipeline.cache import StageCache, default_folder
from compiler.report.cache import cache_facts, cache_table
from compiler.runner.user_cache import forget_kept, kept_bytes

_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)
_OFF: Final = "the cache is off (MODC_CACHE)"


def show(*, as_json: bool) -> None:
    """Print what the cache holds."""
    cache = StageCache(default_folder())
    entries = cache.entries()
    if as_json:
        typer.echo(json.dumps(cache_facts(entries, cache.folder) | {"runner": kept_bytes()}))
    elif cache.folder is None:
        typer.echo(_OFF)
    else:
        print_table(cache_table(entries, datetime.now(UTC)))
        typer.echo(f"in {cache.folder}")
        if kept := kept_bytes():
            each = ", ".join(f"{name} {size / 2**20:.2f}" for name, size in kept.items())
            typer.echo(f"the runner keeps {sum(kept.values()) / 2**20:.2f} MiB: {each}")


def prune(max_size: str | None, older_than: float | None, *, everything: bool) -> None:
    """Remove entries and print what that freed.

    Args:
        max_size: Size to leave, such as "1GiB"; None, without another wish, is the usual limit.
        older_than: Days without use.
        everything: Remove all entries, and what the runner keeps.

    Raises:
        BuildFileError: `max_size` is no size.
    """
    cache = StageCache(default_folder())
    limit = None if max_size is None else bytes_of(max_size)
    if limit is None and older_than is None and not everything:
        limit = cache.limit
    freed = cache.prune(max_bytes=limit, older_than_days=older_than, everything=everything)
    if everything:
        freed += forget_kept()
    if cache.folder is None:
        typer.echo(_OFF)
    else:
        typer.echo(f"freed {freed / 2**20:.2f} MiB")


def bytes_of(text: str) -> int:
    """Bytes of a size such as "500MB" (powers of 1000) or "1.5 GiB" (powers of 1024).

    Raises:
        BuildFileError: The text is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BuildFileError(
            f"'{text}' is no size", where="--max-size", fix="give a size such as 500MB or 1GiB"
        )
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " "))
