"""What a build is, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import AccuracyError
from compiler.passes.result import PassResult
from compiler.pipeline.search import SearchResult
from compiler.verify.result import VerifyResult


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of the original network (model and external data) and of the compiled one."""

    fp32: int
    compiled: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Median milliseconds per sample, measured in turns in one process.

    Args:
        fp32: Original network.
        compiled: Compiled network.
        threads: Threads per operator.
    """

    fp32: float
    compiled: float
    threads: int


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build.

    Args:
        name: The bundle's name.
        dtype: "fp32", "fp16" or "int8".
        prefix: `…/<name>/mod`, which every tool takes.
        digest: sha256 of mod.json; None where the bundle was not written.
        passes: What each pass did or declined.
        decisions: For int8, one line per node that stayed float, and why.
        integer_layers: For int8, (layers that run on integers, layers that were to).
        verification: Compiled against original network.
        broken_gates: One sentence per accuracy gate that was missed.
        search: Of layers that stay float, where the build file has an accuracy budget.
        size: Before and after.
        latency: Before and after.
        seconds: Duration of each stage.
        notes: What was assumed or converted on the way, one sentence each.
        warnings: What the user must know, one sentence each.
    """

    name: str
    dtype: str
    prefix: Path
    digest: str | None
    passes: tuple[PassResult, ...]
    decisions: tuple[str, ...]
    integer_layers: tuple[int, int] | None
    verification: VerifyResult
    broken_gates: tuple[str, ...]
    search: SearchResult | None
    size: Size
    latency: Latency
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def accuracy_error(self) -> AccuracyError:
        """The error that the missed gates amount to."""
        written = "the bundle was written (--keep)" if self.digest else "no bundle was written"
        return AccuracyError(
            f"{'; '.join(self.broken_gates)}; {written}",
            where=self.name,
            fix="build with --keep and ask modc debug what helps, choose another calibrate_mode, "
            "set quantize.accuracy, or loosen the gates under verify",
        )
