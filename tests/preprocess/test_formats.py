"""Arrays of every image format become the RGB that chains read."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from compiler.preprocess.formats import ColorSpace, ImageFormat, to_rgb

RGB = np.random.default_rng(3).integers(0, 256, (4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("image_format", "array"),
    [
        ("RGB_INTERLEAVE", RGB),
        ("BGR_INTERLEAVE", RGB[:, :, ::-1]),
        ("RGB_PLANAR", RGB.transpose(2, 0, 1)),
        ("BGR_PLANAR", RGB[:, :, ::-1].transpose(2, 0, 1)),
    ],
)
def test_colour_layouts_become_rgb_pixels(
    image_format: ImageFormat, array: NDArray[np.uint8]
) -> None:
    array = array.copy()
    array.flags.writeable = False
    np.testing.assert_array_equal(to_rgb(array, image_format), RGB)


def test_gray_stays_gray() -> None:
    gray = RGB[:, :, 0]
    np.testing.assert_array_equal(to_rgb(gray, "GRAY"), gray)
    np.testing.assert_array_equal(to_rgb(gray[None], "GRAY"), gray)


def nv12(y: float, u: float, v: float) -> NDArray[np.uint8]:
    """A 2×2 image of one colour."""
    return np.array([[y, y], [y, y], [u, v]]).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("color_space", "yuv"),
    [("BT601", (106.10, 202.40, 142.47)), ("BT709", (94.49, 205.45, 148.42))],
)
def test_the_recorded_nv12_colour_is_recovered_within_its_rounding(
    color_space: ColorSpace, yuv: tuple[float, float, float]
) -> None:
    pixels = to_rgb(nv12(*yuv), "YUV_NV12", color_space)
    assert pixels.shape == (2, 2, 3)
    assert np.abs(pixels.astype(int) - [128, 64, 255]).max() <= 2


def test_nv12_of_bt601_agrees_with_opencv_to_one_step() -> None:
    array = np.random.default_rng(5).integers(0, 256, (36, 32), np.uint8)
    expected = cv2.cvtColor(array, cv2.COLOR_YUV2RGB_NV12)
    assert np.abs(to_rgb(array, "YUV_NV12").astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("image_format", "shape", "dtype"),
    [
        ("RGB_PLANAR", (4, 6, 3), np.uint8),
        ("RGB_INTERLEAVE", (3, 4, 6), np.uint8),
        ("BGR_INTERLEAVE", (4, 6), np.uint8),
        ("GRAY", (3, 4, 6), np.uint8),
        ("YUV_NV12", (4, 6), np.uint8),
        ("YUV_NV12", (6, 3), np.uint8),
        ("RGB_PLANAR", (3, 0, 6), np.uint8),
        ("RGB_PLANAR", (3, 4, 6), np.float32),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(
    image_format: ImageFormat, shape: tuple[int, ...], dtype: Any
) -> None:
    with pytest.raises(ValueError, match=f"is no {image_format} image; expected \\["):
        to_rgb(np.zeros(shape, dtype), image_format)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="'BGR888' is not one of RGB_PLANAR, "):
        to_rgb(RGB, "BGR888")  # type: ignore[arg-type]  # that is the mistake
