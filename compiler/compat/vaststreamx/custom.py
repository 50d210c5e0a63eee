"""`CustomOperator`: programs of the device, some of which are known here by their names."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from math import prod
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np

from compiler.compat.vaststreamx.containers import Image, Tensor
from compiler.compat.vaststreamx.enums import TypeFlag
from compiler.compat.vaststreamx.instance_masks import InstanceMasks
from compiler.compat.vaststreamx.normalize_image import NormalizeImage
from compiler.compat.vaststreamx.operation import Operation
from compiler.compat.vaststreamx.refusal import refusal
from compiler.compat.vaststreamx.space_to_depth import SpaceToDepth
from compiler.errors import BundleError, MissingRequirementError

OutputInfo: TypeAlias = Sequence[tuple[Sequence[int], TypeFlag]]

_KNOWN: Final[Mapping[str, type[Operation]]] = MappingProxyType(
    {
        "yolov8_seg_op": InstanceMasks,
        "opf_normalize": NormalizeImage,
        "opf_space_to_depth_out_matrix": SpaceToDepth,
    }
)


class CustomOperator:
    """A program of the device; what it computes is done here by its name, without its file.

    Args:
        op_name: One of those that are known here.
        elf_file_path: The program; it is not read and need not exist.
        input_output_num: Not used: the name tells it.

    Raises:
        MissingRequirementError: Another name: what its program computes, the device alone knows.
    """

    def __init__(
        self,
        op_name: str,
        elf_file_path: str = "(no file)",
        input_output_num: Sequence[int] = (),
    ) -> None:
        del input_output_num
        if op_name not in _KNOWN:
            raise MissingRequirementError(
                f"custom operator '{op_name}' is a program of the device: {elf_file_path}; "
                f"known here are {', '.join(_KNOWN)}",
                where="vaststreamx.CustomOperator",
                fix="use the script of this model without custom operators, or do this step in "
                "Python",
            )
        self._name = op_name
        self._kind = _KNOWN[op_name]
        self._operation: Operation | None = None

    def set_config(self, config_bytes: bytes, config_size: int) -> None:
        """Set what `execute` uses.

        Args:
            config_bytes: The program's structure, little endian.
            config_size: Its length.

        Raises:
            BundleError: Another length than the program's, or impossible values.
        """
        if len(config_bytes) != config_size:
            raise self._refusal(
                "set_config",
                f"{len(config_bytes)} bytes with config_size {config_size} given",
                "give the structure's own size",
            )
        self._operation = self._read("set_config", config_bytes)

    def set_callback_info(self, in_shapes: object, out_shapes: object) -> None:
        """Accept what a device reserves memory by."""

    def execute(self, tensors: Sequence[Tensor | Image], output_info: OutputInfo) -> list[Tensor]:
        """Run with the configuration of `set_config`.

        Args:
            tensors: The program's inputs.
            output_info: Shape and type of every result; a shape may have axes of size 1 more or
                less than the result.

        Raises:
            BundleError: No configuration was set; or tensors or shapes that do not fit it.
        """
        if self._operation is None:
            raise self._refusal("execute", "no configuration is set", "call set_config first")
        return self._run("execute", self._operation, tensors, output_info)

    def run_sync(
        self, tensors: Sequence[Tensor | Image], config: bytes, output_info: OutputInfo
    ) -> list[Tensor]:
        """Run with a configuration of its own.

        Args:
            tensors: As of `execute`.
            config: As of `set_config`.
            output_info: As of `execute`.

        Raises:
            BundleError: As of `set_config` and `execute`.
        """
        return self._run("run_sync", self._read("run_sync", config), tensors, output_info)

    def _read(self, call: str, config: bytes) -> Operation:
        layout = self._kind.layout
        if len(config) != layout.size:
            raise self._refusal(
                call, f"{len(config)} bytes given", f"give the structure of {layout.size} bytes"
            )
        try:
            return self._kind(*layout.unpack(config))
        except ValueError as error:
            raise self._refusal(call, str(error), "correct the configuration") from error

    def _run(
        self,
        call: str,
        operation: Operation,
        tensors: Sequence[Tensor | Image],
        output_info: OutputInfo,
    ) -> list[Tensor]:
        self._check(call, operation, tensors, output_info)
        try:
            results = operation([tensor.numpy() for tensor in tensors])
        except ValueError as error:
            raise self._refusal(
                call, str(error), "give tensors as the configuration describes them"
            ) from error
        return [
            result.declared_as(shape, flag) if result else _zeros(shape, flag)
            for result, (shape, flag) in zip_longest(results, output_info)
        ]

    def _check(
        self,
        call: str,
        operation: Operation,
        tensors: Sequence[Tensor | Image],
        output_info: OutputInfo,
    ) -> None:
        """Refuse what is no tensor, other numbers of them or of results, and other sizes."""
        if not all(isinstance(tensor, Tensor | Image) for tensor in tensors):
            kinds = ", ".join(type(tensor).__name__ for tensor in tensors)
            raise self._refusal(call, f"tensors of {kinds} given", "give Tensors or Images")
        numbers = len(tensors), len(output_info)
        expected = operation.inputs, len(operation.shapes)
        if numbers != expected:
            raise self._refusal(
                call,
                f"{numbers[0]} tensors and output_info of {numbers[1]} results given",
                f"give {expected[0]} and {expected[1]}",
            )
        for i, (real, (shape, _)) in enumerate(zip(operation.shapes, output_info, strict=True)):
            if min(shape, default=1) < 0 or (real is not None and prod(shape) != prod(real)):
                raise self._refusal(
                    call,
                    f"output_info {list(shape)} given for result {i}",
                    f"give the shape of the result, {list(real)}" if real else "give sizes from 0",
                )

    def _refusal(self, call: str, what: str, fix: str) -> BundleError:
        return refusal(f"CustomOperator.{call}", f"{self._name}: {what}", fix)


def _zeros(shape: Sequence[int], flag: TypeFlag) -> Tensor:
    return Tensor(np.zeros(tuple(shape), flag.value), copy=False)
