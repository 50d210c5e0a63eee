"""What `graph.extra_ops` of a build file asks of a detector, and the end that its bundle gets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig
from compiler.errors import BuildFileError
from compiler.graph.detector import FORMS, Detection, Head, find_head
from compiler.passes.append_extra_ops import append_extra_ops
from compiler.passes.append_nms import append_nms
from compiler.passes.result import PassResult

EXTRA_OPS: Final = append_extra_ops.__name__


@dataclass(frozen=True, slots=True)
class Detections:
    """What turns the outputs of a network into lists of boxes.

    Args:
        detection: From the build file.
        head: Outputs of the network.
    """

    detection: Detection
    head: Head

    def append(self, graph: gs.Graph) -> gs.Graph:
        """A copy that ends in classes, scores and boxes, and in what masks are made from."""
        longer = graph.copy()
        append_nms(longer, head=self.head, detection=self.detection)
        return longer


def detection_of(config: BuildConfig) -> Detection | None:
    """What the build file says of a detector; None if it asks for nothing of the kind."""
    ops = config.graph.extra_ops
    if ops.type is None or ops.type not in FORMS:
        return None
    params = ops.params
    said = {
        "classes": params.num_classes,
        "strides": params.strides,
        "anchors": params.anchor,
        "confidence": params.first("confidence_threshold", "confidence_thresh", "score_thresh"),
        "overlap": params.first("nms_threshold", "nms_thresh"),
        "candidates": params.first("nms_topk", "nms_pre_max"),
        "boxes": params.first("max_obj_per_sample", "post_nms", "nms_post_max"),
        "masks": params.seg_enable,
    }
    return Detection(ops.type, **{name: value for name, value in said.items() if value is not None})


def find_detections(
    config: BuildConfig, graph: gs.Graph, passes: Iterable[PassResult]
) -> Detections | None:
    """What the bundle's network is to end in; None if it keeps its outputs.

    Args:
        config: The build file.
        graph: From `load_network`.
        passes: What became of it, which says whether its outputs are those of the detector.
    """
    detection = detection_of(config)
    if detection is None or not any(one.name == EXTRA_OPS and one.changed for one in passes):
        return None
    head = find_head(graph, detection)
    return Detections(detection, head) if isinstance(head, Head) else None


def refuse_declined(config: BuildConfig, passes: Iterable[PassResult]) -> None:
    """Let `--strict` refuse what the network does not allow `graph.extra_ops` to do.

    Raises:
        BuildFileError: There is such a warning.
    """
    for one in passes:
        if one.name == EXTRA_OPS and one.warnings:
            raise BuildFileError(
                one.warnings[0],
                where=f"{config.name}: graph.extra_ops",
                fix="correct type and params, or export the network with these outputs; without "
                "--strict it is a warning",
            )
