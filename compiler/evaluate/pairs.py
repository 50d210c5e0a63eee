"""Which mask belongs to which image: explicit rules, and a list of all that stays alone.

A pattern such as `{stem}_matte.png` or `{stem}*` names the mask of the image `<stem>.<type>`; `*`,
`?` and `[…]` stand for other characters, as in a shell, and a pattern without a type fits any. A
mask that fits several images belongs to the one with the longest stem (`ab_mask.png` to `ab.jpg`,
not to `a.jpg`). Whatever is then still open is an error: nothing is chosen in silence.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Final

from PIL import Image

from compiler.errors import CalibrationError

STEM: Final = "{stem}"
PATTERNS: Final = (STEM, *(STEM + end for end in ("_mask", "_matte", "_gt", "_label", "_labels")))
"""What masks are called where nobody says so."""

IMAGE_TYPES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
_RATIO_TOLERANCE: Final = 0.02  # sides of a resized mask are whole numbers


@dataclass(frozen=True, slots=True)
class Pair:
    """An image (or whatever else has a mask, such as a line of a datalist) and its mask."""

    image: Path
    mask: Path


@dataclass(frozen=True, slots=True)
class Pairing:
    """What belongs together, and what was found alone.

    Args:
        pairs: In the order of the images.
        without_mask: Images that no mask fits.
        without_image: Masks that fit no image.
    """

    pairs: tuple[Pair, ...]
    without_mask: tuple[Path, ...] = ()
    without_image: tuple[Path, ...] = ()


def pair_folders(
    images: Path, masks: Path, *, pattern: str | None = None, image_pattern: str = STEM
) -> Pairing:
    """Pair the images of one folder with the masks of another, or of the same one.

    A folder that holds no picture itself is searched with its subfolders; an image in `city/` then
    meets masks in `city/` alone.

    Args:
        images: Folder of images.
        masks: Folder of masks. The same one: files that are masks are no images, and a mask needs
            another name than its image.
        pattern: Of the masks' names; by default any of `PATTERNS`.
        image_pattern: Of the images' names, if these have a part that the masks lack:
            `{stem}_leftImg8bit` with the pattern `{stem}_gtFine_labelIds`.

    Returns:
        Pairs sorted by the image's name.

    Raises:
        CalibrationError: A folder is missing or empty, a pattern lacks `{stem}`, or two files
            compete for one partner.
    """
    patterns = PATTERNS if pattern is None else (pattern,)
    if images.resolve() == masks.resolve():
        return _pair_within(pictures(images), patterns, image_pattern)
    return pair_files(
        pictures(images, beside=masks),
        pictures(masks, beside=images),
        patterns=patterns,
        image_pattern=image_pattern,
        roots=(images, masks),
    )


def pair_files(
    images: Sequence[Path],
    masks: Sequence[Path],
    *,
    patterns: Sequence[str] = PATTERNS,
    image_pattern: str = STEM,
    roots: tuple[Path, Path] | None = None,
) -> Pairing:
    """Pair files by their names.

    Args:
        images: Files, or names of files that need not exist.
        masks: Likewise.
        patterns: Any of which a mask's name fits; see the module.
        image_pattern: Of the images' names.
        roots: Folders of images and masks below which the paths of partners agree; None: the
            folders of the files do not matter.

    Raises:
        CalibrationError: As in `pair_folders`.
    """
    stems = _by_stem(images, image_pattern, roots[0] if roots else None)
    found: dict[Path, Path] = {}
    alone = []
    for mask in masks:
        folder = mask.parent.relative_to(roots[1]) if roots else Path()
        owners = _owners(mask, stems.get(folder, {}), patterns)
        if not owners:
            alone.append(mask)
            continue
        if len(owners) > 1:
            raise _ambiguous("mask", mask, "images", owners)
        if owners[0] in found:
            raise _ambiguous("image", owners[0], "masks", [found[owners[0]], mask])
        found[owners[0]] = mask
    return Pairing(
        tuple(Pair(image, found[image]) for image in images if image in found),
        tuple(image for image in images if image not in found),
        tuple(alone),
    )


def pair_masks(images: Path, masks: Path) -> tuple[Pair, ...]:
    """Pairs of two folders, every image of which must have a mask; see `pair_folders`.

    Raises:
        CalibrationError: As there, or an image has no mask.
    """
    pairing = pair_folders(images, masks)
    if pairing.without_mask:
        alone = [path.name for path in pairing.without_mask]
        raise CalibrationError(
            f"{len(alone)} image(s) have no mask: {some(alone)}",
            where=str(masks),
            fix="name each mask like its image (a.jpg: a.png, a_mask.png or a_matte.png)",
        )
    return pairing.pairs


def note_sizes(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What to know where masks have another size than their images; reads headers alone.

    The rule: image and mask are each resized to the network's size, whatever size they have.
    """
    other, stretched = [], []
    for pair in pairs:
        (width, height), (mask_width, mask_height) = _size(pair.image), _size(pair.mask)
        if (width, height) != (mask_width, mask_height):
            other.append(pair.mask.name)
            ratio = (width * mask_height) / (height * mask_width)
            if abs(ratio - 1) > _RATIO_TOLERANCE:
                stretched.append(pair.mask.name)
    notes = []
    if other:
        notes.append(
            f"{len(other)} of {len(pairs)} masks have another size than their image; image and "
            "mask are each resized to the network's size"
        )
    if stretched:
        notes.append(
            f"{len(stretched)} mask(s) have another aspect ratio than their image and may belong "
            f"to others: {some(stretched)}"
        )
    return tuple(notes)


