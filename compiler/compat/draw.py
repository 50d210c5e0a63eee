"""What the npz files that `vamp` wrote look like: masks, boxes, or the likeliest classes.

    outputs                            drawn
    [1, C, H, W]                       <name>_mask.png and <name>_overlay.png
    classes, scores and boxes of NMS   <name>_boxes.png
    [1, N]                             a line in classes.txt: the five largest values

`pairs` knows which image an output belongs to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from compiler.compat.delivery import is_detection
from compiler.compat.detections import read_objects
from compiler.compat.pairs import Pair
from compiler.compat.vamp.datalist import Entry, read_npz
from compiler.compat.vamp.samples import pixels_of
from compiler.errors import BundleError, CalibrationError
from compiler.preprocess.decode import decode_image
from compiler.runner.engine import Tensor
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import Window, class_mask, on_image, seen_window
from compiler.runner.results import COLOURS, draw_mask, palette, result_names

if TYPE_CHECKING:
    from compiler.preprocess.ops import Op

_LISTED: Final = 5
_RULES: Final = {
    ("argmax", 0.0): "several channels: the class is the largest",
    ("classes", 0.0): "one channel of whole numbers: they are the classes",
    ("binary", 0.0): "one channel beyond 0 to 1, logits: class 1 above 0",
    ("binary", 0.5): "one channel within 0 to 1, probabilities: class 1 above 0.5",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How outputs are read.

    Args:
        rule: From an output to a class mask; None is guessed from the values of all outputs.
        ops: The preprocessing, which tells what part of an image the network saw.
        shape: Of the network's input (C, H, W); None if it is not known.
        classes: Class names by number; may be empty.
    """

    rule: Postprocessing | None = None
    ops: "Sequence[Op]" = ()
    shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] = ()

    def name_of(self, number: int) -> str:
        """Name of a class, or its number."""
        return self.classes[number] if number < len(self.classes) else str(number)


def draw_outputs(
    pairs: Sequence[Pair],
    folder: Path,
    reading: Reading,
    *,
    images: Path | None = None,
    echo: Callable[[str], None],
) -> tuple[Path, ...]:
    """Draw every output on its image.

    Args:
        pairs: What to draw.
        folder: For the files; made if it is missing.
        reading: How.
        images: Folder of the original images; None draws on the image that the npz holds.
        echo: Prints a line: the rule, if it was guessed, and classes.

    Returns:
        The files.

    Raises:
        CalibrationError: An npz or image that cannot be read, or that does not fit.
        BundleError: A file cannot be written.
    """
    names = result_names([pair.entry.path for pair in pairs])
    reading = _with_rule(reading, pairs, echo)
    files: list[Path] = []
    lines: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, pair in zip(names, pairs, strict=True):
            arrays = _arrays(pair.file)
            if arrays[0].ndim == 2 and len(arrays[0]) == 1:
                lines.append(f"{name}: {_largest(arrays[0][0], reading)}")
                echo(lines[-1])
            else:
                files += _draw(arrays, pair, folder / name, reading, images)
        if lines:
            files.append(folder / "classes.txt")
            files[-1].write_text("\n".join([*lines, ""]), encoding="utf-8")
    except OSError as error:
        raise BundleError(
            f"drawings cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            fix="give a folder that can be written, on a disk with space left",
        ) from error
    return tuple(files)


def _with_rule(reading: Reading, pairs: Sequence[Pair], echo: Callable[[str], None]) -> Reading:
    """The reading, with the rule that masks without a bundle are read by."""
    if reading.rule is not None or not pairs or _arrays(pairs[0].file)[0].ndim != 4:
        return reading
    rule = guess_rule([pair.file for pair in pairs])
    echo(f"{_RULES[rule.kind, rule.threshold]} (guessed; -m gives the bundle's)")
    return replace(reading, rule=rule)


def guess_rule(files: Sequence[Path]) -> Postprocessing:
    """How outputs without a bundle are read.

    Args:
        files: All outputs: the values of one alone may lie within 0 and 1 by chance.

    Returns:
        Of several channels the largest; of one, class numbers if all values are whole and one
        exceeds 1, else logits if one is beyond 0 to 1, else probabilities.
    """
    outside = False
    whole = True
    for file in files:
        output = _arrays(file)[0]
        if output.ndim == 4 and output.shape[1] > 1:
            return Postprocessing("argmax")
        is_class = np.isfinite(output) & (output >= 0) & (output == np.floor(output))
        whole = whole and bool(is_class.all())
        outside = outside or bool(output.min() < 0 or output.max() > 1)
        if outside and not whole:
            return Postprocessing("binary", 0.0)
    return Postprocessing("classes") if outside else Postprocessing("binary", 0.5)


