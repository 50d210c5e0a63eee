"""Section `graph` of a build file: operators appended to the network's outputs."""

from typing import Annotated, Any

from pydantic import Field

from compiler.config.base import Number, Section, Whole

Numbers = tuple[Number, ...]
Share = Annotated[Number, Field(ge=0, le=1)]
Wholes = tuple[Annotated[Whole, Field(ge=1)], ...]

EXTRA_OPS = (
    "softmax",
    "argmax",
    "threshold",
    "insert_odma",
    "retinaface_nms",
    "centerpoint_nms",
    "pointpillar_nms",
    "yolox_nms",
    "mmdet_yolov3_nms",
    *(f"yolov{version}_nms" for version in (4, 5, 8, 10, 11, 12)),
)


def _other_name(key: str) -> Any:  # Any: as pydantic.Field, fits every annotation
    return Field(default=None, description=f"Other name of `{key}`.")


class ExtraOpsParams(Section):
    """Parameters of the operators for boxes; `softmax`, `argmax` and `threshold` need none."""

    num_classes: Whole | None = Field(
        default=None, ge=1, description="Number of classes; default: what the outputs have."
    )
    confidence_threshold: Share | None = Field(
        default=None, description="A box needs a higher score; default 0.25."
    )
    confidence_thresh: Share | None = _other_name("confidence_threshold")
    score_thresh: Share | None = _other_name("confidence_threshold")
    nms_threshold: Share | None = Field(
        default=None,
        description="Of two boxes of one class with a higher intersection over union, only the one "
        "with the higher score stays; default 0.45.",
    )
    nms_thresh: Share | None = _other_name("nms_threshold")
    strides: Wholes | None = Field(
        default=None,
        min_length=1,
        description="Pixels between places of the heads' maps, smallest first; default 8, 16, 32.",
    )
    anchor: Numbers | None = Field(
        default=None,
        description="Anchor widths and heights in pixels, smallest stride first; for "
        "`retinaface_nms` one size each.",
    )
    seg_enable: bool | None = Field(
        default=None,
        description="Whether masks of the boxes are asked for (`yolov8_nms`, `yolov11_nms`, "
        "`yolov12_nms`). There are then two more float32 outputs: the masks' coefficients "
        "[1, N, K], 0 in rows that are not used, and the network's prototypes [1, K, H, W].",
    )
    nms_topk: Whole | None = Field(
        default=None,
        ge=1,
        description="As many boxes of the highest scores are looked at; default 4096.",
    )
    nms_pre_max: Whole | None = _other_name("nms_topk")
    max_obj_per_sample: Whole | None = Field(
        default=None, ge=1, description="Rows of the outputs; default 300."
    )
    post_nms: Whole | None = _other_name("max_obj_per_sample")
    nms_post_max: Whole | None = _other_name("max_obj_per_sample")
    feature_map_stride: Whole | None = Field(default=None, description="Stride of the map (3-D).")
    grid_stride: Wholes | None = Field(default=None, description="Stride of the grid (3-D).")
    voxel_size: Numbers | None = Field(default=None, description="Voxel size in metres.")
    point_cloud_range: Numbers | None = Field(default=None, description="Range in metres.")
    post_center_limit_range: Numbers | None = Field(default=None, description="Range of centres.")
    dir_offset: Number | None = Field(default=None, description="Direction offset (3-D).")
    dir_limit_offset: Number | None = Field(default=None, description="Direction limit (3-D).")
    anchor_size: Numbers | None = Field(default=None, description="Anchor sizes (3-D).")
    anchor_rotations: Numbers | None = Field(default=None, description="Anchor rotations (3-D).")
    anchor_heights: Numbers | None = Field(default=None, description="Anchor heights (3-D).")

    def first(self, *keys: str) -> Any:  # Any: of the type that the keys have
        """The value of the first of several names of one parameter that is given."""
        given = (getattr(self, key) for key in keys)
        return next((value for value in given if value is not None), None)


class ExtraOps(Section):
    """What to append to the outputs."""

    type: str | None = Field(
        default=None,
        description="`softmax` appends Softmax. `argmax` makes the output a map of class numbers "
        "(uint8 up to 256 classes, else int64), `threshold` a map of 0 and 1 (uint8: probability "
        "above 0.5, logit above 0); what does not change the class is left out before them. "
        "`yolov4_nms`, `yolov5_nms` (also YOLOv3 and v7), `yolov8_nms`, `yolov10_nms`, "
        "`yolov11_nms`, `yolov12_nms`, `yolox_nms`, `mmdet_yolov3_nms` and `retinaface_nms` yield "
        "three float32 outputs: class [1, N, 1], score [1, N, 1], box [1, N, 4] as xmin, ymin, "
        "xmax, ymax in pixels of the network's input, by falling score, -1 in rows that are not "
        "used. Where the outputs of the network are not those of the detector, and for point "
        "clouds (`centerpoint_nms`, `pointpillar_nms`), they stay as they are, with a warning "
        "(an error with `--strict`). `insert_odma` changes nothing.",
        examples=list(EXTRA_OPS),
    )
    params: ExtraOpsParams = Field(
        default_factory=ExtraOpsParams, description="Parameters of the operator."
    )


class Graph(Section):
    """Edits of the graph."""

    extra_ops: ExtraOps = Field(
        default_factory=ExtraOps, description="Operator appended to the outputs."
    )
    fold_normalization: bool = Field(
        default=False,
        description="Let the network read 8-bit pixels: `Normalize` of `process_ops` moves into "
        "its first convolution. The bundle's input is then uint8 (0 to 255, same shape), and its "
        "preprocessing ends before `Normalize`.",
    )