def pictures(folder: Path, *, beside: Path | None = None) -> list[Path]:
    """Pictures of a folder, sorted; those of its subfolders if it holds none itself.

    Args:
        folder: Where to look.
        beside: A folder whose files are left out, should it lie below `folder`.

    Raises:
        CalibrationError: There is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise CalibrationError(
            "no such folder", where=str(folder), fix="correct the folders of images and masks"
        )
    found = _pictures(folder.iterdir()) or [
        path
        for path in _pictures(folder.rglob("*"))
        if beside is None or not path.resolve().is_relative_to(beside.resolve())
    ]
    if not found:
        raise CalibrationError(
            f"no image in it ({', '.join(sorted(IMAGE_TYPES))})",
            where=str(folder),
            fix="correct the folders of images and masks",
        )
    return found


def some(names: Sequence[str], limit: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in IMAGE_TYPES and p.is_file())


def _pair_within(files: Sequence[Path], patterns: Sequence[str], image_pattern: str) -> Pairing:
    stems = _by_stem(files, image_pattern, None)
    named = [pattern for pattern in patterns if pattern != STEM]
    masks = {path: None for path in files if _owners(path, stems.get(Path(), {}), named)}
    images = [path for path in files if path not in masks]
    return pair_files(images, list(masks), patterns=named, image_pattern=image_pattern)


def _by_stem(
    images: Sequence[Path], pattern: str, root: Path | None
) -> Mapping[Path, Mapping[str, list[Path]]]:
    """Images by folder below the root and, in it, by what their masks are named after."""
    _check(pattern)
    before, after = (".*".join(map(re.escape, part.split("*"))) for part in pattern.split(STEM, 1))
    expression = re.compile(f"{before}(?P<stem>.+){after}")
    found: dict[Path, dict[str, list[Path]]] = {}
    for image in images:
        match = expression.fullmatch(image.stem) or expression.fullmatch(image.name)
        if match:
            folder = image.parent.relative_to(root) if root else Path()
            found.setdefault(folder, {}).setdefault(match["stem"], []).append(image)
    return found


def _owners(mask: Path, stems: Mapping[str, list[Path]], patterns: Sequence[str]) -> list[Path]:
    """The images with the longest stem that a mask fits, never the mask itself."""
    for pattern in patterns:
        _check(pattern)
    name = mask.name
    for length in range(len(name), 0, -1):
        parts = {name[start : start + length] for start in range(len(name) - length + 1)}
        owners = [
            image
            for part in sorted(parts)
            for image in stems.get(part, ())
            if image != mask and any(_fits(mask, part, pattern) for pattern in patterns)
        ]
        if owners:
            return owners
    return []


def _fits(mask: Path, stem: str, pattern: str) -> bool:
    wanted = pattern.replace(STEM, escape(stem))
    return fnmatchcase(mask.name, wanted) or fnmatchcase(mask.stem, wanted)


def _check(pattern: str) -> None:
    if STEM not in pattern:
        raise CalibrationError(
            f"no {STEM} in it",
            where=f"pattern {pattern!r}",
            fix=f"say where the image's name stands, as in '{STEM}_matte.png'",
        )


def _ambiguous(what: str, path: Path, others: str, names: Sequence[Path]) -> CalibrationError:
    return CalibrationError(
        f"two {others} fit this {what}: {names[0].name} and {names[1].name}",
        where=str(path),
        fix=f"move one away, or give a pattern that fits one ('{STEM}_mask.png')",
    )


def _size(path: Path) -> tuple[int, int]:
    with open_picture(path) as image:
        return image.size


def open_picture(path: Path) -> Image.Image:
    """Open a picture without reading its pixels.

    Raises:
        CalibrationError: It is missing or no picture.
    """
    try:
        return Image.open(path)
    except (OSError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> CalibrationError:
    """What to say of a file that is no picture."""
    return CalibrationError(
        f"not a readable image: {error}", where=str(path), fix="replace or remove it"
    )
