"""`modc run`: a bundle on images, or the bundle of a build file on all of its data set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer

from calibration.dataset import IMAGE_SUFFIXES, DatasetError, find_files, load_arrays
from compiler.cli.failures import print_error
from compiler.cli.progress import progress
from compiler.config.dump import dump_config
from compiler.config.load import load_config
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input, resolve_output
from compiler.errors import BuildFileError, BundleError, CalibrationError, ModcError
from compiler.pipeline.build_diff import changed_keys
from compiler.runner.cpu import cpus
from compiler.runner.engine import EngineChoice, Provider, Tensor
from compiler.runner.inputs import Given
from compiler.runner.load import Runner
from compiler.runner.manifest import STEM, Manifest
from compiler.runner.results import result_names, write_arrays, write_results
from compiler.runner.stream import stream

MOST_INSTANCES: Final = 8
"""Samples that run at the same time unless asked otherwise: each needs memory of its own."""

_ONLY_DATA: Final = ("dataset.path", "dataset.sampler.", "verify.", "workspace.")
"""Keys of a build file that say nothing of how its bundle treats an image."""

_USAGE: Final = (
    "modc run BUILD.yaml (its bundle, on all of dataset.path), or "
    "modc run -m PREFIX IMAGES… -o FOLDER"
)

Load = Callable[[Path], Given]
Write = Callable[[str, Path, Mapping[str, Tensor], Manifest], object]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says of how to run; see `compiler.runner.load.Runner`."""

    engine: EngineChoice | None = None
    threads: int | None = None
    instances: int | None = None
    providers: Sequence[Provider] | None = None
    vdsp_params: Path | None = None
    allow_custom_code: bool = False
    quiet: bool = False

    def open(self, prefix: str | Path) -> Runner:
        """The bundle, to run as many samples at the same time as there are CPUs for."""
        return Runner(
            prefix,
            engine=self.engine,
            threads=self.threads,
            instances=self.instances or max(1, min(MOST_INSTANCES, cpus() // (self.threads or 1))),
            providers=self.providers,
            vdsp_params=self.vdsp_params,
            allow_custom_code=self.allow_custom_code,
        )


def run(
    paths: Sequence[Path],
    options: Options,
    *,
    model: str | None = None,
    output: Path | None = None,
    overrides: Sequence[str] = (),
    dtype: str | None = None,
) -> int:
    """Run a bundle on images, or the bundle of a build file on its data set.

    Args:
        paths: Images and folders of images; or, without `model`, one build file.
        options: How to run.
        model: The bundle.
        output: Folder for the results of `model`.
        overrides: Of the build file.
        dtype: Of the build file.

    Returns:
        Exit code: 0, or that of CalibrationError when some of the images could not be used.

    Raises:
        BuildFileError: Neither form of the command, or a wrong build file.
        CalibrationError: There is no data set, or no such image.
        BundleError: The bundle cannot be used, or the results cannot be written.
    """
    builds = [path for path in paths if path.suffix.lower() in (".yaml", ".yml")]
    if model is None and output is None and len(paths) == len(builds) == 1:
        config = load_config(paths[0], overrides=overrides, dtype=dtype)
        return _run_build(config, paths[0], options)
    if model is None or output is None or builds or overrides or dtype is not None:
        raise BuildFileError(
            _misuse(model, output, builds, paths), where="modc run", fix=f"use {_USAGE}"
        )
    return _run_images(model, paths, output, options)


def _misuse(
    model: str | None, output: Path | None, builds: Sequence[Path], paths: Sequence[Path]
) -> str:
    if model is not None and builds:
        return f"both a bundle (-m {model}) and a build file ({builds[0]}) given"
    if model is not None and output is None:
        return "-m needs a folder for the results (-o)"
    if model is not None:
        return "--set and --dtype are for build files, not for bundles"
    if output is not None and builds:
        return "the results of a build file go beside its bundle; -o is for -m"
    if len(builds) > 1 or (builds and len(paths) > 1):
        return f"{len(paths)} files given in place of one build file"
    return "no bundle (-m) and no build file (.yaml) given"


def _run_build(config: BuildConfig, build_file: Path, options: Options) -> int:
    folder = resolve_output(config.workspace.path) / config.name
    prefix = folder / STEM
    if not prefix.with_suffix(".json").is_file():
        raise BundleError(
            f"{build_file.name} has not been compiled: there is no bundle",
            where=str(folder),
            fix=f"modc compile {build_file} (with the same --set and --dtype)",
        )
    files = _data_set(config)
    results = folder.with_name(f"{folder.name}-result")
    with options.open(prefix) as runner:
        keys = changed_keys(dump_config(config), runner.manifest.build)
        if changed := [key for key in keys if not key.startswith(_ONLY_DATA)]:
            _say(
                f"warning: the bundle was made from another version of {build_file.name} (other "
                f"{', '.join(changed)}); it runs as it was built, its own preprocessing included"
            )
        load = _loader(runner)
        _empty(results)
        return _run_all(
            runner,
            files,
            load,
            lambda name, _, outputs, manifest: write_arrays(results, name, outputs, manifest),
            results,
            options,
        )


def _data_set(config: BuildConfig) -> tuple[Path, ...]:
    dataset = config.dataset
    if dataset is None or dataset.path is None:
        raise CalibrationError(
            "the build file names no data set",
            where=f"{config.file_name}: dataset.path",
            fix="set it, or give images: modc run -m PREFIX IMAGES… -o FOLDER",
        )
    folder = resolve_input(dataset.path, config.base_dir, where=f"{config.name}: dataset.path")
    try:
        return find_files(folder, suffix=dataset.sampler.suffix, arrays=not dataset.process_ops)
    except DatasetError as error:
        raise CalibrationError(error.what, where=error.where, fix=error.fix) from error


def _empty(folder: Path) -> None:
    """Make a folder for results, or remove those of an earlier run from it.

    Scripts match results with images by their order; what is left of other images would shift it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.npz"):
            file.unlink()
    except OSError as error:
        raise BundleError(
            f"results cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            fix="remove what is in the way, or set another workspace.path",
        ) from error


def _run_images(model: str, paths: Sequence[Path], output: Path, options: Options) -> int:
    files = list(_images(paths))
    with options.open(model) as runner:
        load, used = _loader(runner), runner.preprocessing

        def write(
            name: str, image: Path, outputs: Mapping[str, Tensor], manifest: Manifest
        ) -> object:
            return write_results(
                output, name, image, outputs, replace(manifest, preprocessing=used)
            )

        return _run_all(runner, files, load, write, output, options)


def _images(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise CalibrationError(
                    "no image in this folder",
                    where=str(path),
                    fix=f"give files that end in {', '.join(IMAGE_SUFFIXES)}",
                )
            yield from found
        elif path.exists():
            yield path
        else:
            raise CalibrationError("no such image", where=str(path), fix="correct the path")


def _loader(runner: Runner) -> Load:
    """File → what `Runner.prepare` takes.

    Preprocessing that cannot be used is told of here, once, and not for every image.
    """
    if runner.preprocessing is not None:
        return lambda path: path
    wanted = {one.name: (one.bounds or one.shape, one.dtype) for one in runner.inputs}

    def load_file(path: Path) -> Mapping[str, Tensor]:
        try:
            return load_arrays(path, wanted).arrays
        except DatasetError as error:
            raise CalibrationError(error.what, where=error.where, fix=error.fix) from error

    return load_file


def _run_all(
    runner: Runner, files: Sequence[Path], load: Load, write: Write, folder: Path, options: Options
) -> int:
    """Run all files; one that fails is reported, and the others go on."""
    failed = 0
    with (
        progress(quiet=options.quiet) as report,
        stream(
            files,
            prepare=lambda path: runner.prepare(load(path)),
            infer=runner.infer_many,
            instances=runner.instances,
        ) as results,
    ):
        names = result_names(files)
        for name, result in zip(names, results, strict=True):
            if result.error is not None:
                failed += 1
                print_error(_of_file(result.error, result.source), as_json=False)
            elif result.outputs is not None:
                write(name, result.source, result.outputs, runner.manifest)
            report("run", result.index + 1, len(files))
    if not options.quiet:
        done = f"{len(files) - failed} of {len(files)}" if failed else f"{len(files)}"
        typer.echo(f"{done} image(s) on {runner.engine}: results in {folder}")
    return CalibrationError.exit_code if failed else 0


def _of_file(error: ModcError, file: Path) -> ModcError:
    """Of what went wrong with a file, a BundleError knows the bundle alone."""
    if isinstance(error, BundleError):
        return CalibrationError(error.what, where=str(file), fix=error.fix)
    return error


def _say(text: str) -> None:
    typer.echo(text, err=True)
