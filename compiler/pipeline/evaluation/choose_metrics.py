"""Which segmentation metrics an evaluation shows, and what they are told."""

from dataclasses import dataclass
from typing import Final

from compiler.config.model import Verify
from compiler.errors import BuildFileError
from compiler.evaluate.definitions import METRICS, new_metric
from compiler.evaluate.metric import Metric
from compiler.evaluate.settings import Settings
from compiler.pipeline.evaluation.contenders import Contender, see_of
from compiler.pipeline.evaluation.question import Question
from compiler.runner.manifest import Postprocessing
from compiler.runner.preprocessing import image_shape
from compiler.runner.read import Bundle

_OF_FOREGROUND: Final = ("M6", "M7", "M8")


@dataclass(frozen=True, slots=True)
class MetricChoice:
    """Metrics by name; each network brings the rule by which its output is read.

    Args:
        names: Keys of `METRICS`; behind those that were asked for the ones that correct them.
        classes: Number of classes; None: as the metric has it.
        ignore: Value of the masks that does not count; likewise.
        notes: What was assumed.
    """

    names: tuple[str, ...]
    classes: int | None
    ignore: int | None
    notes: tuple[str, ...]

    def metrics(self, contender: Contender) -> list[Metric]:
        """The metrics of one network.

        Raises:
            BuildFileError: Its output does not suit one, or the number of classes is not known.
        """
        return [self._metric(name, contender) for name in self.names]

    def _metric(self, name: str, contender: Contender) -> Metric:
        definition, rule = METRICS[name], contender.rule
        if rule is None:
            raise _no_class_map()
        if unsuited := definition.unsuited(rule):
            other = definition.corrected or "a metric that suits the network"
            raise BuildFileError(unsuited, where=f"--metric {name}", fix=f"use {other}")
        classes = self.classes
        if classes is None and definition.classes is None and rule.kind == "binary":
            classes = 2
        bundle = contender.bundle
        shape = image_shape(bundle.manifest) if bundle else None
        size = shape[1:] if shape is not None and definition.at_input else None
        see = see_of(bundle) if bundle else None
        try:
            return new_metric(name, Settings(rule, classes, self.ignore, size, see))
        except ValueError as error:
            raise BuildFileError(
                str(error), where=f"--metric {name}", fix="give --classes"
            ) from error


def choose_metrics(
    question: Question, bundle: Bundle | None, rule: Postprocessing | None, verify: Verify | None
) -> MetricChoice:
    """What the user asks for, and else what the build file and the network's output say.

    Args:
        question: It may name metrics, classes and the ignored value.
        bundle: The first one; None where there are only results.
        rule: How the first output becomes a class map.
        verify: Section of the bundle's build file; None if it is not known.

    Raises:
        BuildFileError: No metric is named, and the output is no class map.
    """
    notes: list[str] = []
    names = list(question.metrics)
    if not names:
        name, reason = _guess(bundle, rule, verify)
        names = [name]
        notes.append(f"metric {name}, because {reason}; another one with --metric")
    for name in tuple(names):
        if METRICS[name].fault:
            notes.append(f"{name} is as published; its fault: {METRICS[name].fault}")
            notes.append(f"{METRICS[name].corrected} is the corrected form of {name}")
            names.append(METRICS[name].corrected)
    classes, channels = question.classes or len(question.names) or None, _channels(bundle, rule)
    if None not in (classes, channels) and classes != channels:
        raise BuildFileError(
            f"{classes} classes given; the network has {channels}, one per channel",
            where="--classes",
            fix="leave it out, or give the name of every channel",
        )
    classes = classes or channels
    if classes is None and verify is not None:
        classes = verify.classes
    if (classes or 0) > 2:
        notes += [
            f"{name} takes every class above 0 for foreground"
            for name in names
            if METRICS[name].id in _OF_FOREGROUND
        ]
    ignore = question.ignore
    if ignore is None and verify is not None and verify.ignore is not None:
        ignore = verify.ignore
        notes.append(f"value {ignore} of the masks does not count, as the build file says")
    return MetricChoice(tuple(dict.fromkeys(names)), classes, ignore, tuple(notes))


def _guess(
    bundle: Bundle | None, rule: Postprocessing | None, verify: Verify | None
) -> tuple[str, str]:
    """A metric and why."""
    if verify is not None and verify.metric is not None:
        return verify.metric, "the build file names it"
    if rule is None:
        raise _no_class_map()
    if rule.kind == "binary":
        return "foreground_iou", "the network has one channel"
    if _channels(bundle, rule) == 2:
        return "foreground_iou", "the network has a background and one class"
    return "mean_iou", "the network has several classes"


def _channels(bundle: Bundle | None, rule: Postprocessing | None) -> int | None:
    """Channels of the first output, if it has one for each class."""
    if bundle is None or rule is None or rule.kind != "argmax":
        return None
    count = bundle.manifest.outputs[0].shape[1]
    return count if count > 0 else None


def _no_class_map() -> BuildFileError:
    return BuildFileError(
        "the first output of the network is no class map, so that no mask can be compared with it",
        where="--masks",
        fix="give --labels for a classifier, --annotations for a detector",
    )
