"""Image files → pixels, with a clear refusal of what cannot be trusted.

OpenCV may answer a truncated file with a half-gray image and an unknown one with nothing, so
Pillow reads the header first, whichever library decodes. A JPEG is then whole if its segments lead
to its end mark, which is quick to see; any other file is whole if Pillow can decode it.
"""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CalibrationError
from compiler.preprocess.pixels import Backend

if TYPE_CHECKING:
    from PIL import Image

# Any marker but those inside entropy-coded data: a stuffed zero and the restart marks.
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_SCAN: Final = 0xDA
_JPEG_END: Final = 0xD9
# Tables, the number of lines, comments and application data.
_JPEG_AFTER_SCAN: Final = frozenset(
    {_JPEG_SCAN, 0xC4, *range(0xDB, 0xDE), *range(0xE0, 0xF0), 0xFE}
)

# warnings.catch_warnings changes the whole process: one image header at a time.
_HEADER_LOCK = threading.Lock()


def decode_image(
    image: Path | str | bytes, cv2_flags: int, backend: Backend | None
) -> NDArray[np.uint8]:
    """Decode to H×W×3 RGB, or H×W if the flags ask for gray.

    Args:
        image: Path, or the bytes of the file.
        cv2_flags: As `cv2.imread`; bit 0 set means colour.
        backend: Library that decodes; None is OpenCV. OpenCV applies the EXIF orientation,
            scales 16 bits to 8 and drops alpha; Pillow does what `Image.convert` does.

    Raises:
        CalibrationError: Missing, unreadable, truncated or oversized image.
    """
    data, where = _read(image)
    with _refusals(where):
        picture = _open(data)
        if backend == "pillow":
            return np.asarray(picture.convert("L" if is_gray(cv2_flags) else "RGB"))
        if picture.format in ("JPEG", "MPO"):
            _check_jpeg(data)
        else:
            picture.load()
    decoded = _decode_opencv(data, cv2_flags)
    if decoded is None:
        with _refusals(where):
            picture.load()
        raise CalibrationError(
            "OpenCV cannot decode this image, Pillow can",
            where=where,
            fix="convert it to PNG or JPEG, or set backend: pillow at DecodeImage",
        )
    return decoded


def is_gray(cv2_flags: int) -> bool:
    """Whether these `cv2.imread` flags give one channel."""
    return cv2_flags % 2 == 0


def _read(image: Path | str | bytes) -> tuple[bytes, str]:
    try:
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
    except OSError as error:
        raise CalibrationError(
            f"image cannot be read: {error.strerror or error}",
            where=str(image),
            fix="check the path and its permissions",
        ) from error
    where = "image bytes" if isinstance(image, bytes) else str(image)
    if not data:
        raise CalibrationError("image file is empty", where=where, fix="copy the file again")
    return data, where


@contextmanager
def _refusals(where: str) -> Iterator[None]:
    """Say what is wrong with an image that Pillow refuses."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise CalibrationError(
            f"image declares more than {Image.MAX_IMAGE_PIXELS} pixels (a decompression bomb?)",
            where=where,
            fix="remove the file, or shrink the image",
        ) from None
    except UnidentifiedImageError:
        raise CalibrationError(
            "not an image in a known format",
            where=where,
            fix="remove the file, convert it to PNG or JPEG, or choose images by their suffix",
        ) from None
    except Exception as error:  # decoders of damaged bytes raise many classes
        raise CalibrationError(
            f"image is truncated or damaged: {error}",
            where=where,
            fix="copy the file again, or remove it",
        ) from error


def _open(data: bytes) -> "Image.Image":
    """Read the header only."""
    from PIL import Image

    with _HEADER_LOCK, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data))


def _check_jpeg(data: bytes) -> None:
    """Follow the segments of a JPEG, whose header is good, to its end mark.

    Source: ITU-T T.81, B.1.1 (markers and segments) and B.2.1 (what may follow a scan).
    """
    position, in_scans = 2, False  # behind the start mark
    while found := _JPEG_MARKER.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker == _JPEG_END:
            return
        if in_scans and marker not in _JPEG_AFTER_SCAN:
            raise ValueError(f"marker FF{marker:02X} in its data")
        in_scans = in_scans or marker == _JPEG_SCAN
        position += int.from_bytes(data[position : position + 2], "big")
    raise ValueError("its end is missing")


def _decode_opencv(data: bytes, cv2_flags: int) -> NDArray[np.uint8] | None:
    """None for what OpenCV cannot decode."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2_flags)
    if image is None:
        return None
    decoded = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.asarray(decoded, np.uint8)
