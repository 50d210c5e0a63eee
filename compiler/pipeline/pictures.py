"""Pictures that only a build can make: its calibration images, and samples before and after."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from compiler.errors import CalibrationError
from compiler.page.contents import Comparison, Thumbnail
from compiler.pipeline.samples import Feeds, Samples
from compiler.pipeline.spread import spread
from compiler.preprocess.chain import Chain
from compiler.preprocess.decode import decode_image
from compiler.preprocess.formula import SWAP, find_formula
from compiler.preprocess.ops import CustomFunc
from compiler.runner.engine import Tensor
from compiler.runner.manifest import Postprocessing
from compiler.runner.masks import class_mask
from compiler.runner.results import COLOURS, palette
from compiler.verify.compare import Tensors

THUMBNAILS: Final = 48
COMPARISONS: Final = 4

_THUMBNAIL_SIDE: Final = 96
_QUALITY: Final = 70
_SIDE: Final = 256  # of the pictures of a comparison, at most
_COLOUR: Final = 1  # flag of cv2.imread
_SAME, _SAME_CLASS, _DIFFERENT = (24, 24, 24), (110, 110, 110), (255, 64, 64)

Pixels = NDArray[np.uint8]


@dataclass(slots=True)
class Shown:
    """The samples that a page shows.

    Args:
        names: Of their files; none for random inputs.
        feeds: What the networks read.
        before: What the original network makes of them.
        after: What the compiled one does; `look` fills it in.
    """

    names: Sequence[str]
    feeds: Sequence[Feeds]
    before: Sequence[Tensors]
    after: list[Tensors] = field(default_factory=list)

    def look(self, outputs: Tensors) -> None:
        """Keep the outputs for the next sample, as long as they are wanted."""
        if len(self.after) < min(COMPARISONS, len(self.names)):
            self.after.append(outputs)


def make_thumbnails(samples: Samples | None) -> tuple[Thumbnail, ...]:
    """Calibration images, small: at most THUMBNAILS, spread evenly; none of arrays."""
    if samples is None or samples.chain is None:
        return ()
    chosen = spread(samples.calibration, THUMBNAILS)
    return tuple(open_thumbnails(((one.name, one.path) for one in chosen), _THUMBNAIL_SIDE))


def open_thumbnails(files: Iterable[tuple[str, Path]], side: int) -> Iterator[Thumbnail]:
    """Image files, small; those that cannot be read are left out, for others tell of them.

    Args:
        files: Names to show, and paths.
        side: Most pixels along the longer edge.
    """
    for name, path in files:
        with suppress(CalibrationError, OSError):
            picture = _open_small(path, side)
            picture.thumbnail((side, side))
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=_QUALITY, optimize=True)
            yield Thumbnail(name, stream.getvalue(), picture.width, picture.height)


def make_comparisons(
    shown: Shown, output: str, rule: Postprocessing | None, chain: Chain | None
) -> tuple[Comparison, ...]:
    """Samples side by side; none where the network reads no image or yields no mask.

    Args:
        shown: The samples.
        output: Name of the output that is, or becomes, a mask.
        rule: How it does.
        chain: How an image becomes an input; None for arrays.
    """
    if rule is None:
        return ()
    samples = zip(shown.names, shown.feeds, shown.before, shown.after, strict=False)
    return tuple(
        _compare(name, _seen(image, chain), before[output], after[output], rule)
        for name, feeds, before, after in samples
        if (image := _image_of(feeds)) is not None
    )


def _open_small(path: Path, side: int) -> Image.Image:
    """An image in RGB; a JPEG is decoded at a fraction of its size, which takes a fraction."""
    with Image.open(path) as picture:
        if picture.format != "JPEG":
            return Image.fromarray(decode_image(path, _COLOUR, None))
        picture.draft("RGB", (2 * side, 2 * side))
        return ImageOps.exif_transpose(picture).convert("RGB")


def _image_of(feeds: Feeds) -> Tensor | None:
    """The only input, if it is one image of one or three channels."""
    first, *others = feeds.values()
    fits = first.ndim == 4 and first.shape[0] == 1 and first.shape[1] in (1, 3)
    return first if fits and not others else None


def _seen(tensor: Tensor, chain: Chain | None) -> Pixels:
    """The image in a network's input (1, C, H, W), as pixels (H, W, 3) in RGB or (H, W).

    The values of the preprocessing are mapped back; of other inputs, from the smallest to the
    largest.
    """
    planes, swapped = tensor[0].astype(np.float64), False
    low, high = planes.min(keepdims=True), planes.max(keepdims=True)
    if chain is not None and not any(isinstance(op, CustomFunc) for op in chain.ops):
        formula = find_formula(chain.ops, chain.shape)
        low, high = (formula.values.at(end)[:, None, None] for end in (0, 255))
        swapped = SWAP in formula.channels
    width = np.where(high == low, 1.0, high - low)
    scaled = np.rint((planes - low) / width * 255).clip(0, 255)
    pixels: Pixels = scaled.astype(np.uint8).transpose(1, 2, 0)
    if swapped:
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _compare(
    name: str, image: Pixels, before: Tensor, after: Tensor, rule: Postprocessing
) -> Comparison:
    masks = class_mask(before, rule), class_mask(after, rule)
    differs = masks[0] != masks[1]
    count, total = int(differs.sum()), differs.size
    return Comparison(
        name=name,
        image=_png(Image.fromarray(image)),
        fp32=_picture(before, masks[0], rule),
        compiled=_picture(after, masks[1], rule),
        difference=_difference(masks[0], differs),
        note=f"{count:,} of {total:,} pixels differ ({100 * count / total:.2f} %)",
    )


def _picture(output: Tensor, mask: NDArray[np.int64], rule: Postprocessing) -> bytes:
    """The certainty of one channel in shades of grey; else the classes in their colours."""
    if rule.kind != "binary":
        return _indexed(mask % COLOURS, palette())
    scores = np.nan_to_num(output[0, 0].astype(np.float64))
    if not rule.threshold:  # logits
        scores = 1 / (1 + np.exp(-scores.clip(-30, 30)))
    return _png(
        Image.fromarray(np.rint(255 * scores.clip(0, 1)).astype(np.uint8)), Image.Resampling.NEAREST
    )


def _difference(mask: NDArray[np.int64], differs: NDArray[np.bool_]) -> bytes:
    """What both agree on in grey, with what they do not above it; a single pixel stays visible."""
    step = max(1, -(-max(mask.shape) // _SIDE))
    kinds = np.where(differs, 2, mask > 0)
    rows, columns = (-(-side // step) * step for side in mask.shape)
    padded = np.pad(kinds, ((0, rows - mask.shape[0]), (0, columns - mask.shape[1])))
    blocks = padded.reshape(rows // step, step, columns // step, step).max(axis=(1, 3))
    return _indexed(blocks, np.array([_SAME, _SAME_CLASS, _DIFFERENT], np.uint8))


def _indexed(numbers: NDArray[Any], colours: Pixels) -> bytes:  # Any: whole numbers below 256
    picture = Image.fromarray(numbers.astype(np.uint8))
    picture.putpalette(colours.tobytes())
    return _png(picture, Image.Resampling.NEAREST)


def _png(picture: Image.Image, resample: Image.Resampling = Image.Resampling.BOX) -> bytes:
    picture.thumbnail((_SIDE, _SIDE), resample)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()
