"""What was found out about an int8 bundle, as values."""

from dataclasses import dataclass

from compiler.pipeline.remedies import Changes, Remedy
from compiler.pipeline.workbench import Priced
from compiler.quantize.traps import Trap
from compiler.verify.sensitivity import LayerSensitivity


@dataclass(frozen=True, slots=True)
class Way:
    """A way out, and what it was measured at.

    Args:
        remedy: What is done.
        priced: Accuracy and time with it.
        gain: Points against the present network.
    """

    remedy: Remedy
    priced: Priced
    gain: float


@dataclass(frozen=True, slots=True)
class LayerDiagnosis:
    """One of the layers that cost most.

    Args:
        figures: As the build measured them.
        ways: Out of it; of the threshold rules only the best one.
    """

    figures: LayerSensitivity
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """Changes to a build file that were built and measured as a whole.

    Args:
        text: YAML, ready to paste.
        changes: The same without what lists hold already.
        way: What they were measured at.
    """

    text: str
    changes: Changes
    way: Way


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out about a bundle.

    Args:
        name: Of the bundle.
        metric: `miou`, `fg_iou`, `dice`, `cosine` or `sqnr`; see `pipeline.accuracy`.
        float_points: Accuracy of the float network.
        points: Of the present int8 network.
        sqnr_db: Of its worst output, in dB.
        layers: Those that cost most, the worst first.
        network: Ways out that concern the whole network.
        traps: Known ones that the network is in.
        patch: None if nothing helped.
        verdict: What came of the search for a patch, as a sentence.
        notes: What was assumed, one sentence each.
    """

    name: str
    metric: str
    float_points: float
    points: float
    sqnr_db: float
    layers: tuple[LayerDiagnosis, ...]
    network: tuple[Way, ...]
    traps: tuple[Trap, ...]
    patch: Patch | None
    verdict: str
    notes: tuple[str, ...]
