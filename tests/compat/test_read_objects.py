"""Detections in pixels of the original image."""

from collections.abc import Sequence

import numpy as np
import pytest

from compiler.compat.detections import Objects, read_objects
from compiler.compat.vaststreamx.containers import Tensor
from compiler.compat.vaststreamx.instance_masks import InstanceMasks
from compiler.preprocess.ops import Op, PadTo, Resize
from compiler.runner.masks import seen_window

INPUT = (64, 64)


def test_boxes_of_a_stretched_image_are_stretched_back() -> None:
    found = _read([(2, 0.9, 8, 16, 24, 64)], [Resize(size=INPUT)], (32, 128))
    assert found.classes.tolist() == [2]
    assert found.scores.tolist() == [0.9]
    assert found.boxes.tolist() == [[16, 8, 48, 32]]


def test_boxes_of_a_letterboxed_image_lose_its_borders() -> None:
    found = _read([(0, 0.5, 0, 16, 64, 48)], _letterbox(), (100, 200))
    np.testing.assert_allclose(found.boxes, [[0, 0, 200, 100]], atol=1e-9)
    beyond = _read([(0, 0.5, -4, 0, 70, 64)], _letterbox(), (100, 200))
    assert beyond.boxes[0, 1] < 0
    assert beyond.clipped((100, 200)).tolist() == [[0, 0, 200, 100]]


def test_rows_end_at_the_first_class_below_0_and_odd_ones_are_left_out() -> None:
    rows = [
        (1, 0.9, 3, 4, 1, 2),
        (0, 0.8, np.nan, 0, 1, 1),
        (3, 0.7, 0, 0, 1, 1),
        (-1, 0, 0, 0, 0, 0),
        (4, 0.6, 0, 0, 1, 1),
    ]
    found = _read(rows, [Resize(size=INPUT)], INPUT)
    assert found.classes.tolist() == [1, 3]
    assert found.boxes[0].tolist() == [1, 2, 3, 4]  # corners in order


def test_without_prototypes_there_are_no_masks() -> None:
    assert list(_read([(0, 0.9, 0, 0, 9, 9)], [Resize(size=INPUT)], INPUT).masks(INPUT)) == []


@pytest.mark.parametrize("size", [(100, 200), (90, 61), (64, 64), (33, 130), (480, 640)])
def test_masks_of_letterboxed_images_are_those_of_yolov8_seg_op(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    rows = [(0, 0.9, 4, 20, 40, 50), (1, 0.8, 10, 10, 63, 44), (-1, 0, 0, 0, 0, 0)]
    coefficients = random.normal(size=(1, 3, 5)).astype(np.float32)
    prototypes = random.normal(size=(1, 5, 16, 16)).astype(np.float32)
    outputs = [*_outputs(rows), coefficients, prototypes]
    window = seen_window(_letterbox(), (3, *INPUT), *size)
    found = list(read_objects(outputs, window, INPUT).masks(size))
    shapes = [number for one in (INPUT, (16, 16), size) for number in (*one, *one)]
    expected = InstanceMasks(*shapes, 5, 1, 3)([one[0] for one in outputs])
    assert len(found) == 2
    for mask, other in zip(found, _array(expected[3]), strict=False):
        assert mask.shape == size
        assert mask.any()
        # Box edges are rounded to float32 there, which may move a border by a pixel.
        assert (mask != other).mean() < 0.01


def test_a_mask_of_a_stretched_image_covers_its_half() -> None:
    prototypes = np.full((1, 1, 8, 8), -1, np.float32)
    prototypes[..., :4] = 1
    outputs = [*_outputs([(0, 0.9, 0, 0, 64, 64)]), np.ones((1, 1, 1), np.float32), prototypes]
    window = seen_window([Resize(size=INPUT)], (3, *INPUT), 20, 40)
    (mask,) = read_objects(outputs, window, INPUT).masks((20, 40))
    assert mask[:, :19].all()
    assert not mask[:, 21:].any()


def _letterbox() -> list[Op]:
    return [Resize(size=INPUT, adaptive_side="long"), PadTo(size=INPUT)]


def _read(rows: Sequence[Sequence[float]], ops: Sequence[Op], size: tuple[int, int]) -> Objects:
    return read_objects(_outputs(rows), seen_window(ops, (3, *INPUT), *size), INPUT)


def _outputs(rows: Sequence[Sequence[float]]) -> list[np.ndarray]:
    table = np.array(rows)[None]
    return [table[..., :1], table[..., 1:2], table[..., 2:]]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.numpy()
