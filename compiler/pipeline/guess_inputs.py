"""What an ONNX file says of its inputs, and guesses where it leaves sizes open."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from compiler.errors import GraphError
from compiler.frontend.load_onnx import load_onnx
from compiler.graph.query import constant_value, readers

Layout: TypeAlias = Literal["NCHW", "NHWC"]

SIZES: Final = (256, 224, 320, 512, 640, 128, 64, 32)
"""Heights and widths to try where the network names none."""

LENGTH: Final = 128
"""Of a sequence whose length is open."""

_CHANNELS: Final = (1, 3)
_MOVERS: Final = frozenset({"Identity", "Cast", "Transpose"})
_SCALERS: Final = frozenset({"Sub", "Add", "Mul", "Div", "BatchNormalization"})
_RAW: Final = 2.0
"""A mean above it, or a divisor, is meant for values from 0 to 255."""


@dataclass(frozen=True, slots=True)
class Guess:
    """Something that the build file has to say and nobody has said.

    Args:
        key: In the build file.
        value: As written there.
        why: What speaks for it.
    """

    key: str
    value: object
    why: str


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What a build file needs to know of a network.

    Args:
        graph: With these shapes.
        shapes: Of its inputs, in its order.
        layout: Of its only input, if that can be an image.
        pixels: Whether that reads 8-bit pixels.
        scaled: "0 … 255" or "0 … 1" where the network itself begins with a normalization of such
            values; empty where it does not.
        guesses: Open sizes that were filled in.
    """

    graph: gs.Graph
    shapes: Mapping[str, tuple[int, ...]]
    layout: Layout | None
    pixels: bool
    scaled: str
    guesses: tuple[Guess, ...]

    @property
    def image(self) -> tuple[int, int, int] | None:
        """(Channels, height, width) of images that process_ops can prepare."""
        [shape, *others] = self.shapes.values()
        if others or self.layout != "NCHW" or shape[0] != 1:
            return None
        return shape[1], shape[2], shape[3]


def read_network(path: Path) -> NetworkFacts:
    """Read an ONNX file and fill in the sizes that it leaves open.

    Raises:
        GraphError: It cannot be read, or accepts none of the sizes that were tried.
    """
    declared = _declared(path)
    refusal: GraphError | None = None
    for side in _sides(declared):
        shapes = {name: _fill(dims, side) for name, dims in declared.items()}
        try:
            graph = load_onnx(path, shapes).graph
        except GraphError as error:
            refusal = refusal or error
            continue
        return _facts(graph, shapes, tuple(_guess_shapes(declared, shapes)))
    raise refusal or GraphError(
        "the network has no inputs", where=str(path), fix="export it again, with its inputs"
    )


Dims: TypeAlias = "Sequence[int | None] | None"


def _declared(path: Path) -> dict[str, Dims]:
    """Declared sizes of the real inputs; None for what is open."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's and the system's errors; load_onnx says what is wrong
        load_onnx(path, {})
        raise
    weights = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, Dims] = {}
    for info in model.graph.input:
        if info.name in weights:
            continue
        kind = info.type.tensor_type
        known = kind.HasField("shape")
        sizes = [size.dim_value if size.dim_value > 0 else None for size in kind.shape.dim]
        found[info.name] = sizes if known else None
    return found


def _sides(declared: Mapping[str, Dims]) -> Iterator[int]:
    """Heights and widths to try; only one where nothing is open."""
    open_ = any(dims is None or None in dims[1:] for dims in declared.values())
    yield from SIZES if open_ else SIZES[:1]


def _fill(dims: Dims, side: int) -> tuple[int, ...]:
    if dims is None:
        return 1, 3, side, side
    return tuple(_size(dims, axis, side) for axis in range(len(dims)))


def _guess_shapes(
    declared: Mapping[str, Dims], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Guess]:
    for name, dims in declared.items():
        shape = list(shapes[name])
        open_ = [] if dims is None else [axis for axis, size in enumerate(dims) if size is None]
        if dims is None:
            why = "the network does not even say how many dimensions it has"
        elif open_ == [0]:
            why = "the batch is open: 1 is what the runner feeds"
        elif open_:
            axes = ", ".join(map(str, open_))
            why = f"axes {axes} are open; the network accepts {shape}, your data decide"
        else:
            continue
        yield Guess(f"frontend.shape.{name}", shape, why)


def _size(dims: Sequence[int | None], axis: int, side: int) -> int:
    size = dims[axis]
    if size is not None:
        return size
    if axis == 0:
        return 1
    if len(dims) != 4:
        return LENGTH
    if axis == 1 and dims[3] not in _CHANNELS:
        return 3
    return 3 if axis == 3 and dims[1] is not None and dims[1] not in _CHANNELS else side


def _facts(
    graph: gs.Graph, shapes: Mapping[str, tuple[int, ...]], guesses: tuple[Guess, ...]
) -> NetworkFacts:
    image = graph.inputs[0]
    dtype = np.dtype(image.dtype)
    layout: Layout | None = None
    if len(shapes) == 1 and len(image.shape) == 4 and (dtype.kind == "f" or dtype == np.uint8):
        if image.shape[1] in _CHANNELS:
            layout = "NCHW"
        elif image.shape[3] in _CHANNELS:
            layout = "NHWC"
    scaled = _scaled(image) if layout else ""
    return NetworkFacts(graph, shapes, layout, dtype == np.uint8, scaled, guesses)


def _scaled(tensor: gs.Tensor) -> str:
    """Values that the first nodes normalize; empty where they do not."""
    while len(readers(tensor)) == 1:
        [node] = readers(tensor)
        if node.op in _SCALERS:
            return _scale_of(node, tensor)
        if node.op not in _MOVERS:
            return ""
        tensor = node.outputs[0]
    return ""


def _scale_of(node: gs.Node, tensor: gs.Tensor) -> str:
    if node.op == "BatchNormalization":
        mean, variance = (constant_value(one) for one in node.inputs[3:5])
        if mean is None or variance is None:
            return ""
        largest = max(np.abs(mean).max(), np.sqrt(variance).max())
    else:
        others = [constant_value(one) for one in node.inputs if one is not tensor]
        if any(one is None for one in others):
            return ""
        largest = max((np.abs(one).max() for one in others if one is not None), default=None)
        if node.op == "Mul" and largest:  # by 1/255, or by 1/std
            largest = 1 / largest if largest < 0.1 else 0.0
    if largest is None:
        return ""
    return "0 … 255" if largest > _RAW else "0 … 1"
