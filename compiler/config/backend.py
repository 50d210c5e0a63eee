"""Section `backend` of a build file: target, precision, quantization."""

import re
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, field_validator

from compiler.config.base import ACTED_ON, Number, Section, Whole, ignored
from compiler.runner.engine import EngineChoice, EngineName

Engine = Literal["onnxruntime", "openvino", "auto", "tvm_vacc", "tvm_runmodel"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
CalibrateMode = Literal["auto", "kl_divergence", "percentile", "max", "mse"]
AccuracyMetric = Literal["miou", "fg_iou", "dice", "cosine", "sqnr"]
LayerRef = Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1)]

OutputShape = tuple[Annotated[Whole, Field(ge=1)], ...]

OUTPUT_LAYOUT: Final = re.compile(r'(\d+)\s*:\s*"?(YX|XY)"?')
"""Index and layout; some public build files have the quotes inside the text."""

_REFUSED = {
    "fp16int8": "fp16int8 of older build files is no precision; choose fp16 or int8",
}


class Compile(Section):
    """Code generation options of the original accelerator.

    `output_layout` and `real_output_shape` say how `vamp` and `vaststreamx` hand out outputs
    (`modc run` and `Runner` give those of the graph in any case). On this host, all others change
    nothing, and unknown keys are accepted, because new ones appear with every release.
    """

    model_config = ConfigDict(extra="allow")

    data_transport_mode: Whole | None = ignored("Transfer mode between host and accelerator.")
    cluster_mode: Whole | None = ignored("Clustering of accelerator cores.")
    opt_level: Whole | None = ignored("Optimisation level of TVM; all passes always run here.")
    data_type: Whole | None = ignored("Tensor data type code; `backend.dtype` decides here.")
    enable_float_to_half: bool | None = ignored("Convert remaining float32 to float16.")
    enable_graph_partition: bool | None = ignored("Split the graph for accelerator memory.")
    mem_inplace: bool | None = ignored("Reuse accelerator buffers.")
    nearest_interpol_on_dsp: bool | None = ignored("Nearest upsampling on the DSP.")
    dense_special_config: tuple[Whole, ...] | None = ignored("Tiling of one dense layer.")
    split_convergence_points: tuple[str, ...] | None = ignored("Cut points for large inputs.")
    partition_convergence_dsp_enable: bool | None = ignored("Cut points on the DSP.")
    stream_mode: bool | None = ignored("Streaming code generation.")
    output_layout: tuple[str, ...] | None = Field(
        default=None,
        description="Outputs that are handed out as matrices: 'index:YX' (row-major) makes "
        "[1, M, N] to [M, N] and [1, C, H, W] to [C, H * W], 'index:XY' the transpose of that. "
        "Without it [1, M, N] becomes [M, N], except in a detector with non-maximum suppression, "
        "and other ranks stay.",
    )
    output_ddr: tuple[Whole, ...] | None = ignored("Memory placement of outputs.")
    real_output_shape: tuple[OutputShape | None, ...] | None = Field(
        default=None,
        description="Shapes in which outputs are handed out, in graph order, after "
        "`output_layout`: with as many elements, the same in row-major order; else each axis ends "
        "in zeros. null or [] leaves an output as it is.",
    )
    enable_inputs_align: bool | None = ignored("Pad inputs to the accelerator's alignment.")
    switch_lhs_rhs: bool | None = ignored("Operand order of MatMul kernels.")
    enable_groundingdino_axis_change: bool | None = ignored("Rewrite for one network.")
    enable_groundingdino_cut_layernorm: bool | None = ignored("Rewrite for one network.")
    enable_transform_vision_language_pan: bool | None = ignored("Rewrite for one network.")
    gather_data_vccl_dsp_enable: bool | None = ignored("Collective communication on the DSP.")
    attention_split_num: Whole | None = ignored("Splitting of attention layers.")
    ffn_split_num: Whole | None = ignored("Splitting of feed-forward layers.")
    boost_pipeline: Whole | None = ignored("Pipelining (older build files).")
    softmax_target: Whole | None = ignored("Unit that computes Softmax (older build files).")
    force_tiny_oc_1x1_to_3x3: bool | None = ignored("Kernel choice (older build files).")

    @property
    def layouts(self) -> dict[int, Literal["YX", "XY"]]:
        """Layouts of `output_layout` by index of the output; other texts are left out."""
        found = filter(None, map(OUTPUT_LAYOUT.fullmatch, self.output_layout or ()))
        return {int(one[1]): "XY" if one[2] == "XY" else "YX" for one in found}

    @property
    def shapes(self) -> dict[int, OutputShape]:
        """Shapes of `real_output_shape` by index of the output."""
        return {i: shape for i, shape in enumerate(self.real_output_shape or ()) if shape}


