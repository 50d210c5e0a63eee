"""A first build file for a network: what can be read of it, and guesses that are marked as such."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from calibration.dataset import DatasetError, find_files
from compiler.config.advice import PRECISION_IN_NAME
from compiler.config.paths import resolve_input
from compiler.errors import BuildFileError, CalibrationError
from compiler.pipeline.alternatives import op_text
from compiler.pipeline.guess_inputs import Guess, NetworkFacts, read_network
from compiler.pipeline.guess_values import Rated, rate_values
from compiler.pipeline.network import postprocessing_of
from compiler.preprocess.ops import (
    CenterCrop,
    CvtColor,
    DecodeImage,
    Normalize,
    Op,
    Resize,
    ToTensor,
)

MOST_FILES: Final = 100
"""Calibration gains next to nothing from more."""

_UNIT_VALUES: Final = Normalize(norm_type=None)
_WIDTH: Final = 92  # of comments


@dataclass(frozen=True, slots=True)
class Draft:
    """A build file that compiles as it is.

    Args:
        text: Its contents.
        name: Of the bundle.
        dtype: Precision.
        guesses: What nobody has said, and why it is written so.
        rated: Orders and scales of values, the one that the network is most certain about first.
        unit: What their certainty is counted in.
    """

    text: str
    name: str
    dtype: str
    guesses: tuple[Guess, ...]
    rated: tuple[Rated, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class _Data:
    """Calibration files.

    Args:
        path: As given.
        files: Usable ones.
        arrays: Whether they hold arrays.
    """

    path: Path
    files: tuple[Path, ...]
    arrays: bool


def init_build(model: Path, *, images: Path | None = None, folder: Path | None = None) -> Draft:
    """Write a build file for a network.

    Example:
        Path("net.yaml").write_text(init_build(Path("net.onnx"), images=Path("calib")).text)

    Args:
        model: ONNX file.
        images: Folder of calibration images, or of .npz files; without it an fp32 build is written.
        folder: Where the build file will be; its paths are relative to it. None: current folder.

    Raises:
        GraphError: The network cannot be read.
        CalibrationError: The folder holds nothing that the network could be fed with.
    """
    place = Path.cwd() if folder is None else folder
    facts = read_network(model)
    data = None if images is None else _find_data(images, facts)
    guesses, rated, unit = list(facts.guesses), tuple[Rated, ...](), ""
    ops: tuple[Op, ...] = ()
    if facts.image is not None and not (data and data.arrays):
        base = tuple(_geometry(facts, facts.image))
        if data is not None:
            rated, unit = rate_values(facts, base, data.files)
        ops = rated[0].ops if rated else _usual(facts, base)
        guesses += _guess_ops(facts, ops, rated, unit, looked=data is not None)
    dtype = "int8" if data is not None else "fp32"
    name = _name(model, dtype)
    writer = _Writer(model, place, facts, data, ops, tuple(guesses), name, dtype)
    return Draft("\n".join(writer.lines()) + "\n", name, dtype, tuple(guesses), rated, unit)


def check_target(path: Path, *, force: bool) -> None:
    """Tell early, before a network is run, what `write_draft` would refuse.

    Raises:
        BuildFileError: The file is there already, or its folder is not.
    """
    if path.exists() and not force:
        raise BuildFileError(
            "is there already", where=str(path), fix="give another file with -o, or --force"
        )
    if not path.parent.is_dir():
        raise BuildFileError(
            f"there is no folder {path.parent}", where=str(path), fix="make it, or correct -o"
        )


def write_draft(draft: Draft, path: Path) -> None:
    """Write the file.

    Raises:
        BuildFileError: It cannot be written.
    """
    try:
        path.write_text(draft.text, encoding="utf-8")
    except OSError as error:
        raise BuildFileError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            fix="give a file in a folder that can be written with -o",
        ) from error


def _find_data(path: Path, facts: NetworkFacts) -> _Data:
    """Images where the network reads one, else arrays.

    Raises:
        CalibrationError: There are none.
    """
    what = ""
    for arrays in (True,) if facts.image is None else (False, True):
        try:
            files = find_files(path, suffix=None, arrays=arrays)
        except DatasetError as error:
            what = what or error.what
            continue
        if arrays or any(map(_is_readable, files)):
            return _Data(path, files, arrays)
        what = f"none of the {len(files)} images can be decoded"
    fix = "give a folder of images"
    if facts.image is None:
        inputs = ", ".join(f"{name} {list(shape)}" for name, shape in facts.shapes.items())
        what = f"the network reads {inputs}, which process_ops cannot make of an image: {what}"
        fix = "give a folder of .npz files with arrays named as the inputs, or leave out --images"
    raise CalibrationError(what, where=str(path), fix=fix)


def _is_readable(path: Path) -> bool:
    try:
        DecodeImage()(path)
    except CalibrationError:
        return False
    return True


def _geometry(facts: NetworkFacts, image: tuple[int, int, int]) -> Iterator[Op]:
    channels, height, width = image
    yield DecodeImage() if channels == 3 else DecodeImage(cv2_flags=0)
    if _is_classifier(facts):
        yield Resize(size=(height, width), adaptive_side="short")
        yield CenterCrop(crop_size=(height, width))
    else:
        yield Resize(size=(height, width))
    yield ToTensor()


def _usual(facts: NetworkFacts, base: tuple[Op, ...]) -> tuple[Op, ...]:
    """What to write where certainty says nothing."""
    raw = facts.pixels or facts.scaled == "0 … 255"
    return base if raw else (*base[:-1], _UNIT_VALUES, base[-1])


def _is_classifier(facts: NetworkFacts) -> bool:
    return len(facts.graph.outputs[0].shape or ()) == 2


def _guess_ops(
    facts: NetworkFacts, ops: Sequence[Op], rated: Sequence[Rated], unit: str, *, looked: bool
) -> Iterator[Guess]:
    key = "dataset.process_ops"
    order = "BGR" if any(isinstance(op, CvtColor) for op in ops) else "RGB"
    same = [one for one in rated[1:] if one.order == rated[0].order]
    others = [one for one in rated[1:] if one.order != rated[0].order]
    if rated:
        why, order_why = _reason(rated[0], same, unit), _reason(rated[0], others, unit)
    elif looked:
        why = order_why = "the usual; certainty tells nothing for this network"
    else:
        why = order_why = "the usual; give --images to let the network decide"
    if facts.image is not None and facts.image[0] == 3:
        yield Guess(f"{key}.CvtColor", order, order_why)
    sized = "short side to the input, then its middle" if _is_classifier(facts) else "stretched"
    yield Guess(f"{key}.Resize", sized, "the usual; neither network nor images tell it")
    if facts.scaled and not facts.pixels:
        why = f"the network begins with a normalization of values {facts.scaled}; {why}"
    if not facts.pixels:
        values = [op_text(op) for op in ops if isinstance(op, Normalize)] or "none (0 … 255)"
        yield Guess(f"{key}.Normalize", values, why)


def _reason(best: Rated, others: Sequence[Rated], unit: str) -> str:
    """The figures behind a choice, and those of the closest one that was not chosen."""
    images = "1 image" if best.images == 1 else f"{best.images} images"
    figures = f"{best.certainty:.3f} {unit} on {images}"
    if not others:
        return f"the network is most certain about it ({figures})"
    second = others[0]
    return (
        f"the network is most certain about it ({figures}; next {second.name}: "
        f"{second.certainty:.3f} on {second.images})"
    )


def _name(model: Path, dtype: str) -> str:
    stem = PRECISION_IN_NAME.sub("", model.stem)
    stem = re.sub(r"[^\w+.-]+", "_", stem).strip("_.-") or "network"
    return f"{stem}_{dtype}"


@dataclass(frozen=True, slots=True)
class _Writer:
    model: Path
    place: Path
    facts: NetworkFacts
    data: _Data | None
    ops: tuple[Op, ...]
    guesses: tuple[Guess, ...]
    name: str
    dtype: str

    def lines(self) -> Iterator[str]:
        """The build file, line by line."""
        yield from _comment(
            f'Written by modc init for {self.model.name}. Lines below "guess:" are guesses: check '
            "them, then remove the word. All keys: docs/reference/build_file.md",
            "",
        )
        yield f"name: {_text(self.name)}"
        yield ""
        yield "frontend:"
        yield "  type: onnx"
        yield f"  checkpoint: {_text(_path(self.model, self.place))}"
        yield "  shape:"
        for name, shape in self.facts.shapes.items():
            yield from self._guessed(f"frontend.shape.{name}", "    ")
            yield f"    {_text(name)}: {json.dumps(list(shape))}"
        yield ""
        yield "backend:"
        yield "  type: onnxruntime"
        if self.dtype == "int8":
            yield "  dtype: int8"
            yield "  quantize:"
            yield "    calibrate_mode: kl_divergence # or percentile, max, mse, auto"
        else:
            yield from _comment("int8 needs calibration data: modc init … --images FOLDER", "  ")
            yield "  dtype: fp32"
        if self.data is not None or self.ops:
            yield ""
            yield from self._dataset()
        elif self.facts.layout == "NHWC":
            yield ""
            yield from _comment(
                "the input is NHWC, and process_ops make NCHW: export the network with NCHW "
                "input, or calibrate on .npz files",
                "",
            )
        yield ""
        yield from self._verify()

    def _dataset(self) -> Iterator[str]:
        yield "dataset:"
        if self.data is not None:
            yield f"  path: {_text(_path(self.data.path, self.place))}"
            yield "  sampler:"
            endings = {path.suffix.lower() for path in self.data.files}
            if len(endings) == 1:
                yield f"    suffix: {next(iter(endings)).removeprefix('.')}"
            yield from _comment(f"of {len(self.data.files)} files", "    ")
            yield f"    get_data_num: {min(len(self.data.files), MOST_FILES)}"
        if self.data is not None and self.data.arrays:
            names = ", ".join(self.facts.shapes)
            yield from _comment(f"each file holds the arrays {names}, batch included", "  ")
            return
        yield "  process_ops:"
        key = "dataset.process_ops"
        scale = next(op for op in self.ops if isinstance(op, Normalize | ToTensor))
        for op in self.ops:
            if isinstance(op, Resize):
                yield from self._guessed(f"{key}.Resize", "    ")
            if op is scale:
                yield from self._guessed(f"{key}.Normalize", "    ")
            yield f"    - {op_text(op)}"
            if isinstance(op, DecodeImage):
                yield from self._guessed(f"{key}.CvtColor", "    ")

    def _verify(self) -> Iterator[str]:
        rule = postprocessing_of(self.facts.graph)
        yield from _comment("what the compiled network may lose against fp32:", "")
        yield "# verify:"
        yield "#   min_cosine: 0.99"
        if rule is None or not self.ops:
            return
        yield "#   images: path/to/images"
        yield "#   masks: path/to/masks # same file stems"
        if rule.kind == "binary":
            yield "#   metric: foreground_iou"
        else:
            channels = self.facts.graph.outputs[0].shape[1]
            yield "#   metric: mean_iou"
            yield f"#   classes: {channels if rule.kind == 'argmax' else 2}"
        yield "#   max_drop: 0.5 # points"

    def _guessed(self, key: str, indent: str) -> Iterator[str]:
        """What to say in front of a line that is a guess."""
        subjects = {"Normalize": "scale of values", "CvtColor": "{} order", "Resize": "{}"}
        subject = subjects.get(key.rsplit(".", 1)[-1], "")
        for guess in self.guesses:
            if guess.key == key:
                said = f"{subject.format(guess.value)}: {guess.why}" if subject else guess.why
                yield from _comment(f"guess: {said}", indent)


def _comment(text: str, indent: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(indent) + len(line) + len(word) > _WIDTH:
            yield f"{indent}# {line}"
            line = ""
        line = f"{line} {word}".strip()
    yield f"{indent}# {line}"


def _path(path: Path, place: Path) -> str:
    """A path as the build file finds it again: relative to its folder, else absolute."""
    target = path.resolve()
    for text in (Path(os.path.relpath(target, place.resolve())).as_posix(), str(target)):
        try:
            if resolve_input(text, place, where="").resolve() == target:
                return text
        except BuildFileError:  # ~ at the beginning, or $
            continue
    raise BuildFileError(
        "a build file cannot name this: it takes $ for a variable",
        where=str(path),
        fix="give it another name",
    )


def _text(text: str) -> str:
    """A text as YAML writes it on one line."""
    written: str = yaml.safe_dump(text, allow_unicode=True, width=100_000)
    return written.strip().removesuffix("...").strip()
