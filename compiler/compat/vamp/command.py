"""What `vamp` does: for each number of instances, one run and one printed result."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import TypeAlias

from compiler.bench.memory import process_memory
from compiler.compat.delivery import deliver, delivered_shapes
from compiler.compat.vamp.datalist import Entry, read_datalist
from compiler.compat.vamp.measure import Network, Stopwatch, Times, run_in_order
from compiler.compat.vamp.notation import Shape
from compiler.compat.vamp.output import Write, output_folder
from compiler.compat.vamp.report import Settings, model_text, result_text, run_text
from compiler.compat.vamp.samples import Samples, located
from compiler.errors import BuildFileError, ModcError
from compiler.preprocess.vdsp import VdspParams, read_vdsp
from compiler.runner.cpu import cpus
from compiler.runner.engine import Tensor
from compiler.runner.inputs import Given
from compiler.runner.load import Runner
from compiler.runner.manifest import TensorSpec

Item: TypeAlias = Given | Entry


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for.

    Args:
        prefix: Of the bundle.
        vdsp_params: JSON of the preprocessing; None is the bundle's own.
        instances: Samples that run at the same time; one run for each number.
        batch: Samples of one request. The network takes them one by one, so results do not depend
            on it; it decides what one e2e latency spans.
        processes: Repeated in the text. One process runs all instances: its threads compute
            outside Python's lock, and results do not depend on how instances are spread.
        devices: Repeated in the text.
        shapes: Of generated inputs; None is the network's own. A datalist's inputs have their own.
        iterations: Samples of a run on generated inputs.
        seconds: Run on generated inputs for so long instead; 0 is off.
        synchronous: Each instance starts a sample when the one before it is done.
        percentiles: Of latencies to print.
        datalist: List of npz inputs; None generates inputs.
        output: Folder of results, for a datalist; None writes nothing.
        report: YAML file to write the results to.
        verbose: Also print how each process did.
    """

    prefix: Path
    vdsp_params: Path | None = None
    instances: tuple[int, ...] = (1,)
    batch: int = 1
    processes: int = 1
    devices: tuple[int, ...] = (0,)
    shapes: tuple[Shape, ...] | None = None
    iterations: int = 1024
    seconds: float = 0.0
    synchronous: bool = False
    percentiles: tuple[float, ...] = (50.0, 90.0, 95.0, 99.0)
    datalist: Path | None = None
    output: Path | None = None
    report: Path | None = None
    verbose: bool = False


def run_vamp(options: Options, echo: Callable[[str], None]) -> None:
    """Run and print; write results where a datalist and a folder are given.

    Args:
        options: What to do.
        echo: Prints a text and a newline.

    Raises:
        BuildFileError: Options that do not fit each other, the network or the output folder.
        CalibrationError: The datalist or an npz cannot be used; the output folder is left empty.
        BundleError: The bundle cannot be used.
    """
    vdsp = read_vdsp(options.vdsp_params) if options.vdsp_params else None
    entries = read_datalist(options.datalist) if options.datalist else ()
    if options.output is not None:
        _check_output(options.output, entries, options.report)
    results = [
        _run_instances(options, vdsp, entries, instances, echo) for instances in options.instances
    ]
    if options.report is not None:
        _write_report(options.report, results)


def _check_output(folder: Path, entries: Sequence[Entry], report: Path | None) -> None:
    """The folder is for results alone: those of an earlier run are deleted, readers take all."""
    if folder.resolve() in {path.resolve() for path in {entry.path.parent for entry in entries}}:
        raise BuildFileError(
            "it holds inputs of the datalist",
            where=str(folder),
            fix="give --path_output a folder of its own",
        )
    if entries and report is not None and report.resolve().parent == folder.resolve():
        raise BuildFileError(
            "readers of --path_output would take the report for a result",
            where=str(report),
            fix="write --file_report to another folder",
        )


