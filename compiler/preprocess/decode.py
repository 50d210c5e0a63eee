"""Image files → pixels, with a clear refusal of what cannot be trusted.

OpenCV answers a truncated file with a half-gray image and an unknown one with nothing, so Pillow
examines the bytes first, whichever library decodes.
"""

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CalibrationError
from compiler.preprocess.pixels import Backend

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
    _examine(data, where)
    if backend == "pillow":
        return _decode_pillow(data, cv2_flags)
    return _decode_opencv(data, where, cv2_flags)


def is_gray(cv2_flags: int) -> bool:
    """Whether these `cv2.imread` flags give one channel."""
    return cv2_flags % 2 == 0


def _read(image: Path | str | bytes) -> tuple[bytes, str]:
    if isinstance(image, bytes):
        return image, "image bytes"
    try:
        return Path(image).read_bytes(), str(image)
    except OSError as error:
        raise CalibrationError(
            f"image cannot be read: {error.strerror or error}",
            where=str(image),
            fix="check the path and its permissions",
        ) from error


def _examine(data: bytes, where: str) -> None:
    """Refuse bytes that are not one complete image of reasonable size."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise CalibrationError("image file is empty", where=where, fix="copy the file again")
    try:
        with _HEADER_LOCK, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        image.draft("RGB", (1, 1))  # JPEG: all data is read, an eighth of the size is computed
        image.load()
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
            fix="remove the file, or set dataset.sampler.suffix to that of the images",
        ) from None
    except Exception as error:  # decoders of damaged bytes raise many classes
        raise CalibrationError(
            f"image is truncated or damaged: {error}",
            where=where,
            fix="copy the file again, or remove it",
        ) from error


def _decode_pillow(data: bytes, cv2_flags: int) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L" if is_gray(cv2_flags) else "RGB"))


def _decode_opencv(data: bytes, where: str, cv2_flags: int) -> NDArray[np.uint8]:
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2_flags)
    if image is None:
        raise CalibrationError(
            "OpenCV cannot decode this image, Pillow can",
            where=where,
            fix="convert it to PNG or JPEG, or set backend: pillow at DecodeImage",
        )
    decoded = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.asarray(decoded, np.uint8)