class DynamicParams(Section):
    """Options of the original accelerator for dynamic shapes; unknown keys are accepted."""

    model_config = ConfigDict(extra="allow")

    is_elic_gs: bool | None = ignored("Rewrite for one network.")
    enable_graph_partition: bool | None = ignored("Split the graph for accelerator memory.")


class AccuracyData(Section):
    """Images, and masks where the metric needs them."""

    images: Annotated[str, Field(min_length=1)] = Field(description="Folder of images.")
    masks: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Folder of masks with the names of the images."
    )


class Accuracy(Section):
    """How much an int8 build may lose, and how long it may search for the layers to keep float."""

    metric: AccuracyMetric = Field(
        default="sqnr",
        description="`miou`, `fg_iou` and `dice` in points; `cosine` in points of 100; `sqnr` as "
        "the noise's share of the signal, in percent.",
    )
    max_drop: Number = Field(
        default=0.3, ge=0, description="Points that may be lost against the float network."
    )
    data: AccuracyData | None = Field(
        default=None,
        description="Images and masks to measure on; default: those of `verify`, and for `cosine` "
        "and `sqnr` those of `dataset`.",
    )
    images: Whole = Field(default=100, ge=1, description="Most images to measure on.")
    max_minutes: Number = Field(
        default=5.0, gt=0, description="Longest search; the best set found by then is taken."
    )


class Quantize(Section):
    """How an int8 build chooses its scales, and which layers stay in float."""

    calibrate_mode: CalibrateMode = Field(
        default="percentile",
        description="Rule for the saturation threshold of each activation; `auto` chooses among "
        "them tensor by tensor, by what the next layers make of it. `kl`, `minmax` and `min_max` "
        "are read as `kl_divergence` and `max`.",
    )
    calibrate_range: Number = Field(
        default=0.99999,
        gt=0,
        le=1,
        description="Share of the values that `percentile` keeps below the threshold.",
    )
    quantize_per_channel: bool = Field(
        default=True, description="One weight scale per output channel, else one per tensor."
    )
    weight_scale: Literal["max", "power2", "mse"] = Field(
        default="max",
        description="Weight range: `max` is max|w|, `power2` the next power of two above it, "
        "`mse` the one that rounds the weights least.",
    )
    equalize: bool = Field(
        default=True,
        description="Even out the channels of an activation where that lowers the noise: powers "
        "of two move from one layer's weights to the next.",
    )
    bias_correction: bool = Field(
        default=True,
        description="Take from each bias what rounded weights add to the layer's mean output.",
    )
    round_weights: Literal["nearest", "adaptive"] = Field(
        default="nearest",
        description="`adaptive` rounds each weight up or down so that the layer's output changes "
        "least on the calibration data; it takes longer.",
    )
    reduce_range: bool = Field(
        default=False,
        description="Weights of 7 bits, for CPUs without VNNI, whose 16-bit sums would saturate.",
    )
    skip_conv_layers: tuple[LayerRef, ...] = Field(
        default=(),
        description="Convolutions that stay in float: indices (from 0, counted in post-order from "
        "the outputs, depthwise included), node names or globs.",
    )
    skip_matmul_layers: tuple[LayerRef, ...] = Field(
        default=(), description="MatMul and Gemm layers that stay in float, named the same way."
    )
    exclude_layers: tuple[LayerRef, ...] = Field(
        default=(),
        description="Layers of any kind that stay in float; indices count all quantizable layers.",
    )
    uint16_layers: tuple[LayerRef, ...] = Field(
        default=(),
        description="Layers whose inputs and outputs take 16 bits, named as in exclude_layers. "
        "CPU engines compute them in float.",
    )
    accuracy: Accuracy | None = Field(
        default=None,
        description="Keep layers in float until the network loses no more than this.",
    )
    quantize_operators: tuple[str, ...] = Field(
        default=(),
        description="Operator types to quantize (all others stay in float), or, written '!type', "
        "operator types to keep in float.",
    )
    ops_usingfp: tuple[str, ...] = Field(
        default=(), description="Operator types that stay in float, such as concatenate."
    )
    calibrate_chunk_by: Annotated[Whole, Field(ge=-1)] = Field(
        default=-1,
        description="Tensors observed per pass, -1 all. Observation streams through bounded memory "
        "in one pass, so that the number changes nothing.",
        json_schema_extra={ACTED_ON: False},
    )
    quantize_dsp_ops: tuple[str, ...] | None = ignored(
        "Operators of the original DSP to quantize; operators that only move values always "
        "keep the scale of their input here."
    )
    quantize_mode: str | None = ignored("`manual` or `force_auto`; the lists above apply as given.")
    requant_suppress: bool | None = ignored("Leave out pairs of requantizations.")
    overflow_adaptive: Whole | None = ignored("Accumulator protection; int32 is always used here.")
    dense_special_config: tuple[Whole, ...] | None = ignored("As in backend.compile.")
    nearest_interpol_on_dsp: bool | None = ignored("As in backend.compile.")
    output_ddr: tuple[Whole, ...] | None = ignored("As in backend.compile.")
    stream_mode: bool | None = ignored("As in backend.compile.")


