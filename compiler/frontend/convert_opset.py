"""Older opsets to the one that passes are written for."""

from typing import Final

import onnx
from onnx import version_converter

from compiler.errors import GraphError

OLDEST: Final = 7  # before it, broadcasting was an attribute; onnx converts only from 7 on
TARGET: Final = 17  # what older networks become
NEWEST: Final = 26  # what onnxruntime 1.31 loads


def convert_opset(model: onnx.ModelProto, where: str) -> tuple[onnx.ModelProto, str | None]:
    """Convert a model of opset 7 to 16 to 17; newer ones stay.

    Args:
        model: With static inputs. Weights may be inputs. Left as it was.
        where: File to name in errors.

    Returns:
        The model and a note of the conversion, if there was one.

    Raises:
        GraphError: Opset out of range, or a network that onnx cannot convert.
    """
    opset = next((item.version for item in model.opset_import if not item.domain), 0)
    if not OLDEST <= opset <= NEWEST:
        raise GraphError(
            f"the network has opset {opset or 'none'}; {OLDEST} to {NEWEST} are supported",
            where=where,
            fix=f"export it again with opset {TARGET}",
        )
    if opset >= TARGET:
        return model, None
    converted = _converted(model, opset, where)
    if opset < 11:
        _keep_resize_meaning(converted)
    return converted, f"opset {opset} was converted to {TARGET}"


def _converted(model: onnx.ModelProto, opset: int, where: str) -> onnx.ModelProto:
    flow = [n.op_type for n in model.graph.node for a in n.attribute if a.HasField("g")]
    try:
        if flow:
            raise RuntimeError(f"the inner graphs of {flow[0]} are not converted by onnx")
        # Some conversions need ranks, such as that of Softmax at opset 13.
        return version_converter.convert_version(onnx.shape_inference.infer_shapes(model), TARGET)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise GraphError(
            f"opset {opset} could not be converted to {TARGET}: {error}",
            where=where,
            fix=f"export the network again with opset {TARGET}",
        ) from error


def _keep_resize_meaning(model: onnx.ModelProto) -> None:
    """Say what Upsample and Resize meant before opset 11.

    Output pixel i was input pixel i / scale, rounded down in nearest mode. From 11 on the default
    is the half-pixel rule, and the converter does not add the attributes that keep the old one.
    Source: ONNX operator changelog, Upsample-9 and Resize-11; onnxruntime computes them so.
    """
    for node in model.graph.node:
        if node.op_type == "Resize":
            meaning = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            node.attribute.extend(onnx.helper.make_attribute(*item) for item in meaning.items())
