"""From a question to an evaluation: the networks, images and truths that it names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from compiler.compat.draw import guess_rule
from compiler.compat.pairs import pair_outputs
from compiler.compat.vamp.datalist import list_entries
from compiler.config.model import Verify
from compiler.errors import BundleError, CalibrationError
from compiler.evaluate.definitions import METRICS
from compiler.evaluate.pairs import (
    PATTERNS,
    STEM,
    Pair,
    Pairing,
    note_sizes,
    open_picture,
    pair_files,
    pair_folders,
    pictures,
)
from compiler.pipeline.clock import Report
from compiler.pipeline.evaluation.choose_metrics import choose_metrics
from compiler.pipeline.evaluation.contenders import (
    Contender,
    Outputs,
    dtype_of,
    open_bundle,
    open_original,
    open_results,
)
from compiler.pipeline.evaluation.detections import evaluate_detections
from compiler.pipeline.evaluation.measure import Classes, Save, evaluate
from compiler.pipeline.evaluation.question import Question, check_question
from compiler.pipeline.evaluation.result import Evaluation
from compiler.pipeline.evaluation.run import Item, Open
from compiler.pipeline.evaluation.top_k import class_scores, labels_of_folders, read_labels, top_k
from compiler.pipeline.rebuild import stored_config
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import class_mask
from compiler.runner.read import Bundle, read_bundle
from compiler.runner.results import COLOURS, palette, result_names

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Networks:
    """What is compared, the base first, and the bundle that says how."""

    opens: tuple[Open, ...]
    bundle: Bundle | None
    rule: Postprocessing | None
    verify: Verify | None
    notes: tuple[str, ...] = ()


def answer(question: Question, progress: Report) -> Evaluation:
    """Evaluate what is asked for.

    Args:
        question: What.
        progress: Called as progress(stage, done, total).

    Raises:
        BuildFileError: The question is incomplete or contradicts itself.
        CalibrationError: Images, masks, labels or results cannot be used.
        BundleError: A bundle cannot be used.
        GraphError: The float network cannot be read.
        MissingRequirementError: pycocotools or an engine is absent.
    """
    check_question(question)
    networks = _networks(question)
    names = question.names or (networks.bundle.manifest.classes if networks.bundle else ())
    found = _evaluated(question, networks, names, progress)
    return replace(found, notes=(*found.notes, *networks.notes))


def _evaluated(
    question: Question, networks: _Networks, names: tuple[str, ...], progress: Report
) -> Evaluation:
    if question.annotations is not None and question.images is not None:
        return evaluate_detections(
            networks.opens,
            question.images,
            question.annotations,
            limit=question.limit,
            classes=names,
            progress=progress,
        )
    if question.masks is not None:
        return _on_masks(question, networks, names, progress)
    if question.labels is not None or question.metrics:
        return _on_labels(question, networks, names, progress)
    return _agreement_alone(question, networks, names, progress)


def _networks(question: Question) -> _Networks:
    bundles = [read_bundle(prefix) for prefix in question.bundles]
    first = bundles[0] if bundles else None
    rule = first.manifest.postprocessing if first else None
    verify = _verify_of(first) if first else None
    if question.results:
        opens, guessed = _open_results(question, first)
        return _Networks(opens, first, guessed, verify)
    names = _distinct([one.manifest.name for one in bundles])
    ordered = list(zip(question.bundles, names, bundles, strict=True))
    if question.original is None:
        base = next((one for one in ordered if dtype_of(one[2]) == "fp32"), ordered[0])
        ordered = [base, *(one for one in ordered if one is not base)]
    opens = tuple(
        partial(open_bundle, prefix, name, question.running) for prefix, name, _ in ordered
    )
    if question.original is not None and first is not None:
        model = question.original
        opens = (partial(open_original, model, first, model.name, question.running), *opens)
    notes = tuple(
        f"{name} has no layer on integers: its build kept all of them float"
        for _, name, bundle in ordered
        if dtype_of(bundle) == "int8" and bundle.manifest.quantization.get("integer_layers") == 0
    )
    return _Networks(opens, first, rule, verify, notes)


def _open_results(
    question: Question, bundle: Bundle | None
) -> tuple[tuple[Open, ...], Postprocessing | None]:
    rule = bundle.manifest.postprocessing if bundle else None
    names = _distinct([folder.resolve().name for folder in question.results])
    files = [_results_of(question, folder) for folder in question.results]
    if rule is None and question.masks is not None:
        rule = guess_rule([file for one in files for file in one.values()])
    opens = tuple(
        partial(open_results, one, folder, name, rule, bundle)
        for one, folder, name in zip(files, question.results, names, strict=True)
    )
    return opens, rule


def _results_of(question: Question, folder: Path) -> dict[Path, Path]:
    """Result in a folder by line of the datalist."""
    if not folder.is_dir():
        raise CalibrationError(
            "no such folder", where=str(folder), fix="give the folder that vamp wrote with --npz"
        )
    entries = list_entries(question.datalist) if question.datalist else ()
    return {pair.entry.path: pair.file for pair in pair_outputs([folder], entries)}


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of networks; where one repeats, a number follows."""
    return result_names([Path(f"{name}.mod") for name in names])