class Optimize(Section):
    """Rewrites of the graph that leave its results as they are, up to rounding."""

    rewrite: bool = Field(
        default=True,
        description="Replace operators by cheaper ones that compute the same, where the cost "
        "model says that it pays.",
    )
    winograd: bool = Field(
        default=True,
        description="Compute 3×3 convolutions with Winograd's F(4, 3) along one axis or both, "
        "where it pays; fp32 builds only. Their kernels take two or four times the bytes.",
    )
    keep_float: bool = Field(
        default=True,
        description="int8: keep nodes in float that integers would not make faster, conversions "
        "at their borders included.",
    )
    machine: Literal["builtin", "tuned"] = Field(
        default="builtin",
        description="Constants of the cost model: `builtin`, or `tuned`, those that `modc tune` "
        "measured; the bundle then depends on the machine that builds it.",
    )


class Backend(Section):
    """Target and precision."""

    type: Engine = Field(
        default="onnxruntime",
        description="Engine that runs the bundle unless its caller chooses; verification, accuracy "
        "and latency of the build are measured on it. `openvino` needs the extra of that name. "
        "`auto` is the faster one where the bundle is loaded, as measured there once; the build "
        "itself then uses onnxruntime. `tvm_vacc` and `tvm_runmodel` name the original "
        "accelerator; the bundle then targets this host all the same, with onnxruntime.",
    )
    dtype: Precision = Field(description="Precision of the compiled network.")
    compile: Compile = Field(
        default_factory=Compile, description="Options of the original accelerator."
    )
    quantize: Quantize = Field(
        default_factory=Quantize, description="Quantization; used when `dtype` is int8."
    )
    optimize: Optimize = Field(
        default_factory=Optimize, description="Exact rewrites of the graph, and what they go by."
    )
    dynamic_params: DynamicParams = Field(
        default_factory=DynamicParams, description="Options of the original accelerator; ignored."
    )
    merge_params: bool | None = ignored("One weight file instead of several; always so here.")
    remove_params: bool | None = ignored("Delete intermediate weight files; none are kept here.")

    @property
    def engine(self) -> EngineChoice:
        """Engine that the bundle names."""
        return self.type if self.type in ("openvino", "auto") else "onnxruntime"

    @property
    def build_engine(self) -> EngineName:
        """Engine that the build measures on."""
        return "openvino" if self.type == "openvino" else "onnxruntime"

    @field_validator("type", "dtype", mode="before")
    @classmethod
    def _is_available(cls, value: object) -> object:
        if isinstance(value, str) and value in _REFUSED:
            raise ValueError(_REFUSED[value])
        return value
