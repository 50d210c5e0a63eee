"""Samples that run together give what they give one by one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.runner.batches import most_together, run_together
from compiler.runner.engine import Tensor
from compiler.runner.load import Runner
from compiler.runner.manifest import TensorSpec
from tests.runner.test_runner import make_from_text
from tests.support.bundles import MANIFEST

OPEN_BATCH = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4] x) => (float[n, 4] y)
{ y = Add(x, x) }"""
SPEC = TensorSpec("x", (-1, 4), "float32", ((1, 3), (4, 4)))


@pytest.mark.parametrize(
    ("bounds", "most"),
    [
        ([()], 1),
        ([((1, 8), (4, 4))], 8),
        ([((1, 8), (4, 4)), ((1, 5),)], 5),
        ([((1, 8),), ((2, 5),)], 1),
        ([((1, 8),), ()], 1),
    ],
)
def test_inputs_take_as_many_as_all_of_them_allow(
    bounds: list[tuple[tuple[int, int], ...]], most: int
) -> None:
    assert most_together([TensorSpec("x", (1, 4), "float32", one) for one in bounds]) == most


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3)), max_size=9), st.integers(1, 4))
def test_together_is_the_same_as_one_by_one(shapes: list[tuple[int, int]], most: int) -> None:
    samples = [{"x": np.full(shape, index, np.float32)} for index, shape in enumerate(shapes)]
    sizes = []

    def run(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sizes.append(len(feeds["x"]))
        return {"y": feeds["x"] * 2, "first": feeds["x"][:, :1]}

    outputs = run_together(run, samples, most)
    assert max(sizes, default=0) <= max(2, most)
    for sample, output in zip(samples, outputs, strict=True):
        np.testing.assert_array_equal(output["y"], 2 * sample["x"], strict=True)


def test_an_output_that_is_not_one_per_sample_is_found_one_by_one() -> None:
    samples = [{"x": np.ones((1, 2), np.float32)}] * 3
    outputs = run_together(lambda feeds: {"sum": feeds["x"].sum(keepdims=True)}, samples, 3)
    assert [float(output["sum"][0, 0]) for output in outputs] == [2, 2, 2]


def test_a_stream_runs_a_batch_of_an_open_network_together(tmp_path: Path) -> None:
    output = replace(SPEC, name="y", bounds=())
    manifest = replace(MANIFEST, inputs=(SPEC,), outputs=(output,), preprocessing=None)
    samples = [np.full((1, 4), value, np.float32) for value in range(20)]
    with Runner(make_from_text(tmp_path, OPEN_BATCH, manifest), threads=1) as runner:
        with runner.stream(samples, batch=3) as results:
            streamed = [result.outputs for result in results]
        np.testing.assert_array_equal(
            np.concatenate([one["y"] for one in runner.infer_many([{"x": x} for x in samples])]),
            np.concatenate([one["y"] for one in streamed if one is not None]),
        )
    assert len(streamed) == 20
