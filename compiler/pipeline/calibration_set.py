"""What an inspection of calibration data finds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from calibration.channels import Doubt
from calibration.growth import Extreme, Leader, Settling
from calibration.survey import Copy, Entry, tally
from compiler.pipeline.lint_preprocessing import Lint

Kind: TypeAlias = Literal[
    "unreadable",
    "duplicate",
    "similar",
    "constant",
    "exposure",
    "channel_order",
    "scale",
    "preprocessing",
    "too_few",
    "outlier",
]

MANY: Final = 0.25
"""Share of the tensors whose extremes one sample sets, from which on it is told of."""
FAR: Final = 1.2
"""How many times farther than any other sample it then reaches."""
ENOUGH_SAMPLES: Final = 8
"""With fewer, somebody has to set most of the extremes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the data that somebody should look at.

    Args:
        kind: What it is about.
        fault: Whether it harms the build; else it is for information.
        text: A sentence.
        fix: What to do about it; "" where there is nothing to do.
        files: Names of the files concerned.
    """

    kind: Kind
    fault: bool
    text: str
    fix: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that a build cannot use, why, and what to do about it."""

    name: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """Mean and standard deviation of each channel over the set."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the network says about the data.

    Args:
        method: Threshold rule of the build file.
        tensors: How many were observed.
        settling: How scales settle, for each threshold rule.
        extremes: For each tensor, the sample in which it reaches farthest.
        leaders: Samples by the number of extremes that they set.
    """

    method: str
    tensors: int
    settling: tuple[Settling, ...]
    extremes: tuple[Extreme, ...]
    leaders: tuple[Leader, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """Calibration data, looked at.

    Args:
        name: Of the build, or of the folder.
        folder: Where the files are.
        found: Files that a build could choose from.
        looked_at: Files that were inspected: those that the build observes, or all.
        entries: Those that can be used, sorted by name.
        unusable: The others.
        copies: Files that say what an earlier one says.
        pixels: Decoded images, R, G, B in 0 to 255; None for arrays.
        received: The same as the network receives them; None without build file.
        channels: Order in which they are received, such as BGR; "" where nobody knows.
        watched: What the network says; None where it was not run.
        lint: What it says about the preprocessing; None likewise, and for arrays.
        findings: Faults first.
        notes: What was assumed or left out.
    """

    name: str
    folder: Path
    found: int
    looked_at: int
    entries: tuple[Entry, ...]
    unusable: tuple[Unusable, ...]
    copies: tuple[Copy, ...]
    pixels: ChannelFigures | None
    received: ChannelFigures | None
    channels: str
    watched: Watched | None
    lint: Lint | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def formats(self) -> dict[str, int]:
        """Usable files by format, as are the next two by mode and by size."""
        return tally(entry.format for entry in self.entries)

    @property
    def modes(self) -> dict[str, int]:
        return tally(entry.mode for entry in self.entries)

    @property
    def sizes(self) -> dict[str, int]:
        return tally(entry.size for entry in self.entries)

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Findings that harm the build."""
        return tuple(one for one in self.findings if one.fault)


def file_findings(
    entries: Sequence[Entry], unusable: Sequence[Unusable], copies: Sequence[Copy]
) -> Iterator[Finding]:
    """What is wrong with the files."""
    for one in unusable:
        yield Finding("unreadable", True, f"{one.name}: {one.why}", one.fix, (one.name,))
    for copy in copies:
        files = (copy.name, copy.of)
        if copy.likeness == "similar":
            text = f"{copy.name} looks like {copy.of} ({copy.distance} of 255 bits differ)"
            yield Finding("similar", True, text, "remove one of them", files)
        else:
            text = f"{copy.name} holds the {copy.likeness.split()[1]} of {copy.of}"
            fix = "remove it: it only gives them more weight"
            yield Finding("duplicate", True, text, fix, files)
    for entry in entries:
        if entry.tone == "constant":
            what = "holds one value alone" if entry.bits is None else "is of one colour"
            text = f"{entry.name} {what}"
            yield Finding("constant", True, text, "remove it", (entry.name,))
        elif entry.tone is not None:
            text = f"{entry.name} is {entry.tone}"
            fix = "keep it only if such images occur in use"
            yield Finding("exposure", False, text, fix, (entry.name,))


def doubt_findings(doubts: Sequence[Doubt], *, confirmed: bool) -> Iterator[Finding]:
    """What the numbers say against the preprocessing.

    Args:
        doubts: From the statistics.
        confirmed: Whether the network itself prefers the preprocessing as it is.
    """
    for doubt in doubts:
        text = doubt.text
        unusual = confirmed and doubt.kind == "scale"
        if unusual:
            text += "; the network itself is at ease with it"
        yield Finding(doubt.kind, not unusual, text, "" if unusual else doubt.fix)


def lint_findings(lint: Lint | None) -> Iterator[Finding]:
    """What the network would rather be given."""
    for one in lint.findings if lint else ():
        yield Finding("preprocessing", True, one.what, one.advice)


def network_findings(watched: Watched, samples: int) -> Iterator[Finding]:
    """What the network says about the choice of samples; remarks, no faults."""
    settling = next(one for one in watched.settling if one.method == watched.method)
    if settling.settled is None and watched.tensors:
        before = settling.counts[-2] if len(settling.counts) > 1 else 0
        text = (
            f"the scales have not settled: from {before} to {samples} samples the {watched.method} "
            f"scales of a tenth of the tensors moved by more than {settling.gaps[-2]:.0%}"
            if before
            else "one sample does not tell whether the scales have settled"
        )
        yield Finding("too_few", False, text, "give more samples (dataset.sampler.get_data_num)")
    for leader in watched.leaders:
        share = leader.tensors / watched.tensors
        if samples >= ENOUGH_SAMPLES and share > MANY and leader.excess > FAR:
            text = (
                f"{leader.sample} sets the extremes of {leader.tensors} of {watched.tensors} "
                f"tensors, {leader.excess:.2f} times those of any other sample"
            )
            fix = "look at it: with calibrate_mode max it alone decides these scales"
            yield Finding("outlier", False, text, fix, (leader.sample,))
