"""The few constants of a machine that the cost model needs."""

import json
from dataclasses import asdict, dataclass, fields
from math import inf
from pathlib import Path
from typing import Final

from compiler.errors import MissingRequirementError


@dataclass(frozen=True, slots=True)
class Machine:
    """What one thread of a machine does, all in nanoseconds per unit.

    Args:
        source: Where the constants come from: "built-in", or the CPU that `modc tune` measured.
        conv_float: Per multiply-accumulate of a dense float32 convolution.
        conv_int8: The same on integers.
        matmul_float: Per multiply-accumulate of a float32 MatMul with a constant operand.
        matmul_int8: The same on integers.
        matmul_int8_left: The same on integers where the constant is the left operand.
        col2im: Per element that a ConvTranspose writes, for adding up what overlaps.
        gather_byte: Per byte that an int8 convolution gathers into a matrix, where its channels
            are not those that the kernel computes in place.
        gather_tap: Per tap and pixel of the same.
        depthwise_float: Per multiply-accumulate of a depthwise float32 convolution.
        depthwise_int8: The same on integers.
        byte: Per byte read or written by an operator that only passes over its tensors.
        row_int8: Per output pixel of an integer convolution: a row of its matrix product.
        multiply_int8: Per element that an integer Mul writes.
        shuffle_int8: Per element of an int8 tensor whose last axis moves.
        transpose_int8: Per element of an int8 tensor that changes its layout.
        resize_float: Per element that a float32 Resize writes in the layout of convolutions.
        resize_plain: The same in the plain layout, also between integers.
        resize_cubic: Per element that a cubic Resize writes.
        resize_int8: As resize_float, between integers, in the layout of convolutions.
        quantize: Per element that is converted between float32 and int8.
        node: Per node, whatever it does.
    """

    source: str
    conv_float: float
    conv_int8: float
    matmul_float: float
    matmul_int8: float
    matmul_int8_left: float
    col2im: float
    gather_byte: float
    gather_tap: float
    depthwise_float: float
    depthwise_int8: float
    byte: float
    row_int8: float
    multiply_int8: float
    shuffle_int8: float
    transpose_int8: float
    resize_float: float
    resize_plain: float
    resize_cubic: float
    resize_int8: float
    quantize: float
    node: float


BUILT_IN: Final = Machine(
    source="built-in",
    conv_float=1 / 135,
    conv_int8=1 / 500,
    matmul_float=1 / 130,
    matmul_int8=1 / 350,
    matmul_int8_left=1 / 90,
    col2im=1.1,
    gather_byte=0.13,
    gather_tap=2.5,
    depthwise_float=1 / 65,
    depthwise_int8=1 / 20,
    byte=1 / 35,
    row_int8=5.0,
    multiply_int8=1.0,
    shuffle_int8=1.0,
    transpose_int8=0.17,
    resize_float=0.25,
    resize_plain=1.0,
    resize_cubic=45.0,
    resize_int8=0.3,
    quantize=0.15,
    node=2000,
)
"""Rounded figures of a 2024 x86 server core with AVX-512 VNNI (`modc tune` prints such a list)."""


def read_machine(path: Path) -> Machine:
    """The constants that `modc tune` stored.

    Raises:
        MissingRequirementError: There is no such file, or it is not one of them.
    """
    fix = "run: modc tune"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingRequirementError(
            f"the constants of this machine cannot be read: {error}", where=str(path), fix=fix
        ) from error
    names = {field.name for field in fields(Machine)}
    if not isinstance(facts, dict) or set(facts) != names:
        raise MissingRequirementError(
            "the file has other constants than this version of modc uses", where=str(path), fix=fix
        )
    for name in sorted(names - {"source"}):
        if not (isinstance(facts[name], int | float) and 0 <= facts[name] < inf):
            raise MissingRequirementError(
                f"{name} is {facts[name]!r}, expected a number of nanoseconds",
                where=str(path),
                fix=fix,
            )
    return Machine(**{**facts, "source": str(facts["source"])})


def write_machine(machine: Machine, path: Path) -> None:
    """Store constants for `read_machine`; the folder is made if absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(machine), indent=1) + "\n", encoding="utf-8")
