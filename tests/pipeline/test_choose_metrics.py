"""Which metrics an evaluation takes where the user leaves it open."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.config.model import Verify
from compiler.errors import BuildFileError
from compiler.pipeline.evaluation.choose_metrics import choose_metrics
from compiler.pipeline.evaluation.contenders import Contender
from compiler.pipeline.evaluation.question import Question
from compiler.runner.manifest import Postprocessing, TensorSpec
from compiler.runner.read import Bundle
from tests.support.bundles import MANIFEST

LOGIT, PROBABILITY = Postprocessing("binary", 0.0), Postprocessing("binary", 0.5)
ARGMAX, NUMBERS = Postprocessing("argmax"), Postprocessing("classes")


@pytest.mark.parametrize(
    ("rule", "channels", "verify", "name", "reason"),
    [
        (LOGIT, 1, None, "foreground_iou", "one channel"),
        (ARGMAX, 2, None, "foreground_iou", "a background and one class"),
        (ARGMAX, 11, None, "mean_iou", "several classes"),
        (NUMBERS, 1, None, "mean_iou", "several classes"),
        (LOGIT, 1, Verify(), "foreground_iou", "one channel"),
        (
            *(LOGIT, 1),
            Verify(images="i", masks="m", metric="mean_iou", classes=2),
            *("mean_iou", "the build file names it"),
        ),
    ],
)
def test_the_metric_follows_the_build_file_and_the_output(
    rule: Postprocessing, channels: int, verify: Verify | None, name: str, reason: str
) -> None:
    choice = choose_metrics(Question(), _bundle(channels), rule, verify)
    assert choice.names == (name,)
    assert any(reason in note for note in choice.notes)


def test_what_the_user_says_comes_first() -> None:
    verify = Verify(images="i", masks="m", metric="mean_iou", classes=5, ignore=11)
    asked = Question(metrics=("dice",), classes=3, ignore=7)
    choice = choose_metrics(asked, _bundle(3), ARGMAX, verify)
    assert (choice.names, choice.classes, choice.ignore) == (("dice",), 3, 7)
    assert choice.notes == ("dice takes every class above 0 for foreground",)
    choice = choose_metrics(Question(), _bundle(1), LOGIT, verify)
    assert (choice.classes, choice.ignore) == (5, 11)
    assert any("value 11 of the masks does not count" in note for note in choice.notes)
    choice = choose_metrics(Question(names=("a", "b")), _bundle(-1), ARGMAX, None)
    assert (choice.classes, choice.ignore) == (2, None)


def test_every_channel_is_a_class() -> None:
    with pytest.raises(BuildFileError, match="3 classes given; the network has 11"):
        choose_metrics(Question(classes=3), _bundle(11), ARGMAX, None)


def test_published_metrics_come_with_those_that_correct_them() -> None:
    choice = choose_metrics(Question(metrics=("m6", "m7")), _bundle(1), LOGIT, None)
    assert choice.names == ("m6", "m7", "foreground_iou")
    assert "foreground_iou is the corrected form of m6" in choice.notes


def test_one_channel_has_two_classes(tmp_path: Path) -> None:
    choice = choose_metrics(Question(metrics=("mean_iou",)), _bundle(1), LOGIT, None)
    (metric,) = choice.metrics(_contender(LOGIT))
    statistics = metric.compare(np.array([[0, 1]]), np.array([[0, 0]]))
    assert metric.values(statistics[None])["mean_iou"] == 25


@pytest.mark.parametrize(
    ("names", "rule", "reason"),
    [
        (("m6",), PROBABILITY, "it reads logit outputs; this network's are probability"),
        (("m1",), LOGIT, "it reads argmax outputs"),
        (("mean_iou",), NUMBERS, "needs the number of classes"),
        (("dice",), None, "no class map"),
        ((), None, "no class map"),
    ],
)
def test_what_does_not_suit_the_network_is_refused(
    names: tuple[str, ...], rule: Postprocessing | None, reason: str
) -> None:
    with pytest.raises(BuildFileError, match=reason):
        choose_metrics(Question(metrics=names), _bundle(1), rule, None).metrics(_contender(rule))


def _bundle(channels: int) -> Bundle:
    output = TensorSpec("y", (1, channels, 4, 6), "float32")
    return Bundle(Path("net/mod"), replace(MANIFEST, outputs=(output,)), "")


def _contender(rule: Postprocessing | None) -> Contender:
    return Contender("net", "int8", "net", "", rule, _bundle(1), lambda _: {}, lambda _: [], 1)
