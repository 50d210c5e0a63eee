"""What is noticed about one image."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from calibration.picture import examine, read_header


def scene(seed: int = 0, height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_the_header_tells_format_mode_and_size() -> None:
    file = io.BytesIO()
    Image.fromarray(scene()[:, :, 0]).save(file, "PNG")
    header = read_header(file.getvalue())
    assert (header.format, header.mode, header.width, header.height) == ("PNG", "L", 80, 60)


def test_what_is_no_image_has_no_header() -> None:
    with pytest.raises(UnidentifiedImageError):
        read_header(b"no image")


@pytest.mark.parametrize("channels", [1, 3])
def test_levels_are_counted_per_channel(channels: int) -> None:
    pixels = scene() if channels == 3 else scene()[:, :, 0]
    counts = examine(pixels).counts
    planes = pixels.reshape(60, 80, channels)
    expected = [np.bincount(planes[:, :, i].ravel(), minlength=256) for i in range(channels)]
    np.testing.assert_array_equal(counts, expected)


def test_the_digest_is_of_pixels_and_size() -> None:
    pixels = scene()
    assert examine(pixels).digest == examine(pixels.copy()).digest
    assert examine(pixels).digest != examine(pixels.reshape(80, 60, 3)).digest
    assert examine(pixels).digest != examine(255 - pixels).digest


@pytest.mark.parametrize(
    ("low", "high", "tone"),
    [
        (0, 0, "constant"),
        (255, 255, "constant"),
        (96, 104, "constant"),
        (96, 112, None),
        (0, 256, None),
        (170, 256, "over-exposed"),
        (0, 45, "under-exposed"),
        (0, 120, None),
        (100, 256, None),
    ],
)
def test_the_range_of_levels_decides_the_tone(low: int, high: int, tone: str | None) -> None:
    pixels = (
        np.random.default_rng(1).integers(low, max(high, low + 1), (64, 64, 3)).astype(np.uint8)
    )
    assert examine(pixels).tone == tone


@pytest.mark.parametrize(("level", "tone"), [(255, "over-exposed"), (0, "under-exposed")])
def test_more_than_half_at_the_end_of_the_scale_is_an_exposure(level: int, tone: str) -> None:
    pixels = scene(height=100)
    pixels[:40] = level
    assert examine(pixels).tone is None
    pixels[:60] = level
    assert examine(pixels).tone == tone


def test_two_colours_of_equal_brightness_are_content() -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10], pixels[10:] = (200, 0, 0), (0, 102, 0)  # both 60 in grey
    assert examine(pixels).tone is None


def test_two_channels_are_no_image() -> None:
    with pytest.raises(ValueError, match=r"pixels of shape \[4, 4, 2\] given"):
        examine(np.zeros((4, 4, 2), np.uint8))