def _lines(question: Question) -> tuple[Path, ...]:
    if question.datalist is None:
        return ()
    return tuple(entry.path for entry in list_entries(question.datalist))


def _verify_of(bundle: Bundle) -> Verify | None:
    """The section `verify` of a bundle's build file, if this modc can read it."""
    try:
        return stored_config(bundle, fix="").verify
    except BundleError:
        return None


def _on_masks(
    question: Question, networks: _Networks, names: tuple[str, ...], progress: Report
) -> Evaluation:
    pairing = _pairs(question)
    choice = choose_metrics(question, networks.bundle, networks.rule, networks.verify)
    pairs = _spread(pairing.pairs, question.limit)
    sizes = () if question.results else note_sizes([pair for pair in pairs if _opens(pair)])
    found = evaluate(
        networks.opens,
        _items([pair.image for pair in pairs], [pair.mask for pair in pairs]),
        choice.metrics,
        read=read_classes_of,
        save=_saver(question.save),
        progress=progress,
        classes=names or METRICS[choice.names[0]].labels,
        alone={
            "images without mask": tuple(map(str, pairing.without_mask)),
            "masks without image": tuple(map(str, pairing.without_image)),
        },
        notes=(*choice.notes, *sizes),
    )
    _check_measured(found, question.masks or Path())
    return found


def _check_measured(found: Evaluation, masks: Path) -> None:
    """Refuse figures of nothing.

    Raises:
        CalibrationError: No image counts for any network and metric.
    """
    if any(one.use.used for row in found.rows for one in row.measured):
        return
    metrics = {one.metric.name: one.metric.nothing for one in found.rows[0].measured}
    reasons = "; ".join(f"{name}: {nothing}" for name, nothing in metrics.items())
    reads = "; ".join(f"{name} reads {METRICS[name].truth}" for name in metrics)
    raise CalibrationError(
        f"nothing could be measured in {len(found.images)} image(s) ({reasons})",
        where=str(masks),
        fix=f"give masks as the metric reads them ({reads}), or another --metric",
    )


def _pairs(question: Question) -> Pairing:
    masks = question.masks or Path()
    patterns = PATTERNS if question.mask_pattern is None else (question.mask_pattern,)
    if question.images is not None and question.image_list is None and not question.results:
        pairing = pair_folders(
            question.images,
            masks,
            pattern=question.mask_pattern,
            image_pattern=question.image_pattern,
        )
    else:
        pairing = pair_files(
            _lines(question) or _listed(question),
            pictures(masks),
            patterns=patterns,
            image_pattern=question.image_pattern,
        )
        if question.image_list is not None:  # which chooses among the masks as well
            pairing = replace(pairing, without_image=())
    if not pairing.pairs:
        raise CalibrationError(
            f"no image has a mask: of {len(pairing.without_mask)} images and "
            f"{len(pairing.without_image)} masks none belong together",
            where=str(masks),
            fix=f"name masks like their images, or give their pattern: --pair '{STEM}_matte.png'",
        )
    return pairing


