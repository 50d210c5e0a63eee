"""`vamp`: the options and spellings of the published instructions, on a bundle."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn, TypeVar

import typer

from compiler import __version__
from compiler.errors import BuildFileError, ModcError

T = TypeVar("T")

app = typer.Typer(name="vamp", add_completion=False, pretty_exceptions_enable=False)

_WITHOUT_EFFECT: Final = "Accepted; without effect on a CPU."
_NAMES_MODEL: Final = "Names the bundle as --model_prefix does: the file without its suffix."
_REPEATED: Final = "Repeated in the result; {}"

_EPILOG: Final = """
On a CPU, 'ai utilize (%)' is the share of time in which the instances ran the network, and
'die memory used (MB)' the resident memory of this process; power and temperature are not printed.
'e2e latency' is from hand-over to result of a request of --batch_size samples, waiting in queues
included; 'model latency' is the run of the engine alone, per sample. Loading and warm-up do not
count. Words without a dash, such as the 'p 1' of '-i 1 p 1', are ignored with a warning. Quote
brackets in shells that expand them: -s '[3,224,224]'.
"""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vamp of modc {__version__}")
        raise typer.Exit


def _config(context: typer.Context, path: Path | None) -> Path | None:
    """Options of a YAML file become defaults: the command line goes first."""
    if path is not None:
        from compiler.cli.vamp_config import read_options

        options = {
            spelling.lstrip("-"): str(option.name)
            for option in context.command.params
            for spelling in option.opts
        }
        context.default_map = read_options(path, options)
    return path


@app.command(
    context_settings={"allow_extra_args": True, "help_option_names": ["-?", "--help"]},
    epilog=" ".join(_EPILOG.split()),
)
def vamp(
    context: typer.Context,
    model_prefix: Annotated[
        str | None, typer.Option("--model_prefix", "-m", help="Bundle: …/<name>/mod or its folder.")
    ] = None,
    model_json: Annotated[str | None, typer.Option("--model_json", help=_NAMES_MODEL)] = None,
    model_param: Annotated[str | None, typer.Option("--model_param", help=_NAMES_MODEL)] = None,
    model_lib: Annotated[str | None, typer.Option("--model_lib", help=_NAMES_MODEL)] = None,
    vdsp_params: Annotated[
        Path | None,
        typer.Option("--vdsp_params", help="JSON of the preprocessing; else the bundle's own."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch_size", "-b", min=1, help="Samples of a request; run one by one.")
    ] = 1,
    force_batch_size: Annotated[
        str, typer.Option("--force_batch_size", help="Accepted; no batch size is refused.")
    ] = "0",
    instance: Annotated[
        str,
        typer.Option(
            "--instance", "-i", help="Samples at the same time; a range (1:4) is one run each."
        ),
    ] = "1",
    processes: Annotated[
        int,
        typer.Option(
            "--processes", "-p", min=1, help=_REPEATED.format("one process runs all instances.")
        ),
    ] = 1,
    device_id: Annotated[
        str,
        typer.Option(
            "--device_id", "-d", help=_REPEATED.format("0, 0:3 or [0,2]; all are this CPU.")
        ),
    ] = "0",
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape", "-s", help="Of the generated image, [3,224,224], or one per tensor."
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option("--dtype", help="Accepted; images are uint8, tensors as the network's."),
    ] = "uint8",
    iterations: Annotated[
        int, typer.Option("--iterations", min=1, help="Samples to run without a datalist.")
    ] = 1024,
    forward_time: Annotated[
        float,
        typer.Option(
            "--forward_time",
            "-t",
            min=0,
            help="Without a datalist: run for so many seconds instead.",
        ),
    ] = 0.0,
    forward_mode: Annotated[
        int,
        typer.Option(
            "--forward_mode", min=0, max=1, help="0: samples queue; 1: one per instance at a time."
        ),
    ] = 0,
    percentiles: Annotated[
        str, typer.Option("--percentiles", help="Of the latencies to print.")
    ] = "[50,90,95,99]",
    datalist: Annotated[
        Path | None,
        typer.Option("--datalist", help="Text file with one npz per line, as modc npz writes."),
    ] = None,
    path_output: Annotated[
        Path | None,
        typer.Option(
            "--path_output", help="Folder for output_000000.npz …, one per line of --datalist."
        ),
    ] = None,
    file_report: Annotated[
        Path | None, typer.Option("--file_report", "-f", help="Write the results as YAML too.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", callback=_config, is_eager=True, help="Options from YAML."),
    ] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", min=0, help="1: also print how each process did.")
    ] = 0,
    hwconfig: Annotated[str | None, typer.Option("--hwconfig", help=_WITHOUT_EFFECT)] = None,
    graph: Annotated[str | None, typer.Option("--graph", "-g", help=_WITHOUT_EFFECT)] = None,
    backend: Annotated[str, typer.Option("--backend", help=_WITHOUT_EFFECT)] = "vsx",
    cache_input: Annotated[str, typer.Option("--cache_input", help=_WITHOUT_EFFECT)] = "0",
    cache_input_host: Annotated[
        str, typer.Option("--cache_input_host", help=_WITHOUT_EFFECT)
    ] = "0",
    cache_output: Annotated[str, typer.Option("--cache_output", help=_WITHOUT_EFFECT)] = "0",
    producer_mode: Annotated[str, typer.Option("--producer_mode", help=_WITHOUT_EFFECT)] = "0",
    none_vaml: Annotated[str, typer.Option("--none_vaml", help=_WITHOUT_EFFECT)] = "0",
    freqlist: Annotated[str | None, typer.Option("--freqlist", help=_WITHOUT_EFFECT)] = None,
    version: Annotated[
        bool,
        typer.Option("--version", "-v", callback=_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Measure how fast a bundle runs, or run it on a list of npz files."""
    del config, version, force_batch_size, dtype, hwconfig, graph, backend
    del cache_input, cache_input_host, cache_output, producer_mode, none_vaml, freqlist
    from compiler.compat.vamp import notation
    from compiler.compat.vamp.command import Options, run_vamp

    if context.args:
        typer.echo(f"vamp: ignored: {' '.join(context.args)}", err=True)
    run_vamp(
        Options(
            prefix=_prefix(model_prefix, model_json, model_param, model_lib),
            vdsp_params=vdsp_params,
            instances=_parsed("--instance", instance, notation.parse_counts),
            batch=batch_size,
            processes=processes,
            devices=_parsed("--device_id", device_id, notation.parse_indices),
            shapes=_parsed("--shape", shape, notation.parse_shapes) if shape else None,
            iterations=iterations,
            seconds=forward_time,
            synchronous=forward_mode == 1,
            percentiles=_parsed("--percentiles", percentiles, notation.parse_percentiles),
            datalist=datalist,
            output=path_output,
            report=file_report,
            verbose=verbose > 0,
        ),
        typer.echo,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `vamp`."""
    logging.basicConfig(level=logging.WARNING, format="vamp: %(message)s")
    signal.signal(signal.SIGTERM, _leave)  # as Ctrl-C: no half of the results stays
    try:
        app(list(sys.argv[1:] if arguments is None else arguments), prog_name="vamp")
    except ModcError as error:
        typer.echo(f"vamp: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except OSError as error:  # of standard output: all others have become a ModcError
        typer.echo(f"vamp: the result cannot be printed: {error.strerror}", err=True)
        raise SystemExit(1) from None


def _leave(number: int, frame: object) -> NoReturn:
    del frame
    raise SystemExit(128 + number)


def _parsed(option: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise BuildFileError(str(error), where=option, fix="vamp -? lists the options") from error


def _prefix(prefix: str | None, *files: str | None) -> Path:
    """The bundle, named by its prefix or by its files."""
    named = {str(Path(file).with_suffix("")): None for file in files if file}
    if prefix is not None:
        return Path(prefix)
    if len(named) == 1:
        return Path(next(iter(named)))
    raise BuildFileError(
        f"the files belong to different bundles: {', '.join(named)}"
        if named
        else "no bundle given",
        where="vamp",
        fix="give -m deploy_weights/<name>/mod",
    )
