"""The float schedule: which passes run, in which order.

A pass is `verb_object(graph) -> PassResult` and edits the graph in place; `run.run_passes` repeats
a tuple until nothing changes. Shapes and constants come first because the others decide by them;
BatchNormalization goes before single scales and biases, which it contains; layout operators last.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import onnx_graphsurgeon as gs

from compiler.cost.model import CostModel
from compiler.passes.align_channels import align_channels
from compiler.passes.cast_float16 import cast_float16
from compiler.passes.chain_max_pool import chain_max_pool
from compiler.passes.commute_resize_conv import commute_resize_conv
from compiler.passes.compose_conv_transpose import compose_conv_transpose
from compiler.passes.fold_constants import fold_constants
from compiler.passes.fuse_batch_norm import fuse_batch_norm
from compiler.passes.fuse_bias import fuse_bias
from compiler.passes.fuse_pad import fuse_pad
from compiler.passes.fuse_scale import fuse_scale
from compiler.passes.hoist_activation import hoist_activation
from compiler.passes.infer_shapes import infer_shapes
from compiler.passes.merge_duplicates import merge_duplicates
from compiler.passes.merge_reshape import merge_reshape
from compiler.passes.merge_transpose import merge_transpose
from compiler.passes.mix_taps import mix_taps
from compiler.passes.normalize_gemm import normalize_gemm
from compiler.passes.normalize_resize import normalize_resize
from compiler.passes.remove_dead import remove_dead
from compiler.passes.remove_identity import remove_identity
from compiler.passes.replace_conv_transpose import replace_conv_transpose
from compiler.passes.result import PassResult
from compiler.passes.rewrite_constant_branch import rewrite_constant_branch
from compiler.passes.rewrite_nearest_conv import rewrite_nearest_conv
from compiler.passes.rewrite_resize import rewrite_resize
from compiler.passes.rewrite_resize_conv import rewrite_resize_conv
from compiler.passes.split_concat_conv import split_concat_conv
from compiler.passes.split_prelu import split_prelu
from compiler.passes.trim_padded_taps import trim_padded_taps
from compiler.passes.winograd_conv import winograd_conv

Pass = Callable[[gs.Graph], PassResult]

FLOAT_PASSES: Final[tuple[Pass, ...]] = (
    infer_shapes,
    fold_constants,
    remove_identity,
    merge_duplicates,
    normalize_gemm,
    normalize_resize,
    fuse_pad,
    fuse_batch_norm,
    fuse_scale,
    fuse_bias,
    merge_transpose,
    merge_reshape,
    remove_dead,
)

# After FLOAT_PASSES and once, not to a fixed point: there is nothing left to find.
FLOAT16_PASSES: Final[tuple[Pass, ...]] = (cast_float16,)


def rewrite_passes(cost: CostModel) -> tuple[Pass, ...]:
    """Rewrites that compute the same with less work, each only where `cost` has it pay.

    They run after `FLOAT_PASSES`, which remove what would hide a pattern, and again and again
    with them until nothing changes. Kernels that suit the engine come last.
    """
    pay = (
        rewrite_constant_branch,
        commute_resize_conv,
        rewrite_nearest_conv,
        rewrite_resize_conv,
        compose_conv_transpose,
        split_concat_conv,
        replace_conv_transpose,
        rewrite_resize,
        trim_padded_taps,
        mix_taps,
        align_channels,
    )
    return (
        chain_max_pool,
        split_prelu,
        *(partial(step, cost=cost) for step in pay),
        hoist_activation,
    )


def float32_passes(cost: CostModel) -> tuple[Pass, ...]:
    """What only pays, and is only exact enough, in float32; after the rewrites, and once."""
    return (partial(winograd_conv, cost=cost),)


def name_of(step: Callable[..., PassResult]) -> str:
    """Name of a pass, also of one whose options are bound by `functools.partial`."""
    return str(getattr(step, "func", step).__name__)


def describe(step: Callable[..., PassResult]) -> str:
    """First line of the documentation of a pass, as `modc passes` shows it."""
    return (getattr(step, "func", step).__doc__ or "").strip().partition("\n")[0]