def _run_instances(
    options: Options,
    vdsp: VdspParams | None,
    entries: Sequence[Entry],
    instances: int,
    echo: Callable[[str], None],
) -> str:
    takes_tensors = vdsp is not None and not vdsp.reads_images
    chosen = None if takes_tensors else options.vdsp_params
    with Runner(options.prefix, vdsp_params=chosen, instances=instances) as runner:
        has_chain = vdsp is not None or runner.manifest.preprocessing is not None
        samples = Samples(
            runner.inputs,
            are_images=len(runner.inputs) == 1 and has_chain and not takes_tensors,
            image_format=vdsp.iimage_format if vdsp else "RGB_PLANAR",
        )
        shapes = None if entries else options.shapes  # every npz has its own
        echo(_model_text(str(options.prefix), runner, samples.shapes(shapes), samples))
        settings = Settings(
            instances, options.devices, options.batch, options.processes, options.percentiles
        )
        network = _network(runner, samples, synchronous=options.synchronous)
        first = entries[0] if entries else samples.generated(shapes)
        folder = options.output if entries else None
        with output_folder(folder) if folder else nullcontext() as write:
            _warm_up(network, first)
            began = datetime.now()
            given = entries or _repeated(first, options)
            times = _run(network, runner, given, options.batch, write)
            ended = datetime.now()
        memory = process_memory(os.getpid())
    result = result_text(settings, times, memory.rss if memory else None)
    echo(run_text(settings, times, began, ended))
    if options.verbose:
        echo(f"process 0: {times.samples} samples in {times.seconds:.5f} s\n")
    echo(result)
    return result


def _network(runner: Runner, samples: Samples, *, synchronous: bool) -> Network[Item]:
    def prepare(item: Item) -> dict[str, Tensor]:
        if not isinstance(item, Entry):
            return runner.prepare(item)
        try:
            return runner.prepare(samples.from_arrays(item.arrays()))
        except ValueError as error:
            raise located(error, str(item)) from error
        except ModcError as error:  # it does not know the line
            raise type(error)(error.what, where=str(item), fix=error.fix) from error

    preparers = runner.instances if synchronous else cpus()
    return Network(
        prepare,
        runner.infer,
        preparers=preparers,
        instances=runner.instances,
        in_flight=runner.instances if synchronous else 2 * (preparers + runner.instances),
    )


def _warm_up(network: Network[Item], sample: Item) -> None:
    """Run as many samples as work at the same time: what happens only once is not measured."""
    for _ in run_in_order(network, repeat(sample, network.instances)):
        pass


def _repeated(sample: Item, options: Options) -> Iterator[Item]:
    if not options.seconds:
        yield from repeat(sample, options.iterations)
        return
    end = time.perf_counter() + options.seconds
    yield sample
    while time.perf_counter() < end:
        yield sample


def _run(
    network: Network[Item],
    runner: Runner,
    given: Iterable[Item],
    batch: int,
    write: Write | None,
) -> Times:
    stopwatch = Stopwatch(batch)
    for index, timed in enumerate(run_in_order(network, given)):
        stopwatch.add(timed)
        if write is not None:
            write(index, deliver(timed.outputs, runner.outputs))
    return stopwatch.times()


def _model_text(prefix: str, runner: Runner, shapes: Sequence[Shape], samples: Samples) -> str:
    dtypes = ["uint8"] if samples.are_images else [spec.dtype for spec in runner.inputs]
    outputs = delivered_shapes(runner.outputs)
    return model_text(
        prefix,
        list(zip(shapes, dtypes, strict=True)),
        [(shape, "float16") for shape in outputs],
        largest_batch=min(_largest_batch(spec) for spec in runner.inputs),
    )


def _largest_batch(spec: TensorSpec) -> int:
    return spec.ranges[0][1] if spec.shape else 1


def _write_report(path: Path, results: Sequence[str]) -> None:
    try:
        path.write_text("\n".join([*results, ""]), encoding="utf-8")
    except OSError as error:
        raise BuildFileError(
            f"the report cannot be written: {error.strerror}",
            where=str(path),
            fix="give --file_report a file in a folder that can be written",
        ) from error
