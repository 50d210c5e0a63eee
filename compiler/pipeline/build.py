"""What a build is, as a value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import AccuracyError
from compiler.passes.result import PassResult
from compiler.pipeline.search import SearchResult
from compiler.runner.html_table import html_table
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
        unrest: How many times as long a network's slowest turn took as its fastest; 1 on a machine
            that has nothing else to do.
    """

    fp32: float
    compiled: float
    threads: int
    unrest: float = 1.0


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
        page: Of the bundle, for a browser; None where it was not written.
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
    page: Path | None = None

    def _repr_html_(self) -> str:
        return html_table(f"{self.name} ({self.dtype})", self._facts())

    def accuracy_error(self) -> AccuracyError:
        """The error that the missed gates amount to."""
        written = "the bundle was written (--keep)" if self.digest else "no bundle was written"
        return AccuracyError(
            f"{'; '.join(self.broken_gates)}; {written}",
            where=self.name,
            fix="build with --keep and ask modc debug what helps, choose another calibrate_mode, "
            "set quantize.accuracy, or loosen the gates under verify",
        )

    def _facts(self) -> Iterator[tuple[str, str]]:
        size, latency, found = self.size, self.latency, self.verification
        yield "size", f"{size.fp32 / 2**20:.2f} MiB to {size.compiled / 2**20:.2f} MiB"
        yield (
            f"latency ({latency.threads} threads)",
            f"{latency.fp32:.2f} ms to {latency.compiled:.2f} ms",
        )
        if task := found.task:
            figures = f"{task.fp32:.2f} to {task.compiled:.2f}"
            yield f"{task.metric} ({task.images} images)", figures
        yield "SQNR", f"{found.sqnr_db:.2f} dB ({found.samples} {found.origin})"
        yield "cosine similarity", f"{found.cosine:.6f}"
        yield from (("missed gate", gate) for gate in self.broken_gates)
        yield from (("warning", warning) for warning in self.warnings)
        yield "bundle", str(self.prefix) if self.digest else "not written"
        if self.page:
            yield "page", str(self.page)
