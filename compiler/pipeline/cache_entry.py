"""One entry of the cache: a folder `<cache>/<stage>/<key>` with the files of one result.

Its `entry.json` lists their sizes and hashes. An entry is written beside its place and moved there
by one rename, and it counts only while every file agrees with the list.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from compiler.runner.read import file_fact

FORMAT: Final = 1
"""Of the entries and of the files in them; another number makes all older entries unknown."""

ENTRY: Final = "entry.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One result in the cache.

    Args:
        stage: Name of the stage, such as "graph".
        key: See `key`.
        description: What it is, for people: build, model file.
        size: Bytes on the disk.
        created: When it was stored.
        used: When it was stored or last fetched.
    """

    stage: str
    key: str
    description: str
    size: int
    created: datetime
    used: datetime


def check(place: Path) -> None:
    """Read all of an entry, to trust it.

    Raises:
        ValueError: The entry is not whole, or stands where another belongs.
        OSError: It cannot be read.
    """
    facts = _read(place)
    if (facts.get("format"), facts.get("stage"), facts.get("key")) != (FORMAT, *_identity(place)):
        raise ValueError(f"{ENTRY} belongs to another entry")
    listed, found = facts.get("files"), _contents(place)
    if not isinstance(listed, dict):
        raise ValueError(f"{ENTRY} lists no files")
    if differing := sorted(
        name for name in {*listed, *found} if listed.get(name) != found.get(name)
    ):
        raise ValueError(f"{', '.join(differing)}: not as {ENTRY} says")


def seal(new: Path, place: Path, description: str) -> None:
    """List the files in `new`, which is to become the entry `place`; wait for the disk.

    Raises:
        ValueError: `new` holds something that is not a file.
        OSError: The disk refuses, for example because it is full.
    """
    stage, key = _identity(place)
    facts = {
        "format": FORMAT,
        "stage": stage,
        "key": key,
        "description": description,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": _contents(new),
    }
    (new / ENTRY).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for path in new.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _contents(folder: Path) -> dict[str, dict[str, Any]]:  # Any: size and hash
    """Size and hash of every file, by name."""
    paths = sorted(folder.iterdir())
    if other := [path.name for path in paths if path.is_symlink() or not path.is_file()]:
        raise ValueError(f"{', '.join(other)}: not a file")
    return {path.name: asdict(file_fact(path)) for path in paths if path.name != ENTRY}


def _read(place: Path) -> dict[str, Any]:  # Any: a JSON object
    try:
        facts = json.loads((place / ENTRY).read_bytes())
    except RecursionError as error:
        raise ValueError(f"{ENTRY} is nested too deeply") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{ENTRY} is no JSON object")
    return facts


def describe(place: Path) -> Entry:
    """What an entry says of itself, unchecked; that it is damaged if it says nothing.

    Raises:
        OSError: It cannot be read, for example because another process has just removed it.
    """
    used, created, description = time_of(place), None, "damaged"
    with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
        used = time_of(place / ENTRY)
        facts = _read(place)
        created = datetime.fromisoformat(facts["created"]).astimezone(UTC)
        description = str(facts["description"])
    size = sum(path.lstat().st_size for path in place.iterdir())
    return Entry(*_identity(place), description, size, created or used, used)


def _identity(place: Path) -> tuple[str, str]:
    """Stage and key."""
    return place.parent.name, place.name


def time_of(path: Path) -> datetime:
    """When a file or folder was last written."""
    return datetime.fromtimestamp(path.lstat().st_mtime, UTC)


def name_aside(place: Path) -> Path:
    """A new, hidden name beside `place`: of an entry that is being written, or removed."""
    return place.with_name(f".{place.name}.{uuid4().hex}")


def remove(place: Path) -> bool:
    """Whether this process has removed the entry: at one stroke, so that none sees half of it."""
    aside = name_aside(place)
    try:
        place.rename(aside)
    except OSError:
        return False
    delete(aside)
    return True


def delete(path: Path) -> None:
    """Remove what nobody uses any more, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()  # where it was no folder
