"""Every pass on networks with open sizes: it declines, or what it makes is right for every size."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.cost.machine import BUILT_IN
from compiler.cost.model import CostModel
from compiler.frontend.load_onnx import load_onnx
from compiler.graph.convert import to_model
from compiler.graph.open_sizes import OpenSize
from compiler.passes import (
    FLOAT16_PASSES,
    FLOAT_PASSES,
    Pass,
    float32_passes,
    name_of,
    rewrite_passes,
)
from compiler.passes.run import run_passes
from tests.support.models import model_from_text, run
from tests.support.open_networks import NETWORKS, network

_COST: Final = CostModel(BUILT_IN, "fp32")
_REWRITES: Final = (*rewrite_passes(_COST), *float32_passes(_COST))
_SIZES: Final = ((8, 8), (24, 32), (16, 22), (10, 30))
_LARGER: Final = ((48, 48), (64, 72), (51, 70))
"""Which five layers cannot shrink to nothing."""

LAYERS: Final = (
    "{y} = Relu({x})",
    "{y} = Conv<pads = [1, 1, 1, 1]>({x}, w)",
    "{y} = Conv<strides = [2, 1], kernel_shape = [3, 3], pads = [1, 0, 1, 2]>({x}, w)",
    '{y} = Conv<auto_pad = "SAME_LOWER", strides = [1, 2]>({x}, w)',
    "{y} = Conv<dilations = [2, 2], pads = [2, 2, 2, 2], group = 4>({x}, v)",
    "{y} = BatchNormalization({x}, one, nought, nought, one)",
    "{y} = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>({x})",
    "{y} = AveragePool<kernel_shape = [2, 2], ceil_mode = 1, strides = [1, 2]>({x})",
    '{y} = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", '
    'nearest_mode = "floor">({x}, , up)',
    '{y} = Resize<mode = "linear">({x}, , up)',
    "{y} = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1]>({x}, w)",
    "{y} = Pad({x}, border)",
    "{y} = Slice({x}, start, end, rows)",
    "{y} = Transpose<perm = [0, 1, 3, 2]>({x})",
    "{y}f = Reshape({x}, flat)\n{y}s = Shape({x})\n{y}t = Transpose<perm = [0, 2, 1]>({y}f)\n"
    "{y}u = Transpose<perm = [0, 2, 1]>({y}t)\n{y} = Reshape({y}u, {y}s)",
    "{y}r, {y}b = Split<axis = 1>({x}, halves)\n{y} = Concat<axis = 1>({y}b, {y}r)",
    "{y}m = GlobalAveragePool({x})\n{y}g = Sigmoid({y}m)\n{y} = Mul({x}, {y}g)",
    "{y}m = ReduceMax<axes = [2], keepdims = 1>({x})\n{y} = Sub({x}, {y}m)",
    "{y}a = Identity({x})\n{y}b = Neg({x})\n{y}c = Neg({x})\n{y}d = Add({y}b, {y}c)\n"
    "{y} = Add({y}a, {y}d)",
    "{y}s = Shape({x})\n{y}e = Expand(hundredth, {y}s)\n{y} = Add({x}, {y}e)",
)
_CONSTANTS: Final = """
<float[4, 4, 3, 3] w, float[4, 1, 3, 3] v, float[4] one = {1, 1, 1, 1}, float[4] nought,
 float[4] up = {1, 1, 2, 2}, int64[8] border = {0, 0, 1, 2, 0, 0, 1, 0}, int64[1] start = {1},
 int64[1] rows = {2},
 int64[1] end = {9223372036854775807}, int64[3] flat = {0, 4, -1}, int64[2] halves = {1, 3},
 float[1] hundredth = {0.01}, float[4, 3, 1, 1] first>
"""


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, "N"])
def test_all_passes_together_are_right_for_every_size(
    name: str, batch: int | str, tmp_path: Path
) -> None:
    _check(network(name, batch=batch), (*FLOAT_PASSES, *_REWRITES), tmp_path)


@pytest.mark.parametrize("step", _REWRITES, ids=name_of)
def test_a_rewrite_declines_or_is_right(step: Pass, tmp_path: Path) -> None:
    for name in NETWORKS:
        _check(network(name), (*FLOAT_PASSES, step), tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=5))
def test_random_networks_are_right_for_every_size(layers: list[str]) -> None:
    lines = ["c = Conv(x, first)", "t0 = Mul(c, hundredth)"]  # for float16
    lines += [text.format(x=f"t{i}", y=f"t{i + 1}") for i, text in enumerate(layers)]
    body = "\n".join([*lines, f"y = Neg(t{len(layers)})"])
    head = (
        '<ir_version: 8, opset_import: ["" : 17]>\ng (float[1, 3, H, W] x) => (float[N, C, P, Q] y)'
    )
    model = model_from_text(f"{head}{_CONSTANTS}{{ {body} }}")
    with TemporaryDirectory() as folder:
        _check(model, (*FLOAT_PASSES, *_REWRITES), Path(folder), sizes=_LARGER)
        _check(model, (*FLOAT_PASSES, *FLOAT16_PASSES), Path(folder), sizes=_LARGER, tolerance=0.02)


def _check(
    model: onnx.ModelProto,
    passes: tuple[Pass, ...],
    folder: Path,
    *,
    sizes: tuple[tuple[int, int], ...] = _SIZES,
    tolerance: float = 1e-5,
) -> None:
    onnx.save(model, folder / "net.onnx")
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    batches = (1,) if batch.dim_value else (1, 3)
    shape = [OpenSize(3) if batch.dim_param else 1, 3, *map(OpenSize, sizes[1], sizes[0])]
    graph = load_onnx(folder / "net.onnx", {"x": shape}).graph
    schedule = [one for one in passes if one not in FLOAT16_PASSES]
    run_passes(graph, schedule)
    if len(schedule) < len(passes):
        run_passes(graph, FLOAT16_PASSES, rounds=1)
    after = to_model(graph)
    for number, (height, width) in enumerate(sizes):
        size = (batches[number % len(batches)], 3, height, width)
        x = np.random.default_rng(math.prod(size)).normal(size=size).astype(np.float32)
        for expected, actual in zip(run(model, {"x": x}), run(after, {"x": x}), strict=True):
            assert actual.shape == expected.shape
            assert np.linalg.norm(actual - expected) <= tolerance * np.linalg.norm(expected)