def _listed(question: Question) -> list[Path]:
    """The images of --image-list, or all of the folder."""
    path = question.image_list
    if path is None:
        return pictures(question.images or Path())
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"the list cannot be read: {error}", where=str(path), fix="give a text file"
        ) from error
    folder = question.images or path.parent
    found = [folder / line.strip() for line in lines if line.strip()]
    if not found:
        raise CalibrationError("no image is listed", where=str(path), fix="write one path per line")
    return found


def _opens(pair: Pair) -> bool:
    """Whether both headers can be read; what cannot is told of when its turn comes."""
    try:
        for path in (pair.image, pair.mask):
            open_picture(path).close()
    except CalibrationError:
        return False
    return True


def _on_labels(
    question: Question, networks: _Networks, names: tuple[str, ...], progress: Report
) -> Evaluation:
    notes: list[str] = []
    without: tuple[str, ...] = ()
    if question.labels is not None:
        files = _lines(question) or _listed(question)
        labels = read_labels(question.labels, files)
        without = tuple(str(file) for file in files if file not in labels)
    else:
        folder = question.images or Path()
        labels = labels_of_folders(folder, names)
        notes.append(f"labels are the folders in {folder}")
    if not labels:
        raise CalibrationError(
            "it names none of the images",
            where=str(question.labels),
            fix="write lines such as 'dog.jpg 207'",
        )
    images = _spread(list(labels), question.limit)
    return evaluate(
        networks.opens,
        _items(images, images),
        lambda _: [top_k(labels)],
        read=read_likeliest,
        progress=progress,
        classes=names,
        alone={"images without label": without},
        notes=notes,
    )


def _agreement_alone(
    question: Question, networks: _Networks, names: tuple[str, ...], progress: Report
) -> Evaluation:
    files = _spread(_lines(question) or _listed(question), question.limit)
    return evaluate(
        networks.opens,
        _items(files, [None] * len(files)),
        lambda _: [],
        read=lambda contender, outputs: (
            read_likeliest(contender, outputs)
            if contender.rule is None
            else read_classes_of(contender, outputs)
        ),
        save=_saver(question.save) if networks.rule else None,
        progress=progress,
        classes=names,
        notes=["no masks given: how far the networks agree, which says nothing of who is right"],
    )


def read_classes_of(contender: Contender, outputs: Outputs) -> Classes | None:
    """Class map of the first output, shape (H, W); None if it is none."""
    return None if contender.rule is None else class_mask(outputs[0], contender.rule)


def read_likeliest(contender: Contender, outputs: Outputs) -> Classes:
    """The class with the largest score, shape (1,)."""
    del contender
    return np.asarray(class_scores(outputs[0]).argmax(axis=1))


def _items(files: Sequence[Path], truths: Sequence[Path | None]) -> list[Item]:
    names = result_names(files)
    return [Item(*parts) for parts in zip(names, files, truths, strict=True)]


def _spread(files: Sequence[T], limit: int | None) -> list[T]:
    """At most so many, spread evenly over all."""
    if limit is None or limit >= len(files):
        return list(files)
    return [files[number * len(files) // limit] for number in range(limit)]


def _saver(folder: Path | None) -> Save | None:
    """Writes class maps as they are scored to `<folder>/<network>/<image>.png`, VOC's colours."""
    if folder is None:
        return None
    from PIL import Image

    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def save(contender: Contender, name: str, classes: Classes) -> None:
        if classes.max() >= COLOURS:
            raise CalibrationError(
                f"class {classes.max()}; 0 to {COLOURS - 1} can be drawn",
                where=name,
                fix="leave out --save",
            )
        picture = Image.fromarray(classes.astype(np.uint8))
        picture.putpalette(palette().tobytes())
        file = folder / contender.name / f"{name}.png"
        with _written(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)

    return save


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"masks cannot be written: {error.strerror or error}",
            where=str(path),
            fix="give --save a folder that can be written, on a disk with space left",
        ) from error
