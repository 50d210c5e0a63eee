"""The figures that the shared networks are known by, and what the scripts would have printed."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix

from compiler.evaluate.definitions import new_metric
from compiler.evaluate.intervals import difference_intervals
from compiler.evaluate.metric import Metric
from compiler.evaluate.pairs import Pair, note_sizes, pair_masks
from compiler.evaluate.settings import Settings
from compiler.runner.manifest import Postprocessing

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no shared networks and images"),
]

LOGIT = Postprocessing("binary", 0.0)
ARGMAX = Postprocessing("argmax")


@cache
def outputs_of(network: str, data: str) -> Mapping[Pair, NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(SHARED / "models" / f"{network}.onnx")
    height, width = session.get_inputs()[0].shape[2:]
    folder = SHARED / "data" / data / "test"
    found = {}
    for pair in pair_masks(folder / "images", folder / "masks"):
        image = prepared(pair.image, height, width)
        if data == "camvid":
            image = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        feeds = {session.get_inputs()[0].name: image.transpose(2, 0, 1)[None].astype(np.float32)}
        found[pair] = session.run(None, feeds)[0]
    return found


def prepared(path: Path, height: int, width: int) -> NDArray[np.float64]:
    import cv2

    image = np.asarray(Image.open(path).convert("RGB"))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) / np.float64(255)


def table_of(metric: Metric, outputs: Mapping[Pair, NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.stack([metric.statistics(output, pair.mask) for pair, output in outputs.items()])


def test_persons_have_the_published_foreground_iou() -> None:
    outputs = outputs_of("unet3p_human_128", "human")
    metric = new_metric("foreground_iou", Settings(LOGIT))
    figures = metric.values(table_of(metric, outputs))
    assert figures["foreground_iou"] == pytest.approx(76.241, abs=5e-4)
    script = new_metric("m6", Settings(LOGIT))
    assert script.values(table_of(script, outputs)) == {
        "foreground_iou": pytest.approx(figures["foreground_iou"], rel=1e-12)
    }
    assert "of 40 masks have another size" in note_sizes(list(outputs))[0]


def test_street_scenes_have_the_published_mean_iou() -> None:
    outputs = outputs_of("unet_camvid_192x256", "camvid")
    metric = new_metric("mean_iou", Settings(ARGMAX, 11, 11))
    table = table_of(metric, outputs)
    figures = metric.values(table)
    assert figures["mean_iou"] == pytest.approx(50.466, abs=5e-4)
    rows, columns = [], []
    for pair, output in outputs.items():
        mask = np.asarray(Image.open(pair.mask))
        # Nearest neighbour as OpenCV has it: the pixel at floor(i * scale).
        y, x = (np.arange(n) * size // n for n, size in zip((192, 256), mask.shape, strict=True))
        truth = mask[np.ix_(y, x)]
        rows.append(truth[truth != 11])
        columns.append(output[0].argmax(0)[truth != 11])
    matrix = confusion_matrix(np.concatenate(rows), np.concatenate(columns), labels=range(11))
    assert metric.confusion is not None
    pixels = [metric.confusion(*metric.maps(output, pair.mask)) for pair, output in outputs.items()]
    assert np.array_equal(sum(pixels), matrix)
    accuracy = 100 * np.trace(matrix) / matrix.sum()
    assert figures["pixel_accuracy"] == pytest.approx(accuracy, rel=1e-12)


def test_the_voc_script_has_its_own_opinion_of_grey_masks() -> None:
    outputs = outputs_of("unet_camvid_192x256", "camvid")
    metric = new_metric("m1", Settings(ARGMAX, 11, 11))
    figures = metric.values(table_of(metric, outputs))
    assert figures["mean_iou"] < 50


def test_rounding_the_outputs_to_float16_is_no_difference() -> None:
    outputs = outputs_of("unet3p_human_128", "human")
    halves = {
        pair: output.astype(np.float16).astype(np.float32) for pair, output in outputs.items()
    }
    metric = new_metric("foreground_iou", Settings(LOGIT))
    tables = [table_of(metric, each) for each in (outputs, halves)]
    found = difference_intervals(metric.figures, *tables)["foreground_iou"]
    assert abs(found.value) < 0.05
    assert -0.1 < found.low <= found.high < 0.1
