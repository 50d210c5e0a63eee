"""Commands about calibration data: calib inspect, calib dump."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.options import CustomCode, OneJson, Overrides, Quiet

commands = typer.Typer(name="calib", help="Look at calibration data.", no_args_is_help=True)


@commands.command("inspect")
def inspect(
    path: Annotated[
        Path,
        typer.Argument(metavar="BUILD.yaml|DIR", help="Build file, or a folder or list of images."),
    ],
    overrides: Overrides = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with pictures that needs no other file."),
    ] = None,
    no_network: Annotated[
        bool,
        typer.Option(
            "--no-network", help="Leave out what needs the network; its file may be absent."
        ),
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Most rows of each table; 0 lists all.")] = 15,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 if there are faults.")] = (
        False
    ),
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell what is in a calibration set, what is wrong with it, and whether it is large enough.

    Faults: unusable files, duplicates, near-duplicates, images of one colour, preprocessing that
    does not suit the images or the network. Exposure, outliers and too few samples are remarks.

    Exit code: 0, also with faults; 4 with faults and --strict, and where there is no data.

    Example: modc calib inspect build_configs/official_unet3p.yaml --html calibration.html
    """
    from compiler.cli.calib import inspect as command

    sound = command(
        path,
        overrides=tuple(overrides or ()),
        html=html,
        network=not no_network,
        limit=limit,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )
    if strict and not sound:
        raise typer.Exit(4)


@commands.command("dump")
def dump(
    path: Annotated[Path, typer.Argument(metavar="BUILD.yaml", help="Build file.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write, absent or empty.")
    ],
    overrides: Overrides = None,
    npz: Annotated[bool, typer.Option("--npz", help="Write the arrays themselves as well.")] = (
        False
    ),
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the very inputs that a build calibrates with, as one PNG per sample.

    Normalization is undone, so that a picture shows the exact pixels that reach it, in R, G, B;
    where that is impossible, each channel is stretched over the whole scale. index.json tells
    which, and in which order the network reads the channels.

    Example: modc calib dump build_configs/official_unet3p.yaml -o seen --npz
    """
    from compiler.cli.calib import dump as command

    command(
        path,
        out,
        overrides=tuple(overrides or ()),
        arrays=npz,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )
