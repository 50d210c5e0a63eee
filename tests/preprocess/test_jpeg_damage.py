"""JPEGs are not decoded twice to find damage; what a decoder would refuse is refused all the same.

Damage inside of entropy-coded data that leads to other pixels only is found by no decoder.
"""

import io
import random
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from compiler.errors import CalibrationError
from compiler.preprocess.decode import decode_image

VARIANTS: list[dict[str, object]] = [
    {},
    {"progressive": True},
    {"quality": 95, "restart_marker_blocks": 3},
    {"comment": b"\xff\xd9 is no end here"},
]


def photo(**options: object) -> bytes:
    """A smooth picture with some noise, 96×80."""
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (6, 5, 3), np.uint8)
    pixels = cv2.resize(small, (80, 96), interpolation=cv2.INTER_CUBIC)
    noisy = cv2.add(pixels, rng.integers(0, 20, pixels.shape, np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def refused(data: bytes) -> bool:
    try:
        decode_image(data, 1, None)
    except CalibrationError:
        return True
    return False


def pillow_refuses(data: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.open(io.BytesIO(data)).load()
    except Exception:
        return True
    return False


@pytest.mark.parametrize("options", VARIANTS)
def test_a_whole_jpeg_is_accepted_also_with_bytes_behind_its_end(
    options: dict[str, object],
) -> None:
    data = photo(**options)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    expected = decoded[:, :, ::-1]
    for tail in (b"", b"\0" * 100, data):
        np.testing.assert_array_equal(decode_image(data + tail, 1, None), expected)


@pytest.mark.parametrize("options", VARIANTS)
def test_a_jpeg_cut_anywhere_is_refused(options: dict[str, object]) -> None:
    data = photo(**options)
    accepted = [length for length in range(0, len(data), 7) if not refused(data[:length])]
    assert accepted == []
    assert refused(data[:-1])
    assert refused(data[:-2])


def test_the_end_mark_of_an_embedded_picture_is_not_the_end() -> None:
    data, inner = photo(), photo(quality=30)
    segment = b"\xff\xe2" + (len(inner) + 2).to_bytes(2, "big") + inner
    nested = data[:2] + segment + data[2:]
    assert not refused(nested)
    assert refused(nested[: -len(data) // 2])


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_whatever_pillow_refuses_is_refused(options: dict[str, object]) -> None:
    """Single bytes changed, bytes lost, and stretches of noise."""
    data, rng = photo(**options), random.Random(7)
    missed = []
    for _ in range(300):
        start = rng.randrange(len(data))
        length = rng.choice([1, 1, 1, 2, 40, 400])
        noise = rng.randbytes(rng.choice([length, 0]))
        damaged = data[:start] + noise + data[start + length :]
        if pillow_refuses(damaged) and not refused(damaged):
            missed.append((start, length, noise))
    assert missed == []


def test_a_foreign_marker_between_the_data_is_named() -> None:
    data = photo()
    middle = len(data) * 3 // 4
    with pytest.raises(CalibrationError, match="marker FFD8 in its data"):
        decode_image(data[:middle] + b"\xff\xd8" + data[middle:], 1, None)
