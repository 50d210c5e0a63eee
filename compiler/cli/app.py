"""The commands. Each is arguments, one call, print; errors become exit codes in `main`."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler import __version__
from compiler.cli.failures import print_error
from compiler.errors import BuildFileError, ModcError

app = typer.Typer(
    name="modc",
    help="Compile a network that a build file describes into one verified bundle.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the build file."),
]
Lenient = Annotated[bool, typer.Option("--lenient", help="Unknown keys warn instead of failing.")]
Strict = Annotated[bool, typer.Option("--strict", help="Warnings about the build file fail.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per build file and line.")
]
CustomCode = Annotated[
    bool, typer.Option("--allow-custom-code", help="Let CustomFunc run its Python file.")
]
Prefix = Annotated[str, typer.Option("--model", "-m", help="Bundle: …/<name>/mod or its folder.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command("compile")
def compile_(
    build_files: Annotated[list[Path], typer.Argument(help="Build files (YAML).")],
    overrides: Overrides = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Build this precision instead; the name's suffix follows."),
    ] = None,
    calibration_table: Annotated[
        Path | None,
        typer.Option(help="Take the ranges from this table; the network is not observed."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write the bundle even if it misses its accuracy gates.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write what quantize.accuracy found even if it is slower."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell what each pass did or declined, and why.")
    ] = False,
    list_layers: Annotated[
        bool, typer.Option("--list-layers", help="Print the layers with their indices and stop.")
    ] = False,
    allow_custom_code: CustomCode = False,
    lenient: Lenient = False,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compile what each build file describes into a bundle, and verify it."""
    from compiler.cli import compile as command

    options = command.Options(
        overrides=tuple(overrides or ()),
        dtype=dtype,
        calibration_table=calibration_table,
        keep=keep,
        force=force,
        explain=explain,
        allow_custom_code=allow_custom_code,
        lenient=lenient,
        strict=strict,
        as_json=as_json,
        quiet=quiet,
    )
    if list_layers:
        command.list_layers(build_files, options)
    else:
        raise typer.Exit(command.compile_all(build_files, options))


app.command("build", hidden=True, help="Older name of compile.")(compile_)


@app.command()
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


@app.command()
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
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads per operator.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs to take the mean of.")] = 10,
    limit: Annotated[int, typer.Option(min=0, help="Most nodes to list; 0 lists all.")] = 15,
    allow_custom_code: CustomCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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


@app.command()
def sensitivity(
    model: Prefix,
    limit: Annotated[int, typer.Option(min=0, help="Most layers to list; 0 lists all.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rank the layers of an int8 bundle by the error that each adds.

    Example: modc sensitivity -m deploy_weights/official_unet3p_int8/mod --limit 0
    """
    from compiler.cli.sensitivity import sensitivity as command

    command(model, limit=limit, as_json=as_json)


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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


@app.command()
def tune(
    path: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write; else the one that builds read."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure this machine for the cost model (backend.optimize.machine: tuned).

    Example: modc tune && modc compile net.yaml --set backend.optimize.machine=tuned
    """
    from compiler.cli.tune import tune as command

    command(path, as_json=as_json, quiet=quiet)


cache_commands = typer.Typer()
app.add_typer(cache_commands, name="cache")


@cache_commands.callback(invoke_without_command=True)
def cache(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what earlier builds left for later ones to reuse.

    The folder is $MODC_CACHE, else modc/stages in the user's cache; MODC_CACHE=off turns it off.
    """
    if context.invoked_subcommand is None:
        from compiler.cli.cache import show

        show(as_json=as_json)


@cache_commands.command("prune")
def cache_prune(
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Leave so much, such as 1GiB; what was used last stays."),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(min=0, metavar="DAYS", help="Remove what was not used for so long."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
) -> None:
    """Remove entries; without options, those beyond the limit that builds keep to anyway.

    Example: modc cache prune --max-size 1GiB --older-than 30
    """
    from compiler.cli.cache import prune

    prune(max_size, older_than, everything=everything)


@app.command()
def verify(
    prefix: Annotated[str, typer.Argument(help="Bundle: …/<name>/mod or its folder.")],
) -> None:
    """Check every file of a bundle against its hash, and that the bundle loads."""
    from compiler.runner.load import Runner

    with Runner(prefix) as runner:
        digest = runner.bundle.digest
    typer.echo(f"{prefix}: whole; mod.json sha256 {digest}")


@app.command()
def passes() -> None:
    """List the graph passes in the order in which they run."""
    from compiler.cost.machine import BUILT_IN
    from compiler.cost.model import CostModel
    from compiler.passes import (
        FLOAT16_PASSES,
        FLOAT_PASSES,
        describe,
        float32_passes,
        name_of,
        rewrite_passes,
    )
    from compiler.passes.append_extra_ops import append_extra_ops
    from compiler.passes.fold_normalization import fold_normalization
    from compiler.passes.prepend_normalization import prepend_normalization
    from compiler.passes.simplify_tail import simplify_tail

    cost = CostModel(BUILT_IN, "fp32")  # lists them all, whatever would pay
    groups = (
        ("first, where the build file asks for it", (prepend_normalization, append_extra_ops)),
        ("all precisions, until nothing changes", FLOAT_PASSES),
        ("with these, where the first ones changed the graph", (fold_normalization, simplify_tail)),
        ("fp32 and int8, with the former again until nothing changes", rewrite_passes(cost)),
        ("fp32, afterwards", float32_passes(cost)),
        ("fp16, afterwards", FLOAT16_PASSES),
    )
    for title, group in groups:
        typer.echo(f"{title}:")
        for one in group:
            typer.echo(f"  {name_of(one):<24} {describe(one)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of build files, for editors."""
    from compiler.config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def migrate(
    build_file: Annotated[Path, typer.Argument(help="Build file in any dialect.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; else standard output.")
    ] = None,
) -> None:
    """Write an older build file in the current spelling."""
    from compiler.config.dialects import migrate as migrated

    text = migrated(build_file)
    if output is None:
        typer.echo(text, nl=False)
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BuildFileError(
                f"cannot be written: {error.strerror}",
                where=str(output),
                fix="give a file in a folder that can be written",
            ) from error


@app.command(hidden=True, context_settings={"ignore_unknown_options": True})
def quant(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Refuse what vamc quant did: weight quantization of language models."""
    raise BuildFileError(
        "quantizing the weights of language models is not what modc does",
        where="modc quant",
        fix="for int8 networks set backend.dtype: int8 and use modc compile",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `modc` and `vamc`; the only place that turns an error into an exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _show_log()
    try:
        app(arguments, prog_name=_called_as())
    except ModcError as error:
        print_error(error, as_json="--json" in arguments)
        raise SystemExit(error.exit_code) from None


def compile_main() -> None:
    """Entry point of `compile`: exactly `modc compile`."""
    main(["compile", *sys.argv[1:]])


def _called_as() -> str:
    """Name that usage and shell completion show: the script that was started."""
    name = Path(sys.argv[0]).name
    return name if name in {"modc", "vamc"} else "modc"


def _show_log() -> None:
    """Of the log, commands show that a build waits, or goes on without the cache; no more."""
    logging.getLogger("compiler").addHandler(logging.NullHandler())
    for name in ("compiler.bundle", "compiler.pipeline.cache"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setLevel(logging.WARNING)
            logger.addHandler(handler)
