"""Figures of each layer as node data for Model Explorer, which colours a graph with them.

Source: `GraphNodeData` in model-explorer's node_data_builder.py: "results" by node id, which for
an ONNX file is the name of the node, and a "gradient" from the smallest value (0) to the largest
(1). Data without the id of a graph applies to the graph that is shown.
"""

from collections.abc import Mapping
from typing import Any, Final

from compiler.page.contents import Contents
from compiler.page.facts import layers_of

NodeData = Mapping[str, Any]  # Any: a JSON object

_BAD, _MIDDLE, _GOOD, _NONE = "#d73027", "#fee08b", "#1a9850", "#ffffff"
_MORE_IS_WORSE: Final = ((0, _NONE), (1, _BAD))
_MORE_IS_BETTER: Final = ((0, _BAD), (0.5, _MIDDLE), (1, _GOOD))


def node_data(contents: Contents) -> dict[str, NodeData]:
    """Figure -> its node data, for the `mod.onnx` of a bundle.

    "sqnr_db" holds the layers whose accuracy is known, "ms" those that were timed, "macs" those
    that multiply; a figure that no layer has is left out.
    """
    layers = layers_of(contents)
    values = {
        "sqnr_db": {one.facts["node"]: one.facts["sqnr_db"] for one in layers},
        "ms": {one.facts["node"]: one.ms for one in layers},
        "macs": {one.facts["node"]: one.facts["macs"] or None for one in layers},
    }
    known = {
        figure: {node: {"value": value} for node, value in found.items() if value is not None}
        for figure, found in values.items()
    }
    return {
        figure: {"results": results, "gradient": _gradient(figure)}
        for figure, results in known.items()
        if results
    }


def _gradient(figure: str) -> list[dict[str, object]]:
    stops = _MORE_IS_BETTER if figure == "sqnr_db" else _MORE_IS_WORSE
    return [{"stop": stop, "bgColor": colour} for stop, colour in stops]
