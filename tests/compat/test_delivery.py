"""Outputs as the device hands them out."""

from collections.abc import Sequence

import numpy as np
import pytest

from compiler.compat.delivery import deliver, delivered_shapes, is_detection
from compiler.runner.delivered import Delivered
from compiler.runner.manifest import TensorSpec

NMS = [(1, 300, 1), (1, 300, 1), (1, 300, 4)]


def specs(
    shapes: Sequence[tuple[int, ...]], *forms: Delivered | None, dtype: str = "float32"
) -> list[TensorSpec]:
    """Outputs y0, y1, … of these shapes; the first ones with these forms."""
    padded = [*forms, *[None] * (len(shapes) - len(forms))]
    return [
        TensorSpec(f"y{index}", shape, dtype, delivered=form)
        for index, (shape, form) in enumerate(zip(shapes, padded, strict=True))
    ]


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
    assert delivered_shapes(specs(shapes)) == expected


def test_a_recorded_form_wins_over_the_shape() -> None:
    row_major = Delivered("YX")
    assert delivered_shapes(specs(NMS, row_major)) == [(300, 1), *NMS[1:]]
    assert delivered_shapes(specs(NMS, *3 * [row_major])) == [(300, 1), (300, 1), (300, 4)]
    assert delivered_shapes(specs([(1, 25, 37)], Delivered())) == [(1, 25, 37)]


def test_open_sizes_stay_open() -> None:
    assert delivered_shapes(specs([(1, -1, 7), (1, 3, -1, -1)])) == [(-1, 7), (1, 3, -1, -1)]


def test_the_reader_of_crnn_finds_its_matrix_in_the_padded_one() -> None:
    output = np.random.default_rng(0).normal(size=(1, 25, 37)).astype(np.float32)
    (found,) = deliver({"y0": output}, specs([output.shape], Delivered("kept", (32, 48))))
    assert found.shape == (32, 48)
    np.testing.assert_array_equal(found.reshape(1, 32, 48)[:, :25, :37], output.astype(np.float16))
    assert np.count_nonzero(found) == np.count_nonzero(output)


def test_the_reader_of_mask2former_finds_its_classes_and_masks() -> None:
    random = np.random.default_rng(0)
    classes = random.normal(size=(1, 100, 81)).astype(np.float32)
    masks = random.normal(size=(1, 100, 256, 256)).astype(np.float32)
    found = deliver(
        {"y0": classes, "y1": masks}, specs([classes.shape, masks.shape], None, Delivered("XY"))
    )
    assert [array.shape for array in found] == [(100, 81), (65536, 100)]
    assert found[1].flags.c_contiguous
    np.testing.assert_array_equal(
        found[1].transpose(1, 0).reshape(1, -1, 256, 256), masks.astype(np.float16)
    )
    np.testing.assert_array_equal(found[0][None], classes.astype(np.float16))


def test_the_reader_of_detr_finds_matrices() -> None:
    random = np.random.default_rng(0)
    shapes = [(1, 100, 92), (1, 100, 4)]
    outputs = {f"y{i}": random.normal(size=shape) for i, shape in enumerate(shapes)}
    explicit = deliver(outputs, specs(shapes, Delivered("YX"), Delivered("YX")))
    for found, implied, output in zip(
        explicit, deliver(outputs, specs(shapes)), outputs.values(), strict=True
    ):
        np.testing.assert_array_equal(found, output[0].astype(np.float16))
        np.testing.assert_array_equal(found, implied)


def test_detections_come_in_the_order_class_score_box() -> None:
    assert is_detection(NMS)
    assert not is_detection(NMS[::-1])


def test_detections_may_bring_what_masks_are_made_from() -> None:
    assert is_detection([*NMS, (1, 300, 32), (1, 32, 160, 160)])
    for others in (
        [(1, 300, 32)],
        [(1, 300, 32), (1, 31, 160, 160)],
        [(1, 299, 32), (1, 32, 160, 160)],
        [(1, 32, 160, 160), (1, 300, 32)],
        [(1, 300, 32), (1, 32)],
    ):
        assert not is_detection([*NMS, *others])


def test_outputs_are_float16_in_graph_order_whatever_the_engine_gives() -> None:
    both = (TensorSpec("b", (1, 2, 3), "float32"), TensorSpec("a", (1, 4), "int64"))
    outputs = {
        "a": np.array([[0, 1, 2, 2048]]),
        "b": np.array([[[0.1, 1e5, -1e5], [np.nan, 0, 1]]], np.float32),
    }
    first, second = deliver(outputs, both)
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