def _draw(
    arrays: Sequence[Tensor], pair: Pair, prefix: Path, reading: Reading, images: Path | None
) -> list[Path]:
    """Files with the boxes or the mask of one output."""
    from PIL import Image

    where = str(pair.file)
    if is_detection([array.shape for array in arrays]):
        drawn = _boxes(arrays[:3], _image(pair.entry, images), reading, where)
        file = prefix.with_name(f"{prefix.name}_boxes.png")
        Image.fromarray(drawn).save(file)
        return [file]
    if reading.rule is None or arrays[0].ndim != 4:
        raise _unfit(
            f"output_0 of shape {list(arrays[0].shape)} is no mask [1, C, H, W], no scores [1, N], "
            "and no detections",
            where,
        )
    pixels = _image(pair.entry, images)
    height, width = pixels.shape[:2]
    mask = _mask(arrays[0], reading.rule, where)
    whole = on_image(mask, _window(reading, height, width), height, width)
    return draw_mask(whole, pixels, prefix.parent, prefix.name)


def _arrays(file: Path) -> list[Tensor]:
    arrays = read_npz(file, where=str(file))
    if not arrays or not all(array.size for array in arrays):
        raise _unfit("no values in it", str(file))
    return arrays


def _image(entry: Entry, images: Path | None) -> NDArray[np.uint8]:
    """Pixels (H, W, 3)."""
    if images is None:
        try:
            pixels = pixels_of(entry.arrays()[0])
        except ValueError as error:
            raise _unfit(str(error), str(entry)) from error
    else:
        pixels = decode_image(_find_image(entry, images), 1, None)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def _find_image(entry: Entry, images: Path) -> Path:
    """The image with the name of an npz, in the folder of that name if there is one."""
    stem = entry.path.stem
    for folder in (images / entry.path.parent.name, images):
        found = sorted(folder.glob("*")) if folder.is_dir() else []
        matching = [file for file in found if file.stem == stem and file.is_file()]
        if matching:
            return matching[0]
    raise CalibrationError(
        f"no image named {stem}", where=str(images), fix="give the folder of the original images"
    )


def _mask(output: Tensor, rule: Postprocessing, where: str) -> NDArray[np.int64]:
    try:
        mask = class_mask(output, rule)
    except ValueError as error:
        raise _unfit(str(error), where) from error
    if mask.min() < 0 or mask.max() >= COLOURS:
        raise _unfit(
            f"classes {mask.min()} to {mask.max()}; 0 to {COLOURS - 1} can be drawn", where
        )
    return mask


def _boxes(
    arrays: Sequence[Tensor], pixels: NDArray[np.uint8], reading: Reading, where: str
) -> NDArray[np.uint8]:
    """The image with a frame, class and score for every object."""
    from PIL import Image, ImageDraw

    if reading.shape is None:
        raise CalibrationError(
            "boxes are in pixels of the network's input, whose size is not known",
            where=where,
            fix="name the bundle with -m",
        )
    found = read_objects(arrays, _window(reading, *pixels.shape[:2]), reading.shape[1:])
    image = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(image)
    colours = palette()
    for number, score, corners in zip(found.classes, found.scores, found.boxes, strict=True):
        left, top, right, bottom = (float(value) for value in corners)
        red, green, blue = (int(value) for value in colours[(int(number) + 1) % COLOURS])
        canvas.rectangle((left, top, right, bottom), outline=(red, green, blue), width=2)
        label = f"{reading.name_of(int(number))} {score:.2f}"
        canvas.text((left + 3, top + 2), label, fill=(red, green, blue))
    return np.asarray(image)


def _window(reading: Reading, height: int, width: int) -> Window:
    return seen_window(reading.ops, reading.shape, height, width)


def _largest(values: Tensor, reading: Reading) -> str:
    order = np.argsort(-values.astype(np.float64), kind="stable")[:_LISTED]
    return ", ".join(
        f"{reading.name_of(int(number))} {float(values[number]):.4g}" for number in order
    )


def _unfit(what: str, where: str) -> CalibrationError:
    return CalibrationError(
        what, where=where, fix="give the outputs of a vamp run, its datalist and its bundle"
    )
