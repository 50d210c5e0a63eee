"""Commands about build files and builds: compile, check, init, tune, cache, schema, migrate, …."""

import json
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.options import (
    Annotations,
    AsJson,
    CustomCode,
    Lenient,
    OneJson,
    Overrides,
    Quiet,
    Strict,
)
from compiler.errors import BuildFileError

commands = typer.Typer()


@commands.command("compile")
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
    annotations: Annotations = None,
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
        annotations=annotations,
        as_json=as_json,
        quiet=quiet,
    )
    if list_layers:
        command.list_layers(build_files, options)
    else:
        raise typer.Exit(command.compile_all(build_files, options))


commands.command("build", hidden=True, help="Older name of compile.")(compile_)


@commands.command()
def check(
    build_files: Annotated[list[Path], typer.Argument(help="Build files (YAML).")],
    overrides: Overrides = None,
    dtype: Annotated[
        str | None, typer.Option(help="Check this precision instead of that of the file.")
    ] = None,
    images: Annotated[
        int, typer.Option(min=1, help="Most files of each folder to decode, spread evenly.")
    ] = 8,
    ops: Annotated[
        bool,
        typer.Option("--ops", "--explain", help="List every node: its precision, and why."),
    ] = False,
    lint: Annotated[
        bool,
        typer.Option(help="Run the network on a few images under other preprocessing."),
    ] = True,
    allow_custom_code: CustomCode = False,
    lenient: Lenient = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, with 2.")] = False,
    annotations: Annotations = None,
    as_json: AsJson = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print what fails only, and no table.")
    ] = False,
) -> None:
    """Tell what compile would complain about, in seconds, without compiling.

    Everything is looked at, whatever fails: build file, checkpoint, data, graph, engine. The exit
    code is the one that compile would end with, of several the highest; warnings alone give 0.

    Example: modc check build_configs/*.yaml
    """
    from compiler.cli.check import check_all

    raise typer.Exit(
        check_all(
            build_files,
            overrides=tuple(overrides or ()),
            dtype=dtype,
            lenient=lenient,
            strict=strict,
            allow_custom_code=allow_custom_code,
            images=images,
            lint=lint,
            ops=ops,
            annotations=annotations,
            as_json=as_json,
            quiet=quiet,
        )
    )


@commands.command()
def init(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Network.")],
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Calibration images, or .npz files; without it: an fp32 build."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write, - for standard output; else <model>.yaml in the current folder.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a commented build file that compiles; what it guesses is marked as a guess.

    Example: modc init net.onnx --images calib -o net.yaml && modc compile net.yaml
    """
    from compiler.cli.init import init as command

    command(model, images=images, output=output, force=force, as_json=as_json, quiet=quiet)


@commands.command()
def tune(
    path: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write; else the one that builds read."),
    ] = None,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure this machine for the cost model (backend.optimize.machine: tuned).

    Example: modc tune && modc compile net.yaml --set backend.optimize.machine=tuned
    """
    from compiler.cli.tune import tune as command

    command(path, as_json=as_json, quiet=quiet)


cache_commands = typer.Typer()
commands.add_typer(cache_commands, name="cache")


@cache_commands.callback(invoke_without_command=True)
def cache(
    context: typer.Context,
    as_json: OneJson = False,
) -> None:
    """List what builds and the runner left for later ones to reuse.

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
    everything: Annotated[
        bool, typer.Option("--all", help="Remove everything, also what the runner keeps.")
    ] = False,
) -> None:
    """Remove entries; without options, those beyond the limit that builds keep to anyway.

    Example: modc cache prune --max-size 1GiB --older-than 30
    """
    from compiler.cli.cache import prune

    prune(max_size, older_than, everything=everything)


@commands.command()
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
    from compiler.passes.append_nms import append_nms
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
        ("last, where the build file asks for boxes", (append_nms,)),
    )
    for title, group in groups:
        typer.echo(f"{title}:")
        for one in group:
            typer.echo(f"  {name_of(one):<24} {describe(one)}")


@commands.command()
def schema() -> None:
    """Print the JSON Schema of build files, for editors."""
    from compiler.config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@commands.command()
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


@commands.command(hidden=True, context_settings={"ignore_unknown_options": True})
def quant(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Refuse what vamc quant did: weight quantization of language models."""
    raise BuildFileError(
        "quantizing the weights of language models is not what modc does",
        where="modc quant",
        fix="for int8 networks set backend.dtype: int8 and use modc compile",
    )
