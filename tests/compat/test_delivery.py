"""Outputs as the device hands them out."""

import numpy as np
import pytest

from compiler.compat.delivery import deliver, delivered_shapes, is_detection
from compiler.runner.manifest import TensorSpec

NMS = [(1, 300, 1), (1, 300, 1), (1, 300, 4)]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        pytest.param([(1, 19, 8, 8)], [(1, 19, 8, 8)], id="heat map"),
        pytest.param([(1, 1000)], [(1, 1000)], id="scores of classes"),
        pytest.param([(1, 384, 2)], [(384, 2)], id="squad reads two columns of a matrix"),
        pytest.param([(1, 25, 37)], [(25, 37)], id="text recognition"),
        pytest.param([(1, 256, 7)], [(256, 7)], id="named entities"),
        pytest.param(NMS, NMS, id="the three of NMS stay"),
        pytest.param(NMS[:2], [(300, 1), (300, 1)], id="two of them are matrices"),
        pytest.param([*NMS, (1, 5)], [(300, 1), (300, 1), (300, 4), (1, 5)], id="four outputs"),
        pytest.param(
            [(1, 300, 1), (1, 300, 1), (1, 299, 4)],
            [(300, 1), (300, 1), (299, 4)],
            id="different numbers of rows are no detections",
        ),
        pytest.param([(2, 5, 7)], [(2, 5, 7)], id="a first axis that is no batch axis stays"),
        pytest.param([(), (7,), (1, 1, 1, 1, 3)], [(), (7,), (1, 1, 1, 1, 3)], id="other ranks"),
    ],
)
def test_only_a_matrix_loses_its_batch_axis(
    shapes: list[tuple[int, ...]], expected: list[tuple[int, ...]]
) -> None:
    assert delivered_shapes(shapes) == expected


def test_detections_come_in_the_order_class_score_box() -> None:
    assert is_detection(NMS)
    assert not is_detection(NMS[::-1])


def test_outputs_are_float16_in_graph_order_whatever_the_engine_gives() -> None:
    specs = (TensorSpec("b", (1, 2, 3), "float32"), TensorSpec("a", (1, 4), "int64"))
    outputs = {
        "a": np.array([[0, 1, 2, 2048]]),
        "b": np.array([[[0.1, 1e5, -1e5], [np.nan, 0, 1]]], np.float32),
    }
    first, second = deliver(outputs, specs)
    assert first.dtype == np.float16
    assert second.dtype == np.float16
    np.testing.assert_array_equal(
        first, np.array([[0.1, np.inf, -np.inf], [np.nan, 0, 1]], np.float16)
    )
    np.testing.assert_array_equal(second, [[0, 1, 2, 2048]])


def test_a_strided_output_becomes_contiguous() -> None:
    strided = np.arange(24, dtype=np.float32).reshape(1, 4, 3, 2).transpose(0, 3, 1, 2)
    (delivered,) = deliver({"y": strided}, (TensorSpec("y", (1, 2, 4, 3), "float32"),))
    assert delivered.flags.c_contiguous
    np.testing.assert_array_equal(delivered, strided)
