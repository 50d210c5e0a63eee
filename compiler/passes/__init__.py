"""The float schedule: which passes run, in which order.

A pass is `verb_object(graph) -> PassResult` and edits the graph in place; `run.run_passes` repeats
a tuple until nothing changes. Shapes and constants come first because the others decide by them;
BatchNormalization goes before single scales and biases, which it contains; layout operators last.
"""

from collections.abc import Callable
from typing import Final

import onnx_graphsurgeon as gs

from compiler.passes.cast_float16 import cast_float16
from compiler.passes.fold_constants import fold_constants
from compiler.passes.fuse_batch_norm import fuse_batch_norm
from compiler.passes.fuse_bias import fuse_bias
from compiler.passes.fuse_pad import fuse_pad
from compiler.passes.fuse_scale import fuse_scale
from compiler.passes.infer_shapes import infer_shapes
from compiler.passes.merge_duplicates import merge_duplicates
from compiler.passes.merge_reshape import merge_reshape
from compiler.passes.merge_transpose import merge_transpose
from compiler.passes.normalize_gemm import normalize_gemm
from compiler.passes.remove_dead import remove_dead
from compiler.passes.remove_identity import remove_identity
from compiler.passes.result import PassResult

Pass = Callable[[gs.Graph], PassResult]

FLOAT_PASSES: Final[tuple[Pass, ...]] = (
    infer_shapes,
    fold_constants,
    remove_identity,
    merge_duplicates,
    normalize_gemm,
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


def name_of(step: Callable[..., PassResult]) -> str:
    """Name of a pass, also of one whose options are bound by `functools.partial`."""
    return str(getattr(step, "func", step).__name__)


def describe(step: Callable[..., PassResult]) -> str:
    """First line of the documentation of a pass, as `modc passes` shows it."""
    return (getattr(step, "func", step).__doc__ or "").strip().partition("\n")[0]
