"""Input shapes from the build file, checked against the network's own."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import onnx

from compiler.errors import GraphError
from compiler.graph.open_sizes import OpenSize

Size = int | str | None  # of a dimension: known, named, or neither


def fix_shapes(
    inputs: Sequence[onnx.ValueInfoProto], shapes: Mapping[str, Sequence[int]], where: str
) -> None:
    """Write `shapes` into `inputs`, in place; an `OpenSize` keeps or gets a name.

    An input that is static already may be absent from `shapes`.

    Raises:
        GraphError: A name that no input has, another number of dimensions, a size that contradicts
            a fixed one, or an input that stays open.
    """
    for name in shapes:
        if name not in {info.name for info in inputs}:
            raise _unknown(name, inputs, where)
    for info in inputs:
        own = _sizes(info)
        wanted = shapes.get(info.name, own or [])
        if reason := _mismatch(own, wanted):
            raise GraphError(
                f"frontend.shape gives {_text(info.name, wanted)}, but the network declares "
                f"{_text(info.name, own)}: {reason}",
                where=where,
                fix=f"set frontend.shape.{info.name} to fit, or export the network with this shape",
            )
        if info.name not in shapes and (own is None or not _all_known(own)):
            raise GraphError(
                f"the shape of input {_text(info.name, own)} is open, and frontend.shape does not "
                "fix it",
                where=where,
                fix=f"add {info.name} with all its dimensions to frontend.shape",
            )
        info.type.tensor_type.shape.Clear()  # which also declares it where it was not
        for index, size in enumerate(wanted):
            dimension = info.type.tensor_type.shape.dim.add()
            if isinstance(size, OpenSize):
                named = own[index] if own is not None else None
                dimension.dim_param = str(named or f"{info.name}_{index}")
            else:
                dimension.dim_value = size


def _unknown(name: str, inputs: Sequence[onnx.ValueInfoProto], where: str) -> GraphError:
    names = [info.name for info in inputs]
    close = get_close_matches(name, names, n=1, cutoff=0.0)
    real = ", ".join(_text(info.name, _sizes(info)) for info in inputs)
    return GraphError(
        f"frontend.shape names '{name}', which is no input of the network; its inputs are {real}",
        where=where,
        fix=f"did you mean '{close[0]}'?",
    )


def _sizes(info: onnx.ValueInfoProto) -> list[Size] | None:
    """The declared shape; None if not even the number of dimensions is declared."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    return [
        size.dim_value if size.dim_value > 0 else size.dim_param or None
        for size in info.type.tensor_type.shape.dim
    ]


def _all_known(sizes: Sequence[Size]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _mismatch(own: Sequence[Size] | None, wanted: Sequence[Size]) -> str | None:
    own = [None] * len(wanted) if own is None else own
    if len(own) != len(wanted):
        return f"{len(wanted)} dimensions against {len(own)}"
    for index, (mine, given) in enumerate(zip(own, wanted, strict=True)):
        if isinstance(given, int) and given < 1:
            return f"dimension {index} is {given}, must be 1 or more"
        if isinstance(given, OpenSize) and isinstance(mine, int):
            return f"dimension {index} has a range against the fixed size {mine}"
        if isinstance(mine, int) and mine != given:
            return f"dimension {index} is {given} against {mine}"
    return None


def _text(name: str, sizes: Sequence[Size] | None) -> str:
    if sizes is None:
        return f"{name} [...]"
    return f"{name} [{', '.join(map(_size_text, sizes))}]"


def _size_text(size: Size) -> str:
    if isinstance(size, OpenSize):
        return f"{size.smallest}..{int(size)}"
    return "?" if size is None else str(size)
