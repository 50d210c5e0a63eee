"""Certainty: high for answers that tell classes apart, are sure, and survive a mirror."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.pipeline.certainty import Head, answer, certainties, find_head, information
from tests.support.models import model_from_text

LOGITS = Head("map", numbers=False, sigmoid=False)
SCORES = Head("scores", numbers=False, sigmoid=False)


def _map(classes: NDArray[np.int64], sureness: float) -> NDArray[np.float32]:
    """Two logits per pixel, shape (1, 2, H, W)."""
    signs = np.where(classes == 1, 1, -1).astype(np.float32)
    return (sureness / 2 * np.stack([-signs, signs]))[None]


def _certainty(head: Head, output: NDArray[np.float32], mirrored: NDArray[np.float32]) -> float:
    return float(certainties(head, [answer(head, output, mirrored)])[0])


HALVES = np.repeat([[0, 0, 1, 1]], 4, axis=0)


def test_a_sure_answer_that_the_mirror_repeats_is_one_bit() -> None:
    found = _certainty(LOGITS, _map(HALVES, 50), _map(HALVES[:, ::-1], 50))
    assert found == pytest.approx(1, abs=1e-6)


def test_one_class_everywhere_is_no_information_however_sure() -> None:
    same = _map(np.zeros((4, 4), np.int64), 50)
    assert _certainty(LOGITS, same, same) == pytest.approx(0, abs=1e-6)


def test_an_answer_that_the_mirror_contradicts_is_no_information() -> None:
    rows = HALVES.T  # independent of the columns
    assert _certainty(LOGITS, _map(HALVES, 50), _map(rows, 50)) == pytest.approx(0, abs=1e-6)


def test_vague_probabilities_carry_less_than_sure_ones() -> None:
    vague = _certainty(LOGITS, _map(HALVES, 2), _map(HALVES[:, ::-1], 2))
    sure = _certainty(LOGITS, _map(HALVES, 8), _map(HALVES[:, ::-1], 8))
    assert 0.1 < vague < 0.5 < sure


def test_one_logit_and_its_probability_are_as_certain_as_two_classes() -> None:
    one = _map(HALVES, 3)[:, 1:] * 2  # sigmoid(2 x) = softmax((-x, x))
    mirrored = one[..., ::-1]
    expected = _certainty(LOGITS, _map(HALVES, 3), _map(HALVES, 3)[..., ::-1])
    assert _certainty(LOGITS, one, mirrored) == pytest.approx(expected, rel=1e-5)
    probability = Head("map", numbers=False, sigmoid=True)
    chances = (1 / (1 + np.exp(-one))).astype(np.float32)
    assert _certainty(probability, chances, chances[..., ::-1]) == pytest.approx(expected, rel=1e-5)


def test_probabilities_of_classes_are_not_made_probabilities_again() -> None:
    logits = _map(HALVES, 3)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = _certainty(LOGITS, logits, logits[..., ::-1])
    assert _certainty(LOGITS, chances, chances[..., ::-1]) == pytest.approx(expected, rel=1e-5)


def test_class_numbers_are_sure_of_themselves() -> None:
    numbers = (HALVES * 7)[None, None]
    head = Head("map", numbers=True, sigmoid=False)
    found = certainties(head, [answer(head, numbers, numbers[..., ::-1])])
    assert found.tolist() == pytest.approx([1])


def test_values_that_are_not_finite_are_no_information() -> None:
    broken = np.full((1, 2, 4, 4), np.inf, np.float32)
    assert _certainty(LOGITS, broken, broken) == 0


def test_scores_of_images_count_as_far_as_images_are_told_apart() -> None:
    first, second = (np.array([row], np.float32) for row in ([9, -9], [-9, 9]))
    apart = certainties(SCORES, [answer(SCORES, one, one) for one in (first, second)])
    alike = certainties(SCORES, [answer(SCORES, first, first) for _ in range(2)])
    assert apart == pytest.approx([1, 1], abs=1e-6)
    assert alike == pytest.approx([0, 0], abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=9, max_size=9).filter(lambda one: sum(one) > 0.1))
def test_information_is_between_nothing_and_that_of_the_classes(values: list[float]) -> None:
    found = information(np.reshape(values, (3, 3)))
    assert 0 <= found <= np.log2(3) + 1e-9


@pytest.mark.parametrize(
    ("shape", "node", "expected"),
    [
        ("float[1, 3, 8, 8]", "Relu(x)", LOGITS),
        ("float[1, 3, 8, 8]", "Sigmoid(x)", Head("map", numbers=False, sigmoid=True)),
        ("int64[1, 1, 8, 8]", "ArgMax<axis = 1>(x)", Head("map", numbers=True, sigmoid=False)),
        ("float[1, 3, 1, 1]", "GlobalAveragePool(x)", SCORES),
        ("float[1, 192]", "Flatten(x)", SCORES),
        ("float[1, 3, 64]", "Reshape(x, s)", None),
    ],
)
def test_the_head_is_read_from_shape_and_last_operator(
    shape: str, node: str, expected: Head | None
) -> None:
    model = model_from_text(
        f"""<ir_version: 9, opset_import: ["" : 17]>
        g (float[1, 3, 8, 8] x) => ({shape} y) <int64[3] s = {{1, 3, 64}}> {{ y = {node} }}"""
    )
    assert find_head(gs.import_onnx(model)) == expected
