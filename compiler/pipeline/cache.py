"""Results of stages, kept for later builds and found by what they were made from.

The cache may lose or spoil anything at any time, by a kill, a full disk or another process: a
build then takes longer, and that is all. What an entry is made of: `cache_entry`.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

from compiler.pipeline.cache_entry import (
    ENTRY,
    FORMAT,
    Entry,
    check,
    delete,
    describe,
    name_aside,
    remove,
    seal,
    time_of,
)
from compiler.pipeline.environment import code_digest, cpu_features, versions
from compiler.runner.cpu import cpu_features as instruction_sets
from compiler.runner.user_cache import KINDS, cache_folder

LIMIT: Final = 5 << 30
"""Bytes that the cache may take; beyond them the entries not used for longest go."""

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_ASIDE: Final = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}")  # being written, or being removed
_LEFT_OVER: Final = timedelta(days=1)  # no stage writes its result for that long

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


def default_folder() -> Path | None:
    """Folder of the cache: $MODC_CACHE, else one in the user's cache; None where it is off.

    $MODC_CACHE turns it off by being empty or "off"; a user without a home has none.
    """
    return cache_folder("stages", chosen="")


def key(stage: str, facts: Mapping[str, Any]) -> str:
    """Name of the result that `stage` has from `facts`, on this machine, by this version of modc.

    Args:
        stage: Name of the stage.
        facts: Everything that decides the result, as JSON can hold it; floats count exactly.

    Returns:
        SHA-256, 64 hex digits.

    Raises:
        TypeError: A value, or the name of one, is not what JSON can hold.
        ValueError: A number is NaN or infinite.
    """
    whole = {
        "format": FORMAT,
        "stage": stage,
        "versions": versions(),
        "code": code_digest(),
        "cpu": [cpu_features(), sorted(instruction_sets())],
        "facts": dict(facts),
    }
    _check_names(whole)
    text = json.dumps(whole, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


class StageCache:
    """Results of stages in a folder that any number of processes may use at the same time.

    Args:
        folder: Made when it is first needed; None stores nothing and finds nothing.
        limit: Bytes that `store` leaves in the folder at most.
    """

    def __init__(self, folder: Path | None, *, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._refused = False

    def fetch(self, stage: str, key: str) -> Path | None:
        """Folder with the files of a result, all of them whole; None if there is none.

        An entry that is not whole is removed. Another process may remove any entry at any time:
        `load` copes with that as well.
        """
        place = self._place(stage, key)
        if place is None or not os.path.lexists(place):
            return None
        try:
            check(place)
        except (OSError, ValueError) as error:
            _give_up(place, error)
            return None
        with suppress(OSError):  # a cache that is read-only can be read all the same
            os.utime(place / ENTRY)
        _LOG.info("cache: %s taken from %s", stage, place)
        return place

    def load(self, stage: str, key: str, read: Callable[[Path], T]) -> T | None:
        """What `read` makes of a result's folder; None if there is none, or `read` fails.

        Args:
            stage: As for `fetch`.
            key: As for `fetch`.
            read: Raises what it likes where it cannot make sense of the files.
        """
        place = self.fetch(stage, key)
        if place is None:
            return None
        try:
            return read(place)
        except Exception as error:  # whatever is wrong with it, it can be made anew
            _give_up(place, error)
            return None

    def store(self, stage: str, key: str, write: Callable[[Path], None], description: str) -> None:
        """Keep a result, unless it is there already, and drop what exceeds the limit.

        A folder that cannot be written is reported in the log, once, and then left alone.

        Args:
            stage: Name of the stage.
            key: See `key`.
            write: Writes files into the folder it is given, and no folders; OSError and ValueError
                are no failure of the build.
            description: What it is, for people.

        Raises:
            ValueError: `write` made something that is not a file.
        """
        place = self._place(stage, key)
        if place is None or self._refused or os.path.lexists(place):
            return
        new = name_aside(place)
        try:
            new.mkdir(parents=True)
            try:
                write(new)
            except ValueError as error:  # such as an array of a type that no file holds
                _LOG.info("cache: %s is not stored: %s", stage, error)
                return
            seal(new, place, description)
            new.rename(place)
        except OSError as error:
            if not os.path.lexists(place):  # else another process was faster
                self._refuse(error)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        self.prune(max_bytes=self.limit)

    def entries(self) -> tuple[Entry, ...]:
        """Everything in the cache, whole or not, by stage and key."""
        found = []
        for place in self._places(_KEY):
            with suppress(OSError):  # another process has just removed it
                found.append(describe(place))
        return tuple(found)

    def prune(
        self,
        *,
        max_bytes: int | None = None,
        older_than_days: float | None = None,
        everything: bool = False,
    ) -> int:
        """Remove entries, and what killed processes left behind.

        Args:
            max_bytes: Keep at most so much; the entries not used for longest go first.
            older_than_days: Remove those not used for longer.
            everything: Remove all.

        Returns:
            Bytes of the entries that were removed.
        """
        now = datetime.now(UTC)
        for leftover in self._places(_ASIDE):
            with suppress(OSError):
                if now - time_of(leftover) > _LEFT_OVER:
                    delete(leftover)
        entries = self.entries()
        total, freed = sum(one.size for one in entries), 0
        for one in sorted(entries, key=lambda one: one.used):
            old = older_than_days is not None and (
                (now - one.used) / timedelta(days=1) > older_than_days
            )
            excess = max_bytes is not None and total - freed > max_bytes
            place = self._place(one.stage, one.key)
            if (everything or old or excess) and place is not None and remove(place):
                freed += one.size
        return freed

    def _place(self, stage: str, key: str) -> Path | None:
        return None if self.folder is None else self.folder / stage / key

    def _places(self, name: re.Pattern[str]) -> Iterator[Path]:
        """Only what is named as the cache names things: the runner has files there, too."""
        if self.folder is not None:
            yield from (
                path
                for path in sorted(self.folder.glob("*/*"))
                if name.fullmatch(path.name) and path.parent.name not in KINDS
            )

    def _refuse(self, error: OSError) -> None:
        self._refused = True
        _LOG.warning(
            "cache: %s cannot be written (%s): later builds will take longer; "
            "set MODC_CACHE to another folder, or to off",
            self.folder,
            error.strerror or error,
        )


def _give_up(place: Path, error: Exception) -> None:
    """Remove an entry that cannot be used; say so, unless another process has just removed it."""
    if os.path.lexists(place):
        _LOG.warning("cache: %s is not used and removed: %s", place, error)
        remove(place)


def _check_names(value: object) -> None:
    """JSON would write the name 1 as "1", and two different facts as one."""
    if isinstance(value, dict):
        if other := [name for name in value if not isinstance(name, str)]:
            raise TypeError(f"facts are named by text, not by {other[0]!r}")
        for one in value.values():
            _check_names(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _check_names(one)
