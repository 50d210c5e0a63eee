"""Ranges of the observed tensors: from the calibration samples, or from a table."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from calibration.histogram import Histogram
from calibration.ranges import TensorRange, range_of
from calibration.table import read_table, write_table
from compiler.config.backend import Quantize
from compiler.errors import CalibrationError
from compiler.quantize.plan import Int8Options, Int8Plan
from compiler.quantize.rescaling import Exponents


def int8_options(quantize: Quantize) -> Int8Options:
    """The part of the build file that decides which layers run on integers."""
    return Int8Options(
        per_channel=quantize.quantize_per_channel,
        weight_scale=quantize.weight_scale,
        reduce_range=quantize.reduce_range,
        skip_conv_layers=quantize.skip_conv_layers,
        skip_matmul_layers=quantize.skip_matmul_layers,
        exclude_layers=quantize.exclude_layers,
        uint16_layers=quantize.uint16_layers,
        quantize_operators=quantize.quantize_operators,
        ops_usingfp=quantize.ops_usingfp,
    )


def choose_ranges(
    plan: Int8Plan,
    histograms: Mapping[str, Histogram],
    mode: str,
    methods: Mapping[str, str],
    *,
    fraction: float,
) -> tuple[TensorRange, ...]:
    """A range for every observed tensor.

    Args:
        plan: Names the tensors.
        histograms: Of each of them.
        mode: Threshold rule.
        methods: Tensor -> another rule.
        fraction: Share of the values that `percentile` keeps.

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
        range_of(name, histograms[name], methods.get(name, mode), fraction=fraction)
        for name in plan.observed
    )


def range_warnings(histograms: Mapping[str, Histogram]) -> tuple[str, ...]:
    """Tensors with values that no range can cover."""
    return tuple(
        f"tensor '{name}': {histogram.bad} values are NaN or infinite and were left out"
        for name, histogram in histograms.items()
        if histogram.bad
    )


@dataclass(frozen=True, slots=True)
class GivenRanges:
    """A calibration table that somebody may have edited.

    Args:
        path: The file.
        ranges: By tensor name.
        factors: Digest of the factors of the channels they hold for; "" if none was equalized.
    """

    path: Path
    ranges: Mapping[str, TensorRange]
    factors: str

    def covers(self, plan: Int8Plan) -> bool:
        """Whether there is a line for each of a plan's tensors."""
        return self.ranges.keys() >= set(plan.observed)

    def of(self, plan: Int8Plan) -> tuple[TensorRange, ...]:
        """The ranges of a plan's tensors.

        Raises:
            CalibrationError: The table lacks a tensor.
        """
        missing = [name for name in plan.observed if name not in self.ranges]
        if missing:
            some = ", ".join(missing[:5])
            raise CalibrationError(
                f"has no line for {len(missing)} of {len(plan.observed)} tensors: {some}",
                where=str(self.path),
                fix=_FRESH,
            )
        return tuple(self.ranges[name] for name in plan.observed)


def read_ranges(path: Path) -> GivenRanges:
    """The ranges that a calibration table gives, without running the network.

    Raises:
        CalibrationError: The table cannot be read.
    """
    try:
        text = path.read_text("utf-8")
        ranges = {range_.name: range_ for range_ in read_table(text, str(path))}
    except OSError as error:
        raise CalibrationError(
            f"cannot be read: {error.strerror}", where=str(path), fix=_FRESH
        ) from error
    except ValueError as error:
        raise CalibrationError(str(error), where=str(path), fix=_FRESH) from error
    found = _FACTORS.match(text)
    return GivenRanges(path, ranges, found[1] if found else "")


def ranges_text(ranges: Iterable[TensorRange], exponents: Mapping[str, Exponents]) -> str:
    """A calibration table, which says how channels were equalized.

    Args:
        ranges: In graph order.
        exponents: Of the factors of channels, by tensor.
    """
    factors = digest_of(exponents)
    head = f"# For equalized channels of {len(exponents)} tensors, factors {factors}\n"
    return (head if factors else "") + write_table(ranges)


def digest_of(exponents: Mapping[str, Exponents]) -> str:
    """What tells factors of channels from others; "" where there are none.

    Args:
        exponents: Of the factors, by tensor.
    """
    if not exponents:
        return ""
    facts = {name: values.tolist() for name, values in exponents.items()}
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


_FACTORS: Final = re.compile(r"\ufeff?# For equalized channels of \d+ tensors, factors ([0-9a-f]+)")
_FRESH: Final = "compile without --calibration-table to get a fresh mod.calib.txt, and edit that"
