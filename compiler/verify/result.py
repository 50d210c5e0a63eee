"""What verification found, as values."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compiler.verify.metrics import Agreement


@dataclass(frozen=True, slots=True)
class TensorFigures:
    """Agreement of one tensor of the compiled network with the float network.

    Args:
        name: The tensor's name in the original network.
        cosine: Cosine similarity over all samples.
        sqnr_db: Signal to quantization noise ratio in dB over all samples.
        max_error: Largest absolute difference, in the tensor's own units; 1 for unequal classes.
    """

    name: str
    cosine: float
    sqnr_db: float
    max_error: float

    @classmethod
    def of(cls, name: str, agreement: Agreement) -> "TensorFigures":
        """Round to what is meaningful, so that the figures read well and stay stable."""
        return cls(
            name,
            round(agreement.cosine, 8),
            round(agreement.sqnr_db, 3),
            float(f"{agreement.max_error:.5g}"),
        )


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """The task's own metric, before and after.

    Args:
        metric: Name of the metric.
        images: Number of images that counted.
        fp32: Points of the original network.
        compiled: Points of the compiled network.
        max_drop: Largest drop in points that the build file accepts; None for no gate.
    """

    metric: str
    images: int
    fp32: float
    compiled: float
    max_drop: float | None = None

    @property
    def drop(self) -> float:
        """Points lost; negative where the compiled network is better."""
        return self.fp32 - self.compiled


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Compiled against original network.

    Args:
        samples: Number of samples behind `outputs`.
        origin: Where the samples come from: "held-out samples", "calibration samples" (seen while
            calibrating, because no others were left) or "random inputs" (no data set).
        outputs: One entry per output of the network.
        layers: One entry per quantized tensor, in graph order; empty unless int8.
        task: The task's metric, if the build file names images and masks.
    """

    samples: int
    origin: str
    outputs: tuple[TensorFigures, ...]
    layers: tuple[TensorFigures, ...] = ()
    task: TaskFigures | None = None

    @property
    def cosine(self) -> float:
        """Smallest cosine similarity of any output."""
        return min(output.cosine for output in self.outputs)

    @property
    def sqnr_db(self) -> float:
        """Smallest SQNR of any output, in dB."""
        return min(output.sqnr_db for output in self.outputs)

    def to_json(self) -> dict[str, Any]:  # Any: a JSON object
        """Plain mapping for manifest and report."""
        return asdict(self)


def broken_gates(
    result: VerifyResult, *, min_cosine: float | None, min_sqnr_db: float | None
) -> Sequence[str]:
    """Say which of the build file's accuracy gates the result misses.

    Returns:
        One sentence per missed gate; empty when all hold.
    """
    broken = []
    if min_cosine is not None and result.cosine < min_cosine:
        broken.append(f"cosine similarity {result.cosine:.6f} is below {min_cosine:g}")
    if min_sqnr_db is not None and result.sqnr_db < min_sqnr_db:
        broken.append(f"SQNR {result.sqnr_db:.2f} dB is below {min_sqnr_db:g} dB")
    task = result.task
    if task and task.max_drop is not None and not task.drop <= task.max_drop:
        broken.append(
            f"{task.metric} fell by {task.drop:.2f} points "
            f"({task.fp32:.2f} to {task.compiled:.2f}); {task.max_drop:g} are allowed"
        )
    return broken
