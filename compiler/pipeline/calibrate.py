"""Ranges of the observed tensors: from the calibration samples, or from a table."""

from collections.abc import Callable, Mapping
from pathlib import Path

from calibration.collect import collect
from calibration.histogram import Histogram
from calibration.ranges import TensorRange, range_of
from calibration.table import read_table
from compiler.config.backend import Quantize
from compiler.errors import CalibrationError
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.sessions import Run
from compiler.quantize.plan import Int8Options, Int8Plan
from compiler.verify.compare import Tensors


def int8_options(quantize: Quantize) -> Int8Options:
    """The part of the build file that decides which layers run on integers."""
    return Int8Options(
        per_channel=quantize.quantize_per_channel,
        weight_scale=quantize.weight_scale,
        skip_conv_layers=quantize.skip_conv_layers,
        skip_matmul_layers=quantize.skip_matmul_layers,
        exclude_layers=quantize.exclude_layers,
        quantize_operators=quantize.quantize_operators,
        ops_usingfp=quantize.ops_usingfp,
    )


def observe(
    run: Run, plan: Int8Plan, samples: Samples, on_sample: Callable[[int], None]
) -> dict[str, Histogram]:
    """Histograms of the tensors that need a range, in one pass over the calibration samples.

    Args:
        run: The float network, returning at least `plan.observed` (inputs are taken as given).
        plan: Names the tensors.
        samples: Calibration data.
        on_sample: Called with the number of samples done.

    Raises:
        CalibrationError: A sample cannot be used.
    """
    wanted = set(plan.observed)

    def watched(feeds: Feeds) -> Tensors:
        outputs = run(feeds)
        return {name: value for name, value in {**feeds, **outputs}.items() if name in wanted}

    return collect(watched, samples.feeds(samples.calibration), on_sample=on_sample)


def choose_ranges(
    plan: Int8Plan, histograms: Mapping[str, Histogram], quantize: Quantize
) -> tuple[TensorRange, ...]:
    """A range for every observed tensor, by the build file's calibrate_mode.

    Raises:
        CalibrationError: A tensor never had a finite value.
    """
    dead = [name for name in plan.observed if not histograms[name].total]
    if dead:
        raise CalibrationError(
            f"{len(dead)} tensor(s) have no finite value, first '{dead[0]}'",
            where="calibration",
            fix="check process_ops and the network: it overflows on the calibration samples",
        )
    return tuple(
        range_of(name, histograms[name], quantize.calibrate_mode, fraction=quantize.calibrate_range)
        for name in plan.observed
    )


def range_warnings(histograms: Mapping[str, Histogram]) -> tuple[str, ...]:
    """Tensors with values that no range can cover."""
    return tuple(
        f"tensor '{name}': {histogram.bad} values are NaN or infinite and were left out"
        for name, histogram in histograms.items()
        if histogram.bad
    )


def ranges_from_table(plan: Int8Plan, path: Path) -> tuple[TensorRange, ...]:
    """The ranges that a calibration table gives, without running the network.

    Raises:
        CalibrationError: The table cannot be read, or lacks a tensor.
    """
    fix = "compile without --calibration-table to get a fresh mod.calib.txt, and edit that"
    try:
        given = {range_.name: range_ for range_ in read_table(path.read_text("utf-8"), str(path))}
    except OSError as error:
        raise CalibrationError(
            f"cannot be read: {error.strerror}", where=str(path), fix=fix
        ) from error
    except ValueError as error:
        raise CalibrationError(str(error), where=str(path), fix=fix) from error
    missing = [name for name in plan.observed if name not in given]
    if missing:
        some = ", ".join(missing[:5])
        raise CalibrationError(
            f"has no line for {len(missing)} of {len(plan.observed)} tensors: {some}",
            where=str(path),
            fix=fix,
        )
    return tuple(given[name] for name in plan.observed)
