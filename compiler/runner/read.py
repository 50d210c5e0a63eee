"""Find a bundle and read it whole, also while a build replaces it."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from compiler.errors import BundleError
from compiler.runner.html_table import html_table
from compiler.runner.manifest import STEM, FileFact, Manifest

Stamp: TypeAlias = tuple[Path, int, int]
T = TypeVar("T")

_ATTEMPTS: Final = 20
_BUILD_AGAIN: Final = "build the bundle again (modc compile)"
_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk.

    Args:
        prefix: Folder and stem, as in `deploy_weights/unet3p/mod`.
        manifest: Contents of its `mod.json`.
        digest: SHA-256 of `mod.json`, which names the build: it covers every other hash.
    """

    prefix: Path
    manifest: Manifest
    digest: str

    @property
    def folder(self) -> Path:
        return self.prefix.parent

    @property
    def model(self) -> Path:
        """The compiled graph, `mod.onnx`."""
        return _file(self.prefix, ".onnx")

    def facts(self) -> Iterator[tuple[str, str]]:
        """What it is, as a notebook shows it."""
        manifest = self.manifest
        yield "bundle", str(self.prefix)
        yield "dtype", str(manifest.quantization.get("dtype", ""))
        yield "engine", manifest.engine
        for what, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
            yield from ((what, str(one)) for one in specs)
        yield "size", f"{sum(fact.size for fact in manifest.files.values()) / 2**20:.2f} MiB"
        yield "mod.json sha256", self.digest

    def _repr_html_(self) -> str:
        return html_table(self.manifest.name, self.facts())


def find_bundle(prefix: str | Path) -> Path:
    """Prefix of the bundle that a user named.

    Args:
        prefix: `…/<name>/mod`, `…/<name>` or `…/<name>/mod.json`.

    Returns:
        `<folder>/<stem>`, where `<stem>.json` and `<stem>.onnx` stand.

    Raises:
        BundleError: There is none, and the error lists the bundles near by; or its folder may not
            be entered.
    """
    asked = Path(prefix).expanduser()
    named = [asked / STEM, asked]
    if asked.suffix == ".json":
        named.append(asked.with_suffix(""))
    # Where folders cannot be exchanged in one step, a build sets the old one aside for a moment,
    # which may end between two looks: hence the third.
    aside = [folder_aside(path.parent.resolve()) / path.name for path in named]
    try:
        for candidate in (*named, *aside, *named):
            if _file(candidate, ".json").is_file() and _file(candidate, ".onnx").is_file():
                return candidate
        near_by = _near_by(asked)
    except OSError as error:
        raise BundleError(
            f"cannot be read: {error.strerror}",
            where=str(prefix),
            fix="check the path and the permissions of its folders",
        ) from error
    raise BundleError("bundle not found", where=str(prefix), fix=near_by)


def read_bundle(prefix: str | Path, *, check: bool = True) -> Bundle:
    """Manifest of a bundle whose files are whole.

    Safe while another process replaces the bundle: the answer is about one of the two.

    Args:
        prefix: As for `find_bundle`.
        check: Compare the contents of every file with its hash; False compares sizes only.

    Raises:
        BundleError: No bundle there, or one that is torn, edited or of a newer format.
    """
    return use_bundle(prefix, lambda bundle: bundle, check=check)


def use_bundle(prefix: str | Path, use: Callable[[Bundle], T], *, check: bool = True) -> T:
    """Result of `use` on a checked bundle that stayed in place meanwhile.

    Args:
        prefix: As for `find_bundle`.
        use: Reads what it needs from the folder; called again when a build replaced the bundle.
        check: As for `read_bundle`.

    Raises:
        BundleError: As `read_bundle`, or the bundle was replaced over and over.
    """
    for attempt in range(_ATTEMPTS):
        found = find_bundle(prefix)
        stamp = _stamp(found)
        try:
            bundle = _read_manifest(found)
            verify_files(bundle, contents=check)
            result = use(bundle)
        except Exception:
            if _is_current(stamp, prefix):
                raise
        else:
            if _is_current(stamp, prefix):
                return result
        time.sleep(0.005 * attempt)
    raise BundleError(
        f"replaced {_ATTEMPTS} times while it was read",
        where=str(prefix),
        fix="wait until the builds that write it are done",
    )


def verify_files(bundle: Bundle, *, contents: bool = True) -> None:
    """Check every file that the manifest vouches for.

    Args:
        bundle: Folder and manifest.
        contents: Compare SHA-256 too; False compares sizes only.

    Raises:
        BundleError: A file is missing, torn (another size) or edited (another hash).
    """
    if bundle.model.name not in bundle.manifest.files:
        raise _damaged(bundle.model, "its hash is not in the manifest")
    for name, fact in bundle.manifest.files.items():
        path = bundle.folder / name
        try:
            size = path.stat().st_size
            if size != fact.size:
                raise _damaged(path, f"torn or edited: {size} bytes instead of {fact.size}")
            if contents and file_fact(path) != fact:
                raise _damaged(path, "edited: its contents do not match the hash in the manifest")
        except OSError as error:
            raise _damaged(path, f"cannot be read: {error.strerror}") from error


def file_fact(path: Path) -> FileFact:
    """Size and SHA-256 of a file, read in blocks.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileFact(os.fstat(file.fileno()).st_size, digest)


def folder_aside(folder: Path) -> Path:
    """Where a build sets the old bundle aside when `folder` cannot be exchanged in one step."""
    return folder.parent / f".{folder.name}.old"


def _file(prefix: Path, suffix: str) -> Path:
    return prefix.parent / f"{prefix.name}{suffix}"


def _read_manifest(prefix: Path) -> Bundle:
    path = _file(prefix, ".json")
    try:
        contents = path.read_bytes()
        manifest = Manifest.from_json(contents.decode(), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, f"cannot be read: {error}") from error
    return Bundle(prefix, manifest, hashlib.sha256(contents).hexdigest())


def _stamp(prefix: Path) -> Stamp | None:
    """Identity of the bundle at a prefix: every build writes a new manifest file."""
    try:
        facts = _file(prefix, ".json").stat()
    except OSError:
        return None
    return prefix, facts.st_ino, facts.st_mtime_ns


def _is_current(stamp: Stamp | None, prefix: str | Path) -> bool:
    try:
        return stamp is not None and stamp == _stamp(find_bundle(prefix))
    except BundleError:
        return False


def _damaged(path: Path, what: str) -> BundleError:
    fix = _BUILD_AGAIN
    if path.name == f"{STEM}.calib.txt":
        fix = (
            "build the bundle again (modc compile); to use an edited table, first copy it out of "
            "the bundle, then give the copy with --calibration-table"
        )
    return BundleError(what, where=str(path), fix=fix)


def _near_by(asked: Path) -> str:
    here = asked.absolute()
    root = next(folder for folder in (here, *here.parents) if folder.is_dir())
    found = sorted(
        str(path.with_suffix(""))
        for depth in ("", "*/", "*/*/")
        for path in root.glob(f"{depth}{STEM}.json")
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not found:
        return f"build one first (modc compile); there is no bundle below {root}"
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"name one of these: {', '.join(found[:_LISTED])}{more}"
