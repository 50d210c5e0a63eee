"""`modc run`: a bundle on images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from calibration.dataset import IMAGE_SUFFIXES
from compiler.cli.progress import progress
from compiler.errors import BundleError
from compiler.runner.load import Runner
from compiler.runner.results import result_names, write_results


def run_images(
    prefix: str,
    images: Sequence[Path],
    output: Path,
    *,
    threads: int | None,
    providers: Sequence[str] | None,
    allow_custom_code: bool,
    quiet: bool,
) -> None:
    """Run a bundle on images and write what it finds.

    Args:
        prefix: The bundle.
        images: Files, or folders whose images are taken.
        output: Folder for the results.
        threads: Threads per operator.
        providers: Execution providers.
        allow_custom_code: Let a CustomFunc of the bundle run.
        quiet: Print nothing.

    Raises:
        BundleError: The bundle or an image cannot be used.
    """
    files = list(_files(images))
    with (
        Runner(
            prefix, threads=threads, providers=providers, allow_custom_code=allow_custom_code
        ) as runner,
        progress(quiet=quiet) as report,
    ):
        names = result_names(files)
        for index, (name, image) in enumerate(zip(names, files, strict=True), start=1):
            write_results(output, name, image, runner.run(image), runner.manifest)
            report("run", index, len(files))
    if not quiet:
        typer.echo(f"{len(files)} image(s): results in {output}")


def _files(images: Sequence[Path]) -> Iterator[Path]:
    for path in images:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise BundleError(
                    "no image in this folder",
                    where=str(path),
                    fix=f"give files that end in {', '.join(IMAGE_SUFFIXES)}",
                )
            yield from found
        elif path.exists():
            yield path
        else:
            raise BundleError("no such image", where=str(path), fix="correct the path")
