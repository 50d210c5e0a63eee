"""What `modc run` writes for an image: arrays, the class mask, and the mask over the image.

<name>.npz          output_0, output_1, …: the outputs as they are
<name>_mask.png     class numbers at the size of the image, in the colours of PASCAL VOC
<name>_overlay.png  the image, half covered by the colours of the classes except class 0
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compiler.errors import BundleError
from compiler.runner.engine import Tensor
from compiler.runner.manifest import Manifest, Preprocessing
from compiler.runner.masks import Window, class_mask, on_image, seen_window

COLOURS = 256


def palette() -> NDArray[np.uint8]:
    """Colours of PASCAL VOC, shape (256, 3), RGB.

    Bits 0, 1, 2 of the class number are the highest bits of red, green and blue; bits 3, 4, 5 the
    second highest, and so on.

    Source: `VOClabelcolormap` of the PASCAL VOC development kit (Everingham et al.).
    """
    number = np.arange(COLOURS)[:, None]
    channel = np.arange(3)[None]
    colours = np.zeros((COLOURS, 3), np.uint8)
    for rank in range(3):
        bit = (number >> (3 * rank + channel)) & 1
        colours |= (bit << (7 - rank)).astype(np.uint8)
    return colours


def overlay(image: NDArray[np.uint8], mask: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Image blended half and half with the colour of every class but 0.

    Args:
        image: RGB, shape (H, W, 3).
        mask: Class numbers below 256, shape (H, W).
    """
    blended = (image.astype(np.uint16) + palette()[mask] + 1) // 2
    return np.where(mask[:, :, None] > 0, blended, image).astype(np.uint8)


def result_names(images: Sequence[Path]) -> list[str]:
    """One name per image, all different: its stem, and a number where stems repeat.

    An image whose stem no other has always keeps it: `a_2.jpg` is `a_2`, also beside two `a.jpg`.
    """
    times = Counter(image.stem for image in images)
    taken = set(times)
    numbers = {stem: count(2) for stem, number in times.items() if number > 1}
    names: dict[str, None] = {}
    for image in images:
        name = image.stem
        if name in names:
            spellings = (f"{image.stem}_{number}" for number in numbers[image.stem])
            name = next(spelling for spelling in spellings if spelling not in taken)
            taken.add(name)
        names[name] = None
    return list(names)


def write_arrays(
    folder: Path, name: str, outputs: Mapping[str, Tensor], manifest: Manifest
) -> Path:
    """Write the outputs for one sample as they are, batch dimension included.

    Args:
        folder: It exists.
        name: Stem of the file.
        outputs: Of `Runner.infer`.
        manifest: Of the bundle; it has the order of the outputs.

    Raises:
        BundleError: The file cannot be written.
    """
    arrays = {f"output_{i}": outputs[spec.name] for i, spec in enumerate(manifest.outputs)}
    file = folder / f"{name}.npz"
    with _written(folder):
        np.savez(file, **arrays)  # type: ignore[arg-type]  # stub: mistakes keys for options
    return file


def write_results(
    folder: Path, name: str, image: Path, outputs: Mapping[str, Tensor], manifest: Manifest
) -> tuple[Path, ...]:
    """Write what a bundle found in one image.

    Args:
        folder: Made if it is missing.
        name: Stem of the files.
        image: The original image.
        outputs: Result of `Runner.run` on this image alone.
        manifest: Of the bundle; without postprocessing in it only the arrays are written.

    Returns:
        The files.

    Raises:
        BundleError: A file cannot be written.
    """
    rule, facts = manifest.postprocessing, manifest.preprocessing
    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        files = [write_arrays(folder, name, outputs, manifest)]
        first = outputs[manifest.outputs[0].name]
        classes = class_mask(first, rule) if rule and facts else None
        if facts and classes is not None and classes.max() < COLOURS:
            pixels, window = _original(image, facts)
            files += draw_mask(on_image(classes, window, *pixels.shape[:2]), pixels, folder, name)
    return tuple(files)


def draw_mask(
    mask: NDArray[np.int64], pixels: NDArray[np.uint8], folder: Path, name: str
) -> list[Path]:
    """Write `<name>_mask.png` and `<name>_overlay.png`.

    Args:
        mask: Class numbers below 256, shape (H, W).
        pixels: The image, RGB, shape (H, W, 3).
        folder: It exists.
        name: Stem of the files.

    Returns:
        The files.
    """
    from PIL import Image

    indexed = Image.fromarray(mask.astype(np.uint8))
    indexed.putpalette(palette().tobytes())
    files = [folder / f"{name}_mask.png", folder / f"{name}_overlay.png"]
    indexed.save(files[0])
    Image.fromarray(overlay(pixels, mask)).save(files[1])
    return files


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Tell of a disk that refuses."""
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"results cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            fix="give a folder that can be written, on a disk with space left",
        ) from error


def _original(image: Path, facts: Preprocessing) -> tuple[NDArray[np.uint8], Window]:
    """RGB pixels (H, W, 3) as the chain reads them, and the part that the network sees."""
    from compiler.preprocess.ops import DecodeImage
    from compiler.preprocess.serialise import op_from_dict

    ops = [op_from_dict(op) for op in facts.ops]
    reader = next((op for op in ops if isinstance(op, DecodeImage)), DecodeImage())
    pixels = reader(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels, seen_window(ops, facts.shape, *pixels.shape[:2])
