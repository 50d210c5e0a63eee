"""Even out the channels of activations, so that none is lost in the rounding of the largest.

A tensor has one scale for all channels: one that only reaches a hundredth of the largest is left
with two or three levels. Factors per channel, powers of two, move from the weights before a tensor
to those behind it (`rescaling`): before it they cost nothing, as weights have a scale per output
channel; behind it they make a weight row less even, unless the layer is depthwise and has a single
weight per row and tap. So every choice of factors is judged by the noise that it predicts there,
and taken only where that falls clearly.

The float network stays the same, bit for bit but for values beyond the normal range of float32,
with one exception. Behind Clip(0, u) it is the same for values below u: channels that reach u in
the samples keep their scale, and the others stay a factor of 2 below it, yet beyond what the
samples show it is an approximation.

Sources: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.1; Xiao et al. 2023, "SmoothQuant", section 4, for the exponent between
activations and weights. Both scale by real numbers, and without a prediction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from compiler.quantize.op_rules import clip_bounds
from compiler.quantize.predicted_noise import Activation, Floats, Reader, is_rounded, mean_log_ratio
from compiler.quantize.rescaling import Exponents, Site, exact_exponents, find_sites, rescale

LIMIT: Final = 7
"""Factors are in [2**-7, 2**7]: with 8 bits, a channel further down is next to nothing."""

WORTH: Final = 0.8
"""A site is rescaled if its predicted noise falls to this share, or below."""

TOLERATED: Final = 1.05
"""And if the noise of none of its readers grows beyond this share."""

HEADROOM: Final = 2.0
"""How far below the bound of a Clip a rescaled channel stays in the samples."""

_STRENGTHS: Final = (0.25, 0.5, 0.75, 1.0)
_ROUNDS: Final = 10  # two or three are the rule
# Neither a rounding error of a logarithm nor one of a sum may decide.
_TIE: Final = 2.0**-20
_SMALLEST_WEIGHT: Final = 2.0**-14


@dataclass(frozen=True, slots=True)
class Rescaled:
    """A site whose channels got factors.

    Args:
        where: Name of the tensor.
        smallest: Smallest factor of a channel.
        largest: Largest.
        noise: Predicted noise power at its readers, as a share of what it was.
    """

    where: str
    smallest: float
    largest: float
    noise: float


@dataclass(frozen=True, slots=True)
class Declined:
    """A site that looked alike and stays as it is.

    Args:
        where: Name of the tensor.
        reason: What stands in the way.
    """

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Equalization:
    """What `equalize` did.

    Args:
        rescaled: In graph order.
        skipped: In graph order.
        exponents: Of the factors of each channel, for `repeat_equalization`.
    """

    rescaled: tuple[Rescaled, ...]
    skipped: tuple[Declined, ...]
    exponents: Mapping[str, Exponents]

    @property
    def changed(self) -> int:
        """Number of sites rescaled."""
        return len(self.rescaled)


def equalization_tensors(graph: gs.Graph) -> tuple[str, ...]:
    """Tensors of which `equalize` needs the extremes of each channel (axis 1) over the samples.

    Args:
        graph: As `equalize` takes it.

    Returns:
        Names in graph order; none is constant.
    """
    sites = [site for site in find_sites(graph) if not site.obstacle]
    wanted = {tensor.name for site in sites for tensor in _wanted(graph, site)}
    return tuple(t.name for node in graph.nodes for t in node.outputs if t.name in wanted)


def equalize(graph: gs.Graph, extremes: Mapping[str, NDArray[np.float32]]) -> Equalization:
    """Rescale channels where that lowers the predicted noise of int8, in place.

    Args:
        graph: Float graph, topologically sorted, BatchNormalization folded, static shapes.
        extremes: Smallest and largest value per channel over the samples, shape (2, channels), of
            every tensor of `equalization_tensors`.

    Returns:
        What changed, and what did not and why. The same numbers give the same graph.

    Raises:
        ValueError: The extremes of a tensor are missing, or of another shape.
    """
    tensors = graph.tensors()
    for name in equalization_tensors(graph):
        if name not in extremes:
            raise ValueError(f"there are no channel extremes of '{name}'")
        given, expected = extremes[name].shape, (2, tensors[name].shape[1])
        if given != expected:
            raise ValueError(f"channel extremes of '{name}' are {given}, expected {expected}")
    return _Equalizer(graph, extremes).run()


def repeat_equalization(graph: gs.Graph, exponents: Mapping[str, Exponents]) -> None:
    """Rescale the channels of a graph as `equalize` rescaled those of an equal one, in place.

    Args:
        graph: As `equalize` took it.
        exponents: What it found.
    """
    for site in find_sites(graph):
        if site.name in exponents:
            rescale(graph, site, exponents[site.name])


def _wanted(graph: gs.Graph, site: Site) -> list[gs.Tensor]:
    """Tensors of a site whose ranges matter."""
    named = [node.inputs[0] for node in site.takers] + [node.outputs[0] for node in site.clips]
    ids = {id(tensor) for tensor in named}
    return [t for t in site.tensors if id(t) in ids or is_rounded(graph, t)]


class _Equalizer:
    def __init__(self, graph: gs.Graph, extremes: Mapping[str, NDArray[np.float32]]) -> None:
        self.graph = graph
        self.extremes = extremes
        self.sites = find_sites(graph)
        self.activations: dict[str, Activation] = {}  # by name of the tensor
        self.readers: dict[str, Reader] = {}  # by name of the node
        self.chosen: dict[str, Exponents] = {}  # by name of the site

    def run(self) -> Equalization:
        obstacles = {site.name: site.obstacle or self._prepare(site) for site in self.sites}
        free = [site for site in self.sites if not obstacles[site.name]]
        limits = {site.name: self._limits(site) for site in free}
        at_first = {name: reader.noise() for name, reader in self.readers.items()}
        for _ in range(_ROUNDS):
            # A Concat ties sites together: what one gains may depend on another.
            if not any([self._improve(site, *limits[site.name]) for site in free]):
                break
        exponents = {name: chosen for name, chosen in self.chosen.items() if chosen.any()}
        rescaled, skipped = [], []
        for site in self.sites:
            if site.name in exponents:
                rescaled.append(self._report(site, at_first))
                rescale(self.graph, site, exponents[site.name])
            else:
                reason = obstacles[site.name] or "factors would not lower the predicted noise much"
                skipped.append(Declined(site.name, reason))
        return Equalization(tuple(rescaled), tuple(skipped), exponents)

    def _prepare(self, site: Site) -> str:
        """Make what is needed to judge a site; returns what stands in the way."""
        tensors = _wanted(self.graph, site)
        for tensor in tensors:
            if not np.isfinite(self.extremes[tensor.name]).all():
                return f"'{tensor.name}' is not finite in the samples"
        for tensor in tensors:
            if tensor.name not in self.activations:
                self.activations[tensor.name] = Activation(self.extremes[tensor.name])
        for node in site.takers:
            read = node.inputs[0]
            if node.name not in self.readers:
                self.readers[node.name] = Reader(node, self.activations[read.name])
            way = [tensor for tensor in site.way_to(read) if is_rounded(self.graph, tensor)]
            rounded = [self.activations[tensor.name] for tensor in way]
            self.readers[node.name].comes_by(site.origins[id(read)] >= 0, rounded)
        return ""

    def _limits(self, site: Site) -> tuple[Exponents, Exponents]:
        """Exponents per channel for which the float network stays the same."""
        lowest, highest = exact_exponents(site, LIMIT)
        for node in site.clips:
            tensor = node.outputs[0]
            places = site.origins[id(tensor)]
            _, upper = clip_bounds(node) or (0.0, 0.0)
            reached = np.maximum(self.activations[tensor.name].magnitudes(), upper * _TIE)
            room = np.frexp(upper / HEADROOM / reached)[1].astype(np.int64) - 1  # floor of log2
            own = places >= 0
            np.minimum.at(highest, places[own], np.maximum(room[own], 0))
            np.maximum.at(lowest, places[own], np.where(room[own] >= 0, -LIMIT, 0))
        return lowest, highest

    def _improve(self, site: Site, lowest: Exponents, highest: Exponents) -> bool:
        """Take the factors that predict the least noise, if that is clearly less than now."""
        now = self.chosen.setdefault(site.name, np.zeros(site.channels, np.int64))
        before = [reader.noise() for reader in self._readers(site)]
        best, least = now, 0.0
        for wanted in list(self._candidates(site)):
            exponents = np.clip(wanted, lowest, highest)
            self._set(site, exponents)
            gains = self._gains(site, before)
            mean = sum(gains) / len(gains)
            if max(gains) <= np.log2(TOLERATED) and mean < least - _TIE:
                best, least = exponents, mean
        worth = bool(least <= np.log2(WORTH))
        self._set(site, best if worth else now)
        return worth

    def _set(self, site: Site, exponents: Exponents) -> None:
        change = exponents - self.chosen[site.name]
        for tensor in site.tensors:
            if tensor.name in self.activations:
                self.activations[tensor.name].exponents += site.along(tensor, change)
        self.chosen[site.name] = exponents

    def _candidates(self, site: Site) -> Iterator[Exponents]:
        """Exponents, changed by (lift * room[c])**strength * w[c]**balance, from weak to strong.

        Here `room` is how often a channel fits into the range of the site's channels, w the weights
        behind it, as `Reader.shares`, and `lift` how often all of them fit into a Concat that they
        enter. balance = 1 - strength makes weights and activations share the unevenness
        (SmoothQuant); 0 leaves it all to the weights.
        """
        room, weights, lift = np.full(site.channels, np.inf), np.zeros(site.channels), np.inf
        for tensor in site.tensors:
            if tensor.name in self.activations:
                activation, places = self.activations[tensor.name], site.origins[id(tensor)]
                own = places >= 0
                np.minimum.at(room, places[own], activation.room(own))
                if not own.all():
                    lift = min(lift, activation.lift(own))
        for reader in self._readers(site):
            places = site.origins[id(reader.tensor)]
            own = places >= 0
            np.maximum.at(weights, places[own], reader.shares()[own])
        alive = np.isfinite(room)
        reach = np.log2(np.where(alive, room, 1.0))
        weight = np.log2(np.maximum(weights / (weights.max() or 1.0), _SMALLEST_WEIGHT))
        for common in dict.fromkeys((0.0, float(np.log2(lift)) if np.isfinite(lift) else 0.0)):
            for strength in _STRENGTHS:
                for balance in dict.fromkeys((0.0, 1 - strength)):
                    # Halves go down, also those that a rounding error lifts.
                    wanted = strength * (common + reach) + balance * weight
                    change = np.where(alive, np.ceil(wanted - 0.5 - _TIE), 0).astype(np.int64)
                    yield self.chosen[site.name] + change

    def _gains(self, site: Site, before: Sequence[Floats]) -> list[float]:
        now = [reader.noise() for reader in self._readers(site)]
        return [mean_log_ratio(new, old) for new, old in zip(now, before, strict=True)]

    def _readers(self, site: Site) -> list[Reader]:
        return [self.readers[node.name] for node in site.takers]

    def _report(self, site: Site, at_first: Mapping[str, Floats]) -> Rescaled:
        factors = np.exp2(self.chosen[site.name])
        gains = self._gains(site, [at_first[node.name] for node in site.takers])
        noise = float(np.exp2(sum(gains) / len(gains)))
        return Rescaled(site.name, float(factors.min()), float(factors.max()), noise)
