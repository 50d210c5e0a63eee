"""The text that `vamp` prints; parsers read its labels, so they stay as they are.

What the device measures and a CPU has not got is what comes nearest on this machine:

    ai utilize (%)          share of the time in which the instances ran the network
    die memory used (MB)    resident memory of this process, in units of 10^6 bytes
    card power, temperature not printed
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from compiler.bench.statistics import percentiles
from compiler.compat.vamp.measure import Times
from compiler.compat.vamp.notation import Shape

_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options said, as the text repeats it."""

    instances: int
    devices: tuple[int, ...]
    batch: int
    processes: int
    percentiles: tuple[float, ...]


def model_text(
    prefix: str,
    inputs: Sequence[tuple[Shape, str]],
    outputs: Sequence[tuple[Shape, str]],
    largest_batch: int,
) -> str:
    """The lines about the network.

    Args:
        prefix: Of the bundle.
        inputs: Shape and numpy's name of the type, of what `vamp` takes.
        outputs: Likewise, of what it writes.
        largest_batch: Samples that the network takes at once.
    """
    return "\n".join(
        [
            f"Dump model info: {prefix}",
            f"[max_batch_size_]: {largest_batch}",
            f"[input_count]: {len(inputs)}",
            *(f"input[{i}]: {_tensor(*tensor)}" for i, tensor in enumerate(inputs)),
            f"[output_count]: {len(outputs)}",
            *(f"output[{i}]: {_tensor(*tensor)}" for i, tensor in enumerate(outputs)),
            "",
        ]
    )


def run_text(settings: Settings, times: Times, began: datetime, ended: datetime) -> str:
    """The lines in front of the result."""
    in_each = -(-times.samples // settings.processes)
    return "\n".join(
        [
            f"*** number of instances in each device:{settings.instances} ****",
            f"Inference start time: [{began:%Y-%m-%d %H:%M:%S}]",
            f"Inference end time: [{ended:%Y-%m-%d %H:%M:%S}]",
            f"number of samples in each process: {in_each}",
            f"number of process:{settings.processes}",
            "",
        ]
    )


def result_text(settings: Settings, times: Times, memory: int | None) -> str:
    """The result: an element of a YAML list.

    Args:
        settings: Repeated in it.
        times: Of the run.
        memory: Resident bytes of the process; None where the system does not tell.
    """
    in_model = sum(times.model) / (times.seconds * settings.instances)
    lines = [
        f"- number of instances in each device: {settings.instances}",
        f"  devices: [{', '.join(map(str, settings.devices))}]",
        f"  batch size: {settings.batch}",
        f"  samples: {times.samples}",
        f"  forwad time (s): {times.seconds:.5f}",
        f"  throughput (qps): {times.throughput:.3f}",
        f"  ai utilize (%): {100 * in_model:.4f}",
    ]
    if memory is not None:
        lines.append(f"  die memory used (MB): {memory / 1e6:.3f}")
    for title, seconds in (("e2e", times.requests), ("model", times.model)):
        lines += [f"  {title} latency (us):", *_latencies(seconds, settings.percentiles)]
    return "\n".join(lines)


def _latencies(seconds: Sequence[float], percents: Sequence[float]) -> list[str]:
    figures = {"avg": float(np.mean(seconds)), "min": min(seconds), "max": max(seconds)}
    names = [f"p{percent:g}" for percent in percents]
    figures |= dict(zip(names, percentiles(seconds, percents), strict=True))
    return [f"    {name} latency: {_MICROSECONDS * value:.0f}" for name, value in figures.items()]


def _tensor(shape: Shape, dtype: str) -> str:
    kind = np.dtype(dtype)
    return f"[{','.join(map(str, shape))}], dtype:{kind.kind}{kind.itemsize}"
