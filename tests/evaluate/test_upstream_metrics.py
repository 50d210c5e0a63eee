"""Every case of the document of the published scripts, and plain-loop references of them."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix

from compiler.errors import CalibrationError
from compiler.evaluate.definitions import METRICS, new_metric
from compiler.evaluate.metric import Metric, Vector
from compiler.evaluate.settings import Settings
from compiler.runner.manifest import Postprocessing
from tests.support.masks import one_hot, plane, save_grey, save_palette

ARGMAX = Postprocessing("argmax")
LOGIT = Postprocessing("binary", 0.0)
PROBABILITY = Postprocessing("binary", 0.5)
RULES = {"argmax": ARGMAX, "logit": LOGIT, "probability": PROBABILITY, "soft": PROBABILITY}
POINT = 100


def metric_of(name: str, classes: int | None = None, rule: Postprocessing | None = None) -> Metric:
    return new_metric(name, Settings(rule or RULES.get(METRICS[name].reads, ARGMAX), classes))


def over(metric: Metric, *images: tuple[NDArray[Any], Path]) -> dict[str, float]:
    return metric.values(np.stack([metric.statistics(output, mask) for output, mask in images]))


def approx(value: float, tolerance: float = 1e-6) -> Any:  # Any: pytest's own
    return pytest.approx(POINT * value, abs=POINT * tolerance)


# M1 -------------------------------------------------------------------------------------------

M1_PREDICTED, M1_TRUTH = [[0, 1], [1, 2]], [[0, 1], [2, 255]]


@pytest.mark.parametrize("name", ["m1", "mean_iou"])
def test_voc_sums_ignore_255_and_count_the_background(name: str, tmp_path: Path) -> None:
    mask = save_palette(tmp_path / "a.png", M1_TRUTH)
    metric = metric_of(name, 3)
    first = one_hot(M1_PREDICTED, 3), mask
    figures = over(metric, first)
    assert figures["mean_iou"] == approx(0.5)
    assert figures["pixel_accuracy"] == approx(2 / 3)
    second = one_hot([[0, 0], [0, 0]], 3), save_palette(tmp_path / "b.png", [[0, 0], [0, 1]])
    figures = over(metric, first, second)
    assert figures["mean_iou"] == approx(0.377778)
    assert figures["pixel_accuracy"] == approx(5 / 7)
    sums = metric.total(metric.statistics(*first)[None] + metric.statistics(*second))
    assert metric.per_class is not None
    np.testing.assert_allclose(metric.per_class(sums)["iou"], [80, 100 / 3, 0], rtol=1e-12)


def test_the_voc_script_cuts_logits_to_whole_numbers_for_its_accuracy(tmp_path: Path) -> None:
    mask = save_palette(tmp_path / "a.png", M1_TRUTH)
    small = one_hot(M1_PREDICTED, 3, height=0.6), mask
    assert over(metric_of("m1", 3), small)["pixel_accuracy"] == approx(1 / 3)
    assert over(metric_of("m1", 3), small)["mean_iou"] == approx(0.5)
    assert over(metric_of("mean_iou", 3), small)["pixel_accuracy"] == approx(2 / 3)
    one = np.array([-0.2, 0.9, -1.7], np.float32).reshape(1, 3, 1, 1)
    pixel = one, save_palette(tmp_path / "p.png", [[1]])
    assert over(metric_of("m1", 3), pixel)["pixel_accuracy"] == 0
    assert over(metric_of("mean_iou", 3), pixel)["pixel_accuracy"] == POINT


def test_the_voc_script_counts_an_absent_class_as_0(tmp_path: Path) -> None:
    image = one_hot(M1_PREDICTED, 4), save_palette(tmp_path / "a.png", M1_TRUTH)
    assert over(metric_of("m1", 4), image)["mean_iou"] == approx(0.375)
    assert over(metric_of("mean_iou", 4), image)["mean_iou"] == approx(0.5)


def test_the_voc_script_loses_pixels_above_2_to_the_24(tmp_path: Path) -> None:
    metric = metric_of("m1", 2)
    units = np.zeros((2, 6))
    units[:, 0] = units[:, 2] = [2**24, 1]  # intersection and union of class 0
    units[1, 2] = 3
    assert metric.total(units)[0] == 2**24
    assert metric.total(units)[2] == 2**24 + 4  # rounded from 2^24 + 3 to an even number


def test_the_voc_script_blends_grey_masks(tmp_path: Path) -> None:
    values = np.zeros((8, 8), np.uint8)
    values[:, 4:] = 20
    image = one_hot(values[::2, ::2], 21), save_grey(tmp_path / "a.png", values)
    assert over(metric_of("mean_iou", 21), image)["mean_iou"] == POINT
    assert over(metric_of("m1"), image)["mean_iou"] < 20
    image = one_hot(values[::2, ::2], 21), save_palette(tmp_path / "b.png", values)
    assert over(metric_of("m1"), image)["mean_iou"] == approx(2 / 21)


def test_an_output_is_brought_to_the_size_that_is_asked_for(tmp_path: Path) -> None:
    coarse = [[0, 0, 1, 1], [0, 0, 1, 1]]
    mask = save_palette(tmp_path / "a.png", np.kron(coarse, np.ones((4, 4), int)))
    for name in ("m1", "mean_iou"):
        metric = new_metric(name, Settings(ARGMAX, 2, size=(8, 16)))
        assert metric.predict(one_hot(coarse, 2)).shape[-2:] == (8, 16)
        assert over(metric, (one_hot(coarse, 2), mask))["mean_iou"] == POINT
    numbers = new_metric("mean_iou", Settings(Postprocessing("classes"), 2, size=(8, 16)))
    assert over(numbers, (plane(coarse), mask))["mean_iou"] == POINT


def test_logits_between_two_pixels_are_interpolated_without_aligned_corners() -> None:
    heat = plane([[0.0, 4.0]])
    metric = new_metric("mean_iou", Settings(Postprocessing("binary", 0.9), 2, size=(1, 4)))
    assert metric.predict(heat).tolist() == [[0, 1, 1, 1]]  # of 0, 1, 3, 4


# M2 -------------------------------------------------------------------------------------------


def test_cityscapes_labels_become_19_classes(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "a.png", [[7, 8], [11, 0]])
    image = (one_hot([[0, 1], [1, 2]], 19), mask)
    upstream, correct = over(metric_of("m2"), image), over(metric_of("cityscapes"), image)
    assert upstream["pixel_accuracy"] == correct["pixel_accuracy"] == approx(0.666667)
    assert upstream["mean_iou"] == approx(0.0789474)
    assert upstream["mean_accuracy"] == approx(0.1052632)
    assert correct["mean_iou"] == approx(0.5)


def test_all_34_label_ids_are_mapped(tmp_path: Path) -> None:
    metric = metric_of("cityscapes")
    expected = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255]
    expected += [*range(6, 16), 255, 255, 16, 17, 18]
    mask = save_grey(tmp_path / "a.png", [range(34)])
    assert metric.truth(mask, (1, 34)).tolist() == [expected]


# M3 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("name", ["m3", "face_parsing"])
def test_face_parsing_figures(name: str, classes: int, tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "a.png", [[0, 1], [2, 1]])
    metric = metric_of(name, classes)
    image = one_hot([[0, 1], [1, 1]], classes), mask
    figures = over(metric, image)
    assert figures["pixel_accuracy"] == approx(0.75)
    assert figures["mean_accuracy"] == approx(0.666667)
    assert figures["frequency_weighted_iou"] == approx(0.583333)
    assert figures["mean_iou"] == approx(0.555556)
    if name == "m3":
        assert math.isnan(figures["f1"])
    else:
        assert figures["f1"] == approx((1 + 0.8 + 0) / 3)
    assert metric.per_class is not None
    iou = metric.per_class(metric.statistics(*image))["iou"]
    np.testing.assert_allclose(iou[:3], [100, 200 / 3, 0], rtol=1e-12)


def test_the_face_parsing_script_drops_unknown_values(tmp_path: Path) -> None:
    image = one_hot([[0, 1]], 19), save_grey(tmp_path / "a.png", [[0, 77]])
    assert over(metric_of("m3"), image)["mean_iou"] == POINT
    with pytest.raises(CalibrationError, match=r"a\.png: value 77 of the mask is not a class"):
        over(metric_of("face_parsing"), image)


# M4 -------------------------------------------------------------------------------------------

CARVANA = one_hot([[1, 0], [0, 0]], 2)


@pytest.mark.parametrize("name", ["m4", "carvana"])
def test_carvana_figures(name: str, tmp_path: Path) -> None:
    mask = save_palette(tmp_path / "a.gif", [[1, 1], [0, 0]], [0, 0, 0, 255, 255, 255])
    metric = metric_of(name)
    figures = over(metric, (CARVANA, mask))
    assert figures["pixel_accuracy"] == figures["mean_accuracy"] == approx(0.75)
    assert figures["frequency_weighted_iou"] == approx(0.583333)
    assert figures["mean_iou"] == approx(0.583333)
    assert metric.per_class is not None
    classes = metric.per_class(metric.statistics(CARVANA, mask))
    np.testing.assert_allclose(classes["iou"], [200 / 3, 50], rtol=1e-12)
    assert classes["f1"][1] == approx(0.666667)
    assert metric.confusion is not None
    assert metric.confusion(*metric.maps(CARVANA, mask)).tolist() == [[2, 0], [1, 1]]


def test_the_carvana_script_loses_the_foreground_of_masks_with_255(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "a.png", [[255, 255], [0, 0]])
    upstream = over(metric_of("m4"), (CARVANA, mask))
    assert [upstream[name] for name in ("pixel_accuracy", "mean_accuracy", "mean_iou")] == [100] * 3
    assert upstream["frequency_weighted_iou"] == 100
    assert over(metric_of("carvana"), (CARVANA, mask))["mean_iou"] == approx(0.583333)


def test_a_carvana_file_of_one_bit_is_read_whatever_its_format(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[255, 255], [0, 0]], np.uint8)).convert("1")
    for name in ("a.gif", "a.png"):
        image.save(tmp_path / name)
        figures = over(metric_of("carvana"), (CARVANA, tmp_path / name))
        assert figures["mean_iou"] == approx(0.583333)


@pytest.mark.parametrize("name", ["m4", "carvana"])
def test_an_empty_carvana_image_is_all_background(name: str, tmp_path: Path) -> None:
    image = one_hot([[0, 0]], 2), save_grey(tmp_path / "a.png", [[0, 0]])
    assert over(metric_of(name), image)["mean_iou"] == POINT


def test_milesial_dice_is_a_mean_of_images(tmp_path: Path) -> None:
    metric = metric_of("m4b")
    mask = save_grey(tmp_path / "a.png", [[255, 255], [0, 0]])
    three = save_grey(tmp_path / "c.png", [[255, 255], [255, 0]])
    first, perfect = (CARVANA, mask), (one_hot([[1, 1], [1, 0]], 2), three)
    assert over(metric, first)["dice"] == approx(0.666667)
    assert over(metric, first, perfect)["dice"] == approx(0.833333)
    corrected = over(metric_of("dice", rule=ARGMAX), first, perfect)
    assert corrected["dice"] == approx(0.833333)
    assert corrected["pooled_dice"] == approx(0.888889)  # 2 (1 + 3) / (1 + 2 + 3 + 3)
    empty = one_hot([[0]], 2), save_grey(tmp_path / "b.png", [[0]])
    assert over(metric, empty)["dice"] == POINT
    assert math.isnan(over(metric_of("dice", rule=ARGMAX), empty)["dice"])


# M5 -------------------------------------------------------------------------------------------


def test_the_membrane_script_takes_every_grey_for_foreground(tmp_path: Path) -> None:
    image = plane([[0.2, 0.6], [0.4, 0.9]]), save_grey(tmp_path / "a.png", [[0, 3], [200, 255]])
    for name, iou in (("m5", [50, 200 / 3]), ("membrane", [100 / 3, 100 / 3])):
        metric = metric_of(name, rule=PROBABILITY)
        assert over(metric, image)["mean_iou"] == pytest.approx(np.mean(iou), rel=1e-12)
        assert metric.per_class is not None
        np.testing.assert_allclose(metric.per_class(metric.statistics(*image))["iou"], iou)


def test_the_membrane_script_takes_a_half_for_foreground(tmp_path: Path) -> None:
    image = plane([[0.5]]), save_grey(tmp_path / "a.png", [[255]])
    assert over(metric_of("m5"), image)["mean_iou"] == POINT


# M6 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m6", "foreground_iou"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_portrait_foreground_iou(name: str, dtype: type[np.floating[Any]], tmp_path: Path) -> None:
    metric = metric_of(name, rule=LOGIT)
    mask = save_grey(tmp_path / "a.png", [[0, 124], [125, 255]])
    image = plane([[-1, 2], [0, 3]]).astype(dtype), mask
    assert over(metric, image)["foreground_iou"] == approx(1 / 3)


@pytest.mark.parametrize("name", ["m6", "foreground_iou"])
def test_portrait_ious_are_averaged_not_pooled(name: str, tmp_path: Path) -> None:
    half = plane([[1, -1], [-1, -1]]), save_grey(tmp_path / "a.png", [[255, 255], [0, 0]])
    whole = plane([[1, 1], [1, 1]]), save_grey(tmp_path / "b.png", [[255, 255], [255, 255]])
    figures = over(metric_of(name, rule=LOGIT), half, whole)
    assert figures["foreground_iou"] == approx(0.75)
    if name == "foreground_iou":
        assert figures["pooled_foreground_iou"] == approx(0.833333)


def test_an_image_without_foreground_spoils_the_script_and_is_left_out_here(tmp_path: Path) -> None:
    half = plane([[1, -1]]), save_grey(tmp_path / "a.png", [[255, 255]])
    empty = plane([[-1, -1]]), save_grey(tmp_path / "b.png", [[0, 0]])
    for name, rule in (("m6", LOGIT), ("m7", PROBABILITY)):
        assert math.isnan(over(metric_of(name, rule=rule), half, empty)["foreground_iou"])
    metric = metric_of("foreground_iou", rule=LOGIT)
    assert over(metric, half, empty)["foreground_iou"] == approx(0.5)
    use = metric.use(np.stack([metric.statistics(*image) for image in (half, empty)]))
    assert (use.used, use.left_out, use.undefined) == (1, 1, 0)
    upstream = metric_of("m6")
    use = upstream.use(np.stack([upstream.statistics(*image) for image in (half, empty)]))
    assert (use.used, use.left_out, use.undefined) == (2, 0, 1)


def test_the_portrait_script_takes_a_sigmoid_of_exactly_a_half_for_background(
    tmp_path: Path,
) -> None:
    # In float32 the sigmoid of 1e-8 is 0.5: the script sees no foreground, the sign does.
    image = plane([[1e-8, 1.0]]), save_grey(tmp_path / "a.png", [[255, 255]])
    assert over(metric_of("m6"), image)["foreground_iou"] == approx(0.5)
    assert over(metric_of("foreground_iou", rule=LOGIT), image)["foreground_iou"] == POINT


# M7 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m7", "foreground_iou"])
def test_nuclei_iou_and_dice(name: str, tmp_path: Path) -> None:
    truth, predicted = np.zeros((96, 96)), np.zeros((96, 96))
    truth[:48], predicted[24:48] = 255, 0.9
    figures = over(
        metric_of(name, rule=PROBABILITY), (plane(predicted), save_grey(tmp_path / "a.png", truth))
    )
    assert figures["foreground_iou"] == approx(0.5)
    assert figures["dice"] == approx(0.666667)


def test_a_square_of_a_nuclei_mask_shrinks_to_48_pixels(tmp_path: Path) -> None:
    truth = np.zeros((256, 256))
    truth[64:192, 64:192] = 255
    mask = save_grey(tmp_path / "a.png", truth)
    assert metric_of("m7").truth(mask, (96, 96)).sum() == 2304


def test_the_nuclei_script_takes_a_half_for_foreground(tmp_path: Path) -> None:
    image = plane([[0.5, 0.4]]), save_grey(tmp_path / "a.png", [[255, 0]])
    assert over(metric_of("m7"), image)["foreground_iou"] == POINT


# M8 -------------------------------------------------------------------------------------------


def test_person_iou_is_the_mean_of_two_classes(tmp_path: Path) -> None:
    image = CARVANA, save_grey(tmp_path / "a.png", [[255, 255], [0, 0]])
    upstream, correct = over(metric_of("m8"), image), over(metric_of("person"), image)
    assert upstream["mean_iou"] == approx(0.5833331, 1e-7)
    assert correct["mean_iou"] == approx(0.583333)
    assert correct["background_iou"] == approx(2 / 3)
    assert correct["foreground_iou"] == approx(0.5)


def test_a_perfect_empty_image_is_half_wrong_to_the_person_script(tmp_path: Path) -> None:
    image = one_hot([[0, 0], [0, 0]], 2), save_grey(tmp_path / "a.png", [[0, 0], [0, 0]])
    assert over(metric_of("m8"), image)["mean_iou"] == approx(0.4999999, 1e-7)
    assert over(metric_of("person"), image)["mean_iou"] == POINT


def test_the_person_script_widens_the_masks(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "a.png", [[0, 0, 255, 255]])
    assert metric_of("m8").truth(mask, (1, 8)).sum() == 5
    assert metric_of("person").truth(mask, (1, 8)).sum() == 4


# M9 -------------------------------------------------------------------------------------------


def test_matte_errors(tmp_path: Path) -> None:
    truth = np.zeros((8, 8))
    truth[:, 4:] = 255
    predicted = truth / 255
    predicted[:, 4] = 128.5 / 255
    figures = over(metric_of("m9"), (plane(predicted), save_grey(tmp_path / "a.png", truth)))
    assert figures["mse"] == pytest.approx(0.0310054, abs=5e-8)
    assert figures["mad"] == pytest.approx(0.0622549, abs=5e-8)
    assert figures["grad"] == pytest.approx(0.00980938, abs=5e-8)
    assert figures["conn"] == pytest.approx(0.004, abs=1e-8)
    assert figures["mean_iou"] == POINT


@pytest.mark.parametrize(("value", "level"), [(0.999, 254), (0.5, 127), (1.0, 255)])
def test_the_matting_script_cuts_to_8_bits(value: float, level: int) -> None:
    assert metric_of("m9").predict(plane([[value]])).tolist() == [[level]]
    exact = metric_of("matting", rule=PROBABILITY).predict(plane([[value]]))
    assert exact[0, 0] == pytest.approx(255 * value, rel=1e-6)


def test_a_perfect_matte_has_no_error(tmp_path: Path) -> None:
    truth = np.arange(64).reshape(8, 8) * 4
    image = plane(truth / 255), save_grey(tmp_path / "a.png", truth)
    figures = over(metric_of("matting", rule=PROBABILITY), image)
    errors = [figures[name] for name in ("mse", "mad", "grad", "conn")]
    np.testing.assert_allclose(errors, 0, atol=1e-6)
    assert figures["mean_iou"] == POINT


def test_a_constant_matte_has_no_gradient(tmp_path: Path) -> None:
    image = plane(np.full((8, 8), 0.3)), save_grey(tmp_path / "a.png", np.full((8, 8), 200))
    figures = over(metric_of("m9"), image)
    assert figures["grad"] == 0
    assert figures["mad"] == pytest.approx((200 - 76) / 255, rel=1e-12)


def test_a_matte_from_logits_is_their_sigmoid(tmp_path: Path) -> None:
    predicted = metric_of("matting", rule=LOGIT).predict(plane([[0.0, 100.0, -100.0]]))
    np.testing.assert_allclose(predicted, [[127.5, 255, 0]], atol=1e-5)


def test_conn_counts_only_the_largest_common_region() -> None:
    metric = metric_of("m9")
    truth = np.zeros((5, 9), np.uint8)
    truth[1:4, 1:4] = 255
    truth[2, 6:8] = 255  # a second region, which both have, is connected to neither
    assert metric.figures(metric.compare(truth, truth))["conn"] == 0
    grey = np.where(truth == 255, 0, truth).astype(np.uint8)
    grey[1:4, 1:4] = 255
    assert metric.figures(metric.compare(grey, truth))["conn"] == pytest.approx(2 / 1000)


# M12 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m12", "soft_dice"])
def test_soft_dice_is_pooled_over_a_batch_of_two(name: str, tmp_path: Path) -> None:
    metric = metric_of(name)
    a = plane([[0.9, 0.2]]), save_grey(tmp_path / "a.png", [[255, 0]])
    b = plane([[0.0, 0.6]]), save_grey(tmp_path / "b.png", [[0, 255]])
    assert over(metric, a, b)["soft_dice"] == approx(0.8108113, 1e-7)
    perfect = plane([[1.0, 0.0]]), a[1]
    two = over(metric, a, b, perfect, perfect)["soft_dice"]
    assert two == approx((0.8108113 + 1) / 2, 1e-7)


def test_the_soft_dice_script_drops_an_odd_last_image(tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "a.png", [[255, 0]])
    perfect, wrong = (plane([[1.0, 0.0]]), mask), (plane([[0.0, 1.0]]), mask)
    images = perfect, perfect, wrong
    metric = metric_of("m12")
    assert over(metric, *images)["soft_dice"] == POINT
    table = np.stack([metric.statistics(*image) for image in images])
    assert (metric.use(table).used, metric.use(table).left_out) == (2, 1)
    assert math.isnan(over(metric, wrong)["soft_dice"])
    assert over(metric_of("soft_dice"), *images)["soft_dice"] == approx(2 / 3, 1e-5)


def test_the_soft_dice_script_takes_a_logit_of_0_for_certain_background() -> None:
    logits = plane([[0.0, 2.0, -2.0]])
    rest = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
    np.testing.assert_allclose(
        metric_of("m12", rule=LOGIT).predict(logits), [[0, *rest]], rtol=1e-6
    )
    np.testing.assert_allclose(
        metric_of("soft_dice", rule=LOGIT).predict(logits), [[0.5, *rest]], rtol=1e-6
    )
    with pytest.raises(ValueError, match="one channel of logits or probabilities"):
        metric_of("soft_dice", rule=Postprocessing("classes")).predict(logits)


# The table ------------------------------------------------------------------------------------


def test_every_script_names_its_users_its_fault_and_what_corrects_it() -> None:
    scripts = {name: row for name, row in METRICS.items() if row.fault}
    assert list(scripts) == ["m1", "m2", "m3", "m4", "m4b", "m5", "m6", "m7", "m8", "m9", "m12"]
    for name, row in scripts.items():
        assert row.users
        assert row.id.lower() == name
        assert row.reads != "bundle's rule"
        assert not METRICS[row.corrected].fault
    for row in METRICS.values():
        assert not row.labels or len(row.labels) == row.classes
        assert bool(row.fault) == bool(row.corrected) == bool(row.users)


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_compares_by_a_figure_that_it_has(name: str, tmp_path: Path) -> None:
    row = METRICS[name]
    classes = row.classes or 3
    argmax = row.reads == "argmax" or row.reads == "bundle's rule"
    output = one_hot([[0, 1], [1, 1]], classes) if argmax else plane([[0.1, 0.9], [0.8, 0.7]])
    metric = new_metric(name, Settings(RULES.get(row.reads, ARGMAX), classes))
    mask = save_grey(tmp_path / "a.png", [[7, 8], [8, 8]] if row.id == "M2" else [[0, 1], [1, 1]])
    figures = over(metric, (output, mask), (output, mask))
    assert metric.name == name
    assert metric.figure in figures
    assert metric.lower_is_better == (row.id == "M9")
    table = np.stack([metric.statistics(output, mask)] * 6).reshape(3, 2, -1)
    many = metric.figures(np.stack([metric.total(metric.units(pair)) for pair in table]))
    assert all(values.shape == (3,) for values in many.values())
    three = np.repeat(metric.statistics(output, mask)[None], 3, axis=0)
    if metric.per_class is not None:
        assert all(len(values) == 3 for values in metric.per_class(three).values())
    if metric.confusion is not None:
        matrix = metric.confusion(*metric.maps(output, mask))
        assert matrix.shape == (classes, classes)
        assert matrix.sum() == 4


@pytest.mark.parametrize(
    ("name", "rule", "says"),
    [
        ("m6", LOGIT, ""),
        ("m6", PROBABILITY, "it reads logit outputs; this network's are probability"),
        ("m5", LOGIT, "it reads probability outputs; this network's are logit"),
        ("m1", ARGMAX, ""),
        ("m1", LOGIT, "it reads argmax outputs; this network's are logit"),
        ("m12", LOGIT, ""),
        ("matting", ARGMAX, "it reads logit or probability outputs; this network's are argmax"),
        ("foreground_iou", ARGMAX, ""),
        ("mean_iou", Postprocessing("classes"), ""),
        ("m8", Postprocessing("classes"), "it reads argmax outputs; this network's are classes"),
    ],
)
def test_a_network_that_a_metric_cannot_read_is_told(
    name: str, rule: Postprocessing, says: str
) -> None:
    assert METRICS[name].unsuited(rule) == says


def test_a_name_that_is_no_metric_is_refused_with_the_names_that_are() -> None:
    with pytest.raises(ValueError, match="no metric 'iou'; there are mean_iou, pixel_accuracy"):
        new_metric("iou", Settings(ARGMAX))


def test_the_number_of_classes_has_to_be_given() -> None:
    with pytest.raises(ValueError, match="needs the number of classes"):
        new_metric("mean_iou", Settings(ARGMAX))


@pytest.mark.parametrize("name", ["m1", "m6"])
def test_an_output_of_another_shape_is_refused(name: str, tmp_path: Path) -> None:
    mask = save_grey(tmp_path / "a.png", [[0]])
    with pytest.raises(ValueError, match=r"output of shape \[1, 5, 1, 1\]; expected"):
        metric_of(name).statistics(np.zeros((1, 5, 1, 1), np.float32), mask)


# Independent computations ---------------------------------------------------------------------

CLASSES = 4
MAPS = arrays(np.uint8, (3, 2, 4, 5), elements=st.integers(0, CLASSES - 1))


def table_of(metric: Metric, maps: NDArray[np.uint8], classes: int) -> Vector:
    return np.stack(
        [metric.compare(metric.predict(one_hot(predicted, classes)), truth.astype(np.int64))
         for predicted, truth in maps]
    )  # fmt: skip


@settings(deadline=None)
@given(MAPS)
def test_m1_agrees_with_the_matrix_of_scikit_learn(maps: NDArray[np.uint8]) -> None:
    matrix = confusion_matrix(maps[:, 1].ravel(), maps[:, 0].ravel(), labels=range(CLASSES))
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    iou = np.divide(np.diag(matrix), union, out=np.full(CLASSES, np.nan), where=union > 0)
    for name, mean in (("m1", np.nan_to_num(iou).mean()), ("mean_iou", np.nanmean(iou))):
        metric = metric_of(name, CLASSES)
        figures = metric.values(table_of(metric, maps, CLASSES))
        assert figures["mean_iou"] == pytest.approx(100 * mean, rel=1e-12)
        accuracy = 100 * np.trace(matrix) / matrix.sum()
        assert figures["pixel_accuracy"] == pytest.approx(accuracy, rel=1e-12)


@settings(deadline=None)
@given(MAPS)
def test_m4_agrees_with_the_matrix_of_scikit_learn(maps: NDArray[np.uint8]) -> None:
    maps = maps % 2
    matrix = confusion_matrix(maps[:, 1].ravel(), maps[:, 0].ravel(), labels=[0, 1])
    rows, columns, hits = matrix.sum(1), matrix.sum(0), np.diag(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, accuracy = hits / (rows + columns - hits), hits / rows
        weighted = np.nansum(rows / rows.sum() * iou)
    for name in ("m4", "carvana"):
        metric = metric_of(name)
        table = table_of(metric, maps, 2)
        figures = metric.values(table)
        assert figures["mean_iou"] == pytest.approx(100 * np.nanmean(iou), rel=1e-12)
        assert figures["mean_accuracy"] == pytest.approx(100 * np.nanmean(accuracy), rel=1e-12)
        assert figures["frequency_weighted_iou"] == pytest.approx(100 * weighted, rel=1e-12)
        assert metric.confusion is not None
        pixels = [
            metric.confusion(metric.predict(one_hot(predicted, 2)), truth.astype(np.int64))
            for predicted, truth in maps
        ]
        assert np.array_equal(sum(pixels), matrix)


@settings(deadline=None)
@given(arrays(np.float32, (3, 4, 5), elements=st.floats(-3, 3, width=32)), MAPS)
def test_m6_agrees_with_a_loop_over_pixels(
    logits: NDArray[np.float32], maps: NDArray[np.uint8]
) -> None:
    ratios = []
    for heat, truth in zip(logits, maps[:, 1], strict=True):
        inter = union = 0
        for value, label in zip(heat.ravel(), truth.ravel(), strict=True):
            inside, expected = bool(np.float32(1) / (1 + np.exp(-value)) > 0.5), label > 1
            inter += inside and expected
            union += inside or expected
        ratios.append(inter / union if union else math.nan)
    truths = maps[:, 1] > 1
    metric, correct = metric_of("m6"), metric_of("foreground_iou", rule=LOGIT)
    for one, mean in ((metric, np.mean(ratios)), (correct, _mean_of_defined(ratios))):
        table = np.stack(
            [one.compare(metric.predict(plane(heat)), truth)
             for heat, truth in zip(logits, truths, strict=True)]
        )  # fmt: skip
        expected = pytest.approx(100 * mean, rel=1e-12, nan_ok=True)
        assert one.values(table)["foreground_iou"] == expected


def _mean_of_defined(ratios: list[float]) -> float:
    known = [ratio for ratio in ratios if not math.isnan(ratio)]
    return sum(known) / len(known) if known else math.nan


@settings(deadline=None, max_examples=25)
@given(arrays(np.uint8, (2, 6, 7)))
def test_the_errors_of_a_matte_agree_with_loops(mattes: NDArray[np.uint8]) -> None:
    metric = metric_of("m9")
    figures = metric.figures(metric.compare(*mattes))
    p, t = mattes.astype(float) / 255
    pixels = [(p[i, j], t[i, j]) for i in range(6) for j in range(7)]
    assert figures["mse"] == pytest.approx(sum((a - b) ** 2 for a, b in pixels) / 42, rel=1e-9)
    assert figures["mad"] == pytest.approx(sum(abs(a - b) for a, b in pixels) / 42, rel=1e-9)
    grad = sum((_slope(p, i, j) - _slope(t, i, j)) ** 2 for i in range(6) for j in range(7))
    assert figures["grad"] == pytest.approx(grad / 1000, rel=1e-5, abs=1e-9)


def _slope(matte: ArrayLike, row: int, column: int, sigma: float = 1.4, half: int = 4) -> float:
    """Magnitude of the gaussian derivative at a pixel, the border replicated."""
    values = np.asarray(matte, float)
    low, high = values.min(), values.max()
    values = (values - low) / (high - low) if high > low else 0 * values
    offsets = [(i, j) for i in range(-half, half + 1) for j in range(-half, half + 1)]
    weights = [-j * math.exp(-(i * i + j * j) / (2 * sigma**2)) for i, j in offsets]
    norm = math.sqrt(sum(weight**2 for weight in weights))
    sums = [0.0, 0.0]
    for (i, j), weight in zip(offsets, weights, strict=True):
        for axis, (y, x) in enumerate(((i, j), (j, i))):
            at = (
                min(max(row + y, 0), values.shape[0] - 1),
                min(max(column + x, 0), values.shape[1] - 1),
            )
            sums[axis] += weight / norm * values[at]
    return math.hypot(*sums)


@settings(deadline=None)
@given(MAPS)
def test_the_portrait_masks_are_resized_as_opencv_does(maps: NDArray[np.uint8]) -> None:
    from compiler.evaluate.masks import as_foreground

    grey = maps[0, 0] * 85
    expected = cv2.resize(grey, (7, 3), interpolation=cv2.INTER_LINEAR) >= 125
    image = Image.fromarray(
        np.where(grey == grey.max(), np.maximum(grey, 2), grey).astype(np.uint8)
    )
    assert np.array_equal(as_foreground(image, (3, 7)), expected)
