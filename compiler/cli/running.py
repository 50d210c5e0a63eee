"""Commands that run bundles: run, verify."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.options import CustomCode, Prefix, Quiet

commands = typer.Typer()


@commands.command()
def run(
    model: Prefix,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for masks, overlays and arrays.")
    ],
    threads: Annotated[int | None, typer.Option(min=1, help="Threads per operator.")] = None,
    provider: Annotated[
        list[str] | None, typer.Option(help="ONNX Runtime execution provider, in order.")
    ] = None,
    allow_custom_code: CustomCode = False,
    quiet: Quiet = False,
) -> None:
    """Run a bundle on images; write class masks, overlays and npz arrays."""
    from compiler.cli.run import run_images

    run_images(
        model,
        images,
        output,
        threads=threads,
        providers=provider,
        allow_custom_code=allow_custom_code,
        quiet=quiet,
    )


@commands.command()
def verify(
    prefix: Annotated[str, typer.Argument(help="Bundle: …/<name>/mod or its folder.")],
) -> None:
    """Check every file of a bundle against its hash, and that the bundle loads."""
    from compiler.runner.load import Runner

    with Runner(prefix) as runner:
        digest = runner.bundle.digest
    typer.echo(f"{prefix}: whole; mod.json sha256 {digest}")
