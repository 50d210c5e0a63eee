"""What workspace keys ask to be kept beside the bundle."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from compiler.config.model import BuildConfig
from compiler.errors import BundleError

_KEPT: Final = tuple(
    f"{stem}{end}" for stem in ("original", "observed") for end in (".onnx", ".params")
)


@contextmanager
def log_file(config: BuildConfig, workspace: Path) -> Iterator[None]:
    """Write the log of this build beside the bundle, if workspace.save_log asks for it."""
    if not config.workspace.save_log:
        yield
        return
    path = workspace / f"{config.name}.log"
    with _refusals(path):
        handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("compiler")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


def keep_graphs(config: BuildConfig, workspace: Path, work: Path) -> None:
    """Remove the graphs between the stages, or keep them beside the bundle (enable_ir)."""
    kept = workspace / f"{config.name}.ir"
    if config.workspace.enable_ir:
        with _refusals(kept):
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(work, kept, ignore=lambda _, names: set(names) - set(_KEPT))
    shutil.rmtree(work)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            fix="make it writable, or leave out workspace.save_log and enable_ir",
        ) from error
