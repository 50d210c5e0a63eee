"""Operators of a graph: the image operator of a vdsp JSON, pass-through for tokens, the model."""

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from compiler.compat.vaststreamx.containers import Array, Image, Tensor
from compiler.compat.vaststreamx.enums import AttrKey, ImageFormat, OpType, TypeFlag
from compiler.compat.vaststreamx.images import as_rgb
from compiler.compat.vaststreamx.model import Model
from compiler.compat.vaststreamx.refusal import refusal
from compiler.compat.vaststreamx.tiles import is_tiled, to_tiles
from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import Shape
from compiler.preprocess.vdsp import VdspParams, parse_vdsp
from compiler.preprocess.vdsp_json import current_form, load_json

_CHAINS: Final = 256  # kept; a script may set new sizes for every image


class Operator:
    """What a graph does with a sample.

    Args:
        op_type: Only `OpType.BERT_EMBEDDING_OP`, which hands tokens on, can be made without a JSON.

    Raises:
        BundleError: Another type.
    """

    def __init__(self, op_type: OpType) -> None:
        if op_type is not OpType.BERT_EMBEDDING_OP:
            raise refusal(
                "Operator",
                f"{op_type!r} given",
                "load image operators with load_ops_from_json_file",
            )
        self.op_type: OpType = op_type

    @staticmethod
    def load_ops_from_json_file(path: str | Path) -> "list[Operator]":
        """The operator that a vdsp JSON describes, in a list.

        Raises:
            BuildFileError: The file cannot be read or used.
        """
        content = current_form(load_json(Path(path)), str(path))
        params = parse_vdsp(content, str(path))
        if not params.reads_images:
            return [Operator(OpType.BERT_EMBEDDING_OP)]
        return [BuildInOperator(params, content.get("OpConfig", {}))]

    def cast_to_buildin_operator(self) -> "BuildInOperator":
        """This operator, if it is an image operator.

        Raises:
            BundleError: It is none.
        """
        raise refusal(
            "Operator.cast_to_buildin_operator",
            f"{self.op_type.name} has no attributes",
            "cast image operators (op_type >= 100)",
        )


class BuildInOperator(Operator):
    """An image operator: what a vdsp JSON says, and what the script changes of it.

    Args:
        params: The JSON.
        config: Its `OpConfig`.
    """

    def __init__(self, params: VdspParams, config: Mapping[str, Any]) -> None:
        self.op_type = OpType[params.op_type]
        self.params = params
        self._config = dict(config)

    def cast_to_buildin_operator(self) -> "BuildInOperator":
        return self

    @property
    def attributes(self) -> dict[str, Any]:
        """Values by name of the key, such as "OIMAGE_WIDTH"; only those that are set."""
        values = {key.name: self._config[key.value] for key in AttrKey if key.value in self._config}
        return values | {AttrKey.IIMAGE_FORMAT.name: ImageFormat[self.params.iimage_format]}

    def get_attribute(self, key: AttrKey, index: int | None = None) -> Any:
        """The value of an attribute, or one element of a list.

        Raises:
            BundleError: The attribute is not set.
        """
        attributes = self.attributes
        if key.name not in attributes:
            raise refusal(
                "Operator.get_attribute",
                f"{key.name} is not set",
                f"set are {', '.join(sorted(attributes))}",
            )
        value = attributes[key.name]
        return value if index is None else value[index]

    def set_attribute(self, attributes: Mapping[AttrKey, object]) -> None:
        """Change attributes for the calls of `run_sync` and `run_async` that follow.

        Raises:
            BuildFileError: A value that has no meaning, as in a JSON.
        """
        config = self._config | {key.value: _plain(value) for key, value in attributes.items()}
        content = {"OpType": self.op_type.name, "OpConfig": config}
        self.params = parse_vdsp(content, self.params.source)
        self._config = config

    def execute(
        self,
        tensors: Sequence[Image],
        output_info: Sequence[tuple[Sequence[int], TypeFlag]],
    ) -> list[Tensor]:
        """Prepare images without a graph.

        Args:
            tensors: Images.
            output_info: Shape and type of each result: [C, H, W] or [1, C, H, W], or the shape of
                its tiles.

        Raises:
            BundleError: Not one shape for each image, or one of another number of elements.
            CalibrationError: An image that does not fit the operator.
        """
        if len(output_info) != len(tensors):
            raise refusal(
                "Operator.execute",
                f"output_info of {len(output_info)} results given for {len(tensors)} images",
                "give one (shape, type) for each image",
            )
        chain = chain_of(self.params, None)
        prepared = [chain(as_rgb(image, self.params.color_space)) for image in tensors]
        return [
            _as_declared(array, shape, flag)
            for array, (shape, flag) in zip(prepared, output_info, strict=True)
        ]


class ModelOperator:
    """The model of a graph."""

    op_type = OpType.MODEL_OP

    def __init__(self, model: Model) -> None:
        self.model = model


@lru_cache(maxsize=_CHAINS)
def chain_of(params: VdspParams, shape: Shape | None, *, normalize: bool = True) -> Chain:
    """The preprocessing of an operator, made once for many images."""
    return params.chain(shape, normalize=normalize)


def _plain(value: object) -> Any:
    """A script's value as a JSON holds it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _as_declared(array: Array, shape: Sequence[int], flag: TypeFlag) -> Tensor:
    values = array.astype(flag.value)
    result = to_tiles(values) if is_tiled(shape) else values
    if result.size != np.prod(shape):
        raise refusal(
            "Operator.execute",
            f"output_info {list(shape)} given for a result of {list(array.shape)}",
            "give the shape of the result",
        )
    return Tensor(result.reshape(shape))
