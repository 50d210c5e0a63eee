"""Sizes of graph inputs that stay open within a range.

While passes edit a graph, an open size of an input is a name, and every size that follows from it
is unknown: a pass that needs numbers declines. Afterwards the name becomes an `OpenSize`, and the
other tensors get the sizes that they have at its largest: costs, headroom and plans count with
those. A file never holds them: `convert` writes such a graph with open sizes.
"""

from collections.abc import Sequence

import onnx_graphsurgeon as gs


class OpenSize(int):
    """The largest of the sizes that a dimension of a graph input may have.

    Args:
        largest: Inclusive; what it counts as.
        smallest: Inclusive.
        name: Of the dimension in the file.
    """

    smallest: int
    name: str

    def __new__(cls, largest: int, smallest: int = 1, name: str = "") -> "OpenSize":
        size = super().__new__(cls, largest)
        size.smallest, size.name = smallest, name
        return size

    def named(self, name: str) -> "OpenSize":
        """The same range under a name."""
        return OpenSize(int(self), self.smallest, name)


def bounds_of(shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Smallest and largest of each size."""
    return tuple((smallest_of(size), int(size)) for size in shape)


def smallest_of(size: int) -> int:
    """The smallest size that is allowed; the size itself where it is not open."""
    return size.smallest if isinstance(size, OpenSize) else size


def is_open(shape: Sequence[object]) -> bool:
    """Whether a shape has sizes in a range."""
    return any(isinstance(size, OpenSize) for size in shape)


def has_open_sizes(graph: gs.Graph) -> bool:
    """Whether an input of a graph has sizes in a range."""
    return any(is_open(tensor.shape or ()) for tensor in graph.inputs)
