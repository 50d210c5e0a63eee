"""Commands that look into bundles: profile, diff, sensitivity, debug, report."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.options import CustomCode, OneJson, Prefix, Quiet, Threads

commands = typer.Typer()


@commands.command()
def profile(
    model: Prefix,
    original: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="Network the bundle was made from; else the unchanged one of its build file.",
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Image to feed; else seeded random values.")
    ] = None,
    threads: Threads = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs to take the mean of.")] = 10,
    limit: Annotated[int, typer.Option(min=0, help="Most nodes to list; 0 lists all.")] = 15,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Time every node of a bundle, and of the network it was made from.

    Example: modc profile -m deploy_weights/official_unet3p_int8/mod --threads 1
    """
    from compiler.cli.profile import profile as command

    command(
        model,
        original=original,
        image=image,
        threads=threads,
        runs=runs,
        limit=limit,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )


@commands.command()
def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="Bundle (…/<name>/mod or its folder) or MODEL.onnx.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise; it is compared with A.")],
    image: Annotated[
        Path | None,
        typer.Option(help="Image to feed, through the bundle's preprocessing; else random values."),
    ] = None,
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Compare graphs, builds and scales only.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=0, help="Most nodes, scales and layers to list; 0 lists all.")
    ] = 15,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 unless A and B are identical.")
    ] = False,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare two bundles, or a bundle and an ONNX file: graphs, scales, values, speed.

    Example: modc diff deploy_weights/net_int8/mod net.onnx --image street.png
    """
    from compiler.cli.diff import diff as command

    identical = command(
        a,
        b,
        image=image,
        run=not no_run,
        limit=limit,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )
    if exit_code and not identical:
        raise typer.Exit(1)


@commands.command()
def sensitivity(
    model: Prefix,
    limit: Annotated[int, typer.Option(min=0, help="Most layers to list; 0 lists all.")] = 15,
    as_json: OneJson = False,
) -> None:
    """Rank the layers of an int8 bundle by the error that each adds.

    Example: modc sensitivity -m deploy_weights/official_unet3p_int8/mod --limit 0
    """
    from compiler.cli.sensitivity import sensitivity as command

    command(model, limit=limit, as_json=as_json)


@commands.command()
def debug(
    model: Prefix,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="BUILD.yaml",
            help="Build file of the bundle; else the one it holds, with its unchanged network.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Most layers to look into; 0 looks into all.")
    ] = 5,
    images: Annotated[int, typer.Option(min=1, help="Most images to measure accuracy on.")] = 20,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell why an int8 bundle loses accuracy, price each way out, and print a patch that helps.

    Example: modc debug -m deploy_weights/official_unet3p_int8/mod --limit 3
    """
    from compiler.cli.debug import debug as command

    command(
        model,
        config=config,
        limit=limit,
        images=images,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )


@commands.command()
def report(
    bundles: Annotated[
        list[str], typer.Argument(metavar="BUNDLE…", help="…/<name>/mod or its folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page; default: report.html, if nothing else asked."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a Markdown table of the bundles.")
    ] = False,
    previous: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Bundles that these replace, by name, to set them off against in the table.",
        ),
    ] = None,
    model_explorer: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Write SQNR, time and arithmetic of each node as node data for Model Explorer.",
        ),
    ] = None,
    as_json: OneJson = False,
) -> None:
    """Write the page of a bundle again, or one page that compares several bundles.

    A page made again is that of the build without its pictures.

    Example: modc report deploy_weights/net_fp16/mod deploy_weights/net_int8/mod -o both.html
    """
    from compiler.cli.report import DEFAULT_PAGE, Wanted
    from compiler.cli.report import report as command

    if previous is not None and not markdown:
        raise typer.BadParameter("it is for the table of --markdown", param_hint="--previous")
    if out is None and not markdown and model_explorer is None:
        out = DEFAULT_PAGE
    command(bundles, Wanted(out, markdown, previous, model_explorer), as_json=as_json)
