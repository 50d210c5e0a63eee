"""Section `graph` of a build file: operators appended to the network's outputs."""

from pydantic import Field

from compiler.config.base import Number, Section, Whole

Numbers = tuple[Number, ...]
Wholes = tuple[Whole, ...]

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


class ExtraOpsParams(Section):
    """Parameters of the operators for boxes; `softmax`, `argmax` and `threshold` need none."""

    num_classes: Whole | None = Field(default=None, ge=1, description="Number of classes.")
    confidence_threshold: Number | None = Field(default=None, description="Score threshold.")
    confidence_thresh: Number | None = Field(default=None, description="Score threshold (3-D).")
    score_thresh: Number | None = Field(default=None, description="Score threshold (3-D).")
    nms_threshold: Number | None = Field(default=None, description="IoU threshold.")
    nms_thresh: Number | None = Field(default=None, description="IoU threshold (3-D).")
    strides: Wholes | None = Field(default=None, description="Strides of the heads.")
    anchor: Numbers | None = Field(
        default=None, description="Anchor widths and heights, smallest stride first."
    )
    seg_enable: bool | None = Field(default=None, description="Instance segmentation outputs.")
    nms_pre_max: Whole | None = Field(default=None, description="Boxes before suppression.")
    nms_post_max: Whole | None = Field(default=None, description="Boxes after suppression.")
    nms_topk: Whole | None = Field(default=None, description="Boxes before suppression.")
    post_nms: Whole | None = Field(default=None, description="Boxes after suppression.")
    max_obj_per_sample: Whole | None = Field(default=None, description="Most objects per sample.")
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


class ExtraOps(Section):
    """What to append to the outputs."""

    type: str | None = Field(
        default=None,
        description="`softmax` appends Softmax. `argmax` makes the output a map of class numbers "
        "(uint8 up to 256 classes, else int64), `threshold` a map of 0 and 1 (uint8: probability "
        "above 0.5, logit above 0); what does not change the class is left out before them. Other "
        "public types (box suppression, device data movement) leave the outputs as they are, with "
        "a warning.",
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
