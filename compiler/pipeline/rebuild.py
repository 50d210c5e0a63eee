"""From a bundle back to its build: what was measured of it, and how to make it once more."""

import glob
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from compiler.config.load import load_config
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, BundleError, ModcError
from compiler.pipeline.network import checkpoint_of
from compiler.runner.read import Bundle, file_fact
from compiler.verify.sensitivity import LayerSensitivity, from_json


def sensitivity_of(bundle: Bundle) -> tuple[LayerSensitivity, ...]:
    """What int8 costs each layer, as the build measured it.

    Raises:
        BundleError: It is not int8, or an older modc built it.
    """
    dtype = bundle.manifest.quantization.get("dtype")
    if dtype != "int8":
        raise BundleError(
            f"a bundle of dtype {dtype} has no layers on integers, only int8 ones have",
            where=str(bundle.prefix),
            fix="name an int8 bundle; modc compile --dtype int8 builds one",
        )
    path = bundle.folder / f"{bundle.prefix.name}.report.json"
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8"))["sensitivity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            "its report data has no sensitivity of layers that this modc can read",
            where=str(path),
            fix="compile it again (modc compile)",
        ) from error


def build_file_of(bundle: Bundle, given: Path | None) -> BuildConfig:
    """The build file of a bundle, with its network where it is now.

    Args:
        bundle: It holds its build file, but not the folder of that.
        given: The build file, if the user names it.

    Raises:
        BuildFileError: The network is not to be found, or has changed.
        BundleError: The build file is of another version of modc.
    """
    if given is not None:
        return load_config(given, dtype="int8")
    config = stored_config(bundle, fix="name the build file (--config), or compile it again")
    known = {source.sha256 for source in bundle.manifest.sources if source.role == "model"}
    found = list(_placed(config, bundle))
    same = [one for one in found if file_fact(checkpoint_of(one)).sha256 in known]
    if not same:
        state = "has changed since" if found else "is not to be found"
        raise BuildFileError(
            f"the network that it was made from, {config.frontend.checkpoint}, {state}",
            where=str(bundle.prefix),
            fix="name its build file (--config), or compile it again",
        )
    return next((one for one in same if _has_data(one)), same[0])


def stored_config(bundle: Bundle, *, fix: str) -> BuildConfig:
    """The build file that a bundle holds, with paths as they were written.

    Args:
        bundle: Built from it.
        fix: What to do about one that this modc cannot read.

    Raises:
        BundleError: It is of another version of modc.
    """
    source = bundle.manifest.build_file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (source.name if source else "build.yaml")
        path.write_text(bundle.manifest.build, encoding="utf-8")
        try:
            return load_config(path)
        except BuildFileError as error:
            raise BundleError(
                "its build file is of another version of modc",
                where=str(bundle.prefix),
                fix=fix,
            ) from error


def _placed(config: BuildConfig, bundle: Bundle) -> Iterator[BuildConfig]:
    """The build file in each folder in which its network exists.

    They are the current folder, the one that the workspace is in, the folders in these, and those
    further down that hold a file of the build file's name.
    """
    for start in dict.fromkeys((Path.cwd(), bundle.folder.resolve().parent.parent)):
        named = start.glob(f"*/*/{glob.escape(config.file_name)}")
        for folder in (start, *sorted(start.glob("*/")), *sorted(one.parent for one in named)):
            placed = config.at(folder / config.file_name)
            try:
                checkpoint_of(placed)
            except (ModcError, OSError):
                continue
            yield placed


def _has_data(config: BuildConfig) -> bool:
    if config.dataset is None or config.dataset.path is None:
        return False
    try:
        resolve_input(config.dataset.path, config.base_dir, where="dataset.path")
    except (BuildFileError, OSError):
        return False
    return True
