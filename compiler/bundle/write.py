"""Write a bundle: whole or not at all, and one build at a time.

with new_bundle(workspace, name, build_file="net.yaml", model="net.onnx") as bundle:
    ...  # write bundle.folder / "mod.onnx" and so on
    digest = bundle.commit(manifest)
"""

import errno
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import filelock

from compiler.bundle.swap import flush, folder_new, keep_foreign, swap_in, sweep
from compiler.errors import BundleError
from compiler.runner.manifest import UNHASHED, Manifest
from compiler.runner.read import file_fact, folder_aside

_LOG = logging.getLogger(__name__)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class NewBundle:
    """A bundle that is being written; nobody sees it before `commit`.

    Args:
        target: Where the bundle will stand.
        folder: Where its files are to be written, under their final names.
        warnings: What the user should know about the bundle that stands there now.
    """

    target: Path
    folder: Path
    warnings: tuple[str, ...]

    def commit(
        self, manifest: Manifest, *, present: Callable[[Manifest], None] | None = None
    ) -> str:
        """Write `mod.json`, flush everything to disk and put the bundle in its place.

        Args:
            manifest: Its `files` are filled in here.
            present: Called with the manifest as it will be; may write files that are not hashed.

        Returns:
            SHA-256 of `mod.json`.
        """
        files = {
            path.name: file_fact(path)
            for path in sorted(self.folder.iterdir())
            if path.name not in UNHASHED
        }
        whole = replace(manifest, files=files)
        contents = whole.to_json().encode()
        if present is not None:
            present(whole)
        (self.folder / "mod.json").write_bytes(contents)
        if self.target.exists():
            keep_foreign(self.target, self.folder)
        flush(self.folder)
        swap_in(self.folder, self.target)
        return hashlib.sha256(contents).hexdigest()


@contextmanager
def new_bundle(workspace: Path, name: str, *, build_file: str, model: str) -> Iterator[NewBundle]:
    """Hold the name of a bundle for one build; leave the old bundle unless it commits.

    Another build of the same name waits until this block ends. Whatever ends it before `commit`,
    an exception or a kill, the old bundle stays as it was; a killed build's leftovers are swept by
    the next one.

    Args:
        workspace: Folder of bundles; made if it is missing.
        name: Folder of the bundle in it.
        build_file: Name of the build file.
        model: Name of the model file. A present bundle with another origin gives a warning.

    Raises:
        BundleError: The name is no folder name, or the disk refuses: read-only, full, no folder.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise BundleError(
            f"{name!r} cannot name a folder",
            where="name",
            fix="use a plain name without '/', not beginning with '.'",
        )
    target = (workspace / name).resolve()  # a link keeps pointing to the bundle
    with _refusals(target), _lock(target):
        sweep(target)
        folder = folder_new(target)
        folder.mkdir()
        try:
            yield NewBundle(target, folder, _warnings(target, build_file, model))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file stands where the bundle goes", str(target))
    lock = filelock.FileLock(_lock_file(target))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _LOG.warning("another build of %s is running; waiting for it to end", target)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _refusals(target: Path) -> Iterator[None]:
    """Turn what the disk refuses to the bundle into an error with a repair; pass on the rest."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        path = Path(str(error.filename)) if error.filename else None
        if not full and (path is None or not _concerns(path, target)):
            raise
        repair = "free space on its disk, or raise the quota or the limit on file sizes"
        if not full:
            repair = "set workspace.path to a folder that can be written"
        raise BundleError(
            f"the bundle cannot be written: {error.strerror}",
            where=str(path or target),
            fix=f"{repair}; a bundle that was there before is unchanged",
        ) from error


def _concerns(path: Path, target: Path) -> bool:
    """Whether a file belongs to the writing of a bundle, rather than to its sources."""
    own = (target, folder_new(target), folder_aside(target), _lock_file(target))
    return target.parent.is_relative_to(path) or any(path.is_relative_to(one) for one in own)


def _lock_file(target: Path) -> Path:
    return target.parent / f".{target.name}.lock"


def _warnings(target: Path, build_file: str, model: str) -> tuple[str, ...]:
    """Whether the present bundle has another origin: two build files share one name."""
    path = target / "mod.json"
    if not path.exists():
        return ()
    try:
        older = Manifest.from_json(path.read_text(encoding="utf-8"), where=str(path))
    except (BundleError, UnicodeDecodeError):
        return (f"{target}: replaces mod.* files whose mod.json this modc cannot read",)
    models = [source.name for source in older.sources if source.role == "model"]
    if older.build_file is None or (older.build_file.name, models[:1]) == (build_file, [model]):
        return ()
    return (
        f"{target}: replaces the bundle of another build file, {older.build_file.name} "
        f"(sha256 {older.build_file.sha256}); give one of them another name to keep both",
    )
