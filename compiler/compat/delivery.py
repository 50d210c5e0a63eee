"""Outputs as the device hands them out: float16, and some in another form than the graph's.

A bundle may say the form of an output (`backend.compile.output_layout` and `real_output_shape`).
Of the others, the shape decides:

    graph                                 delivered
    [1, C, H, W], [1, N]                  as they are
    [1, M, N]                             [M, N]
    [1, N, 1], [1, N, 1], [1, N, 4]       as they are: these three together are classes, scores and
                                          boxes after non-maximum suppression; masks may follow
    anything else                         as it is

Source: what the published readers of both `vamp` and `vaststreamx` results index.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.runner.delivered import Delivered
from compiler.runner.engine import Tensor
from compiler.runner.manifest import TensorSpec


def deliver(
    outputs: Mapping[str, Tensor], specs: Sequence[TensorSpec]
) -> list[NDArray[np.float16]]:
    """Outputs of one sample in the order, form and type in which the device hands them out.

    Args:
        outputs: By name, as the runner gives them.
        specs: Of the outputs, in graph order.

    Returns:
        Contiguous arrays; values beyond ±65504 become infinite, as float16 has it.
    """
    ordered = [np.asarray(outputs[spec.name]) for spec in specs]
    forms = _forms([array.shape for array in ordered], specs)
    with np.errstate(over="ignore"):
        return [
            form.arrange(array).astype(np.float16, order="C")
            for array, form in zip(ordered, forms, strict=True)
        ]


def delivered_shapes(specs: Sequence[TensorSpec]) -> list[tuple[int, ...]]:
    """Shapes in which outputs are handed out; -1 where a size is open."""
    shapes = [spec.shape for spec in specs]
    forms = _forms(shapes, specs)
    return [form.shape_of(shape) for form, shape in zip(forms, shapes, strict=True)]


def _forms(shapes: Sequence[tuple[int, ...]], specs: Sequence[TensorSpec]) -> list[Delivered]:
    """What is done to outputs that have these shapes at run time."""
    kept = is_detection(shapes)
    return [
        spec.delivered
        or Delivered("YX" if len(shape) == 3 and shape[0] == 1 and not kept else "kept")
        for shape, spec in zip(shapes, specs, strict=True)
    ]


def is_detection(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether outputs are the classes, scores and boxes of a graph that ends in NMS.

    With masks there follow their coefficients (1, N, K) and prototypes (1, K, H, W).
    """
    if len(shapes) not in (3, 5) or any(len(shape) != 3 for shape in shapes[:3]):
        return False
    rows = {shape[:2] for shape in shapes[:3]}
    if len(rows) != 1 or [shape[2] for shape in shapes[:3]] != [1, 1, 4]:
        return False
    if len(shapes) == 3:
        return True
    coefficients, prototypes = shapes[3:]
    return (len(coefficients), len(prototypes)) == (3, 4) and (
        coefficients == (*rows.pop(), prototypes[1])
    )
