"""What a profile is, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node of the engine's own graph.

    Args:
        name: As the engine calls it: it fuses and renames nodes.
        op: Operator as run, such as "Conv (NCHWc)".
        provider: Execution provider.
        milliseconds: Mean of the runs.
        macs: Multiply-accumulates, channels rounded up to the kernel's blocks.
        bytes: Read and written, weights included.
    """

    name: str
    op: str
    provider: str
    milliseconds: float
    macs: int
    bytes: int

    @property
    def gmacs_per_second(self) -> float:
        return _giga_per_second(self.macs, self.milliseconds)

    @property
    def gbytes_per_second(self) -> float:
        return _giga_per_second(self.bytes, self.milliseconds)


@dataclass(frozen=True, slots=True)
class GraphProfile:
    """One network.

    Args:
        nodes: Longest first.
        run_milliseconds: Mean time of a run, all of it.
        macs: Multiply-accumulates of the network as written.
    """

    nodes: tuple[NodeTime, ...]
    run_milliseconds: float
    macs: int

    @property
    def node_milliseconds(self) -> float:
        """Time of all nodes; what a run takes besides is overhead."""
        return sum(node.milliseconds for node in self.nodes)

    @property
    def computed_macs(self) -> int:
        """Multiply-accumulates as the kernels compute them."""
        return sum(node.macs for node in self.nodes)

    @property
    def operators(self) -> Mapping[str, float]:
        """Milliseconds by operator as run, longest first."""
        times: dict[str, float] = {}
        for node in self.nodes:
            times[node.op] = times.get(node.op, 0.0) + node.milliseconds
        return dict(sorted(times.items(), key=lambda item: -item[1]))

    def share(self, milliseconds: float) -> float:
        """Part of the time of all nodes, 0 to 1."""
        return milliseconds / self.node_milliseconds if self.node_milliseconds else 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A bundle and the network it was made from, run in turns.

    Args:
        name: Of the bundle.
        dtype: Its precision.
        threads: Per operator.
        runs: How many each time is the mean of.
        compiled: The bundle.
        original: The network before any pass; None where it is not at hand.
        notes: What was assumed, one sentence each.
    """

    name: str
    dtype: str
    threads: int
    runs: int
    compiled: GraphProfile
    original: GraphProfile | None
    notes: tuple[str, ...]


def _giga_per_second(count: int, milliseconds: float) -> float:
    """0 for a time too short to be measured."""
    return count / milliseconds / 1e6 if milliseconds else 0.0
