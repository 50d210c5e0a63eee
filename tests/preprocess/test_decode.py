"""Files that cannot be trusted are refused by path; others decode as the library does it."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compiler.errors import CalibrationError
from compiler.preprocess.decode import decode_image


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(pixels: NDArray[np.uint8], kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM"])
def test_opencv_pixels_are_those_of_imread(
    kind: str, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(encoded(photo, kind))
    expected = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR))[:, :, ::-1]
    np.testing.assert_array_equal(decode_image(path, 1, None), expected)
    np.testing.assert_array_equal(decode_image(path.read_bytes(), 1, "opencv"), expected)


@pytest.mark.parametrize(("flags", "mode"), [(0, "L"), (1, "RGB")])
def test_pillow_pixels_are_those_of_convert(
    flags: int, mode: str, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo, "JPEG"))
    expected = np.asarray(Image.open(path).convert(mode))
    np.testing.assert_array_equal(decode_image(path, flags, "pillow"), expected)


def test_opencv_turns_a_photo_upright_unless_told_not_to_and_pillow_does_not(
    photo: NDArray[np.uint8],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: quarter turn
    data = encoded(photo, "JPEG", exif=exif)
    assert decode_image(data, 1, None).shape == (60, 40, 3)
    assert decode_image(data, 129, None).shape == (40, 60, 3)
    assert decode_image(data, 1, "pillow").shape == (40, 60, 3)


def test_reduced_flags_decode_at_a_fraction_of_the_size(photo: NDArray[np.uint8]) -> None:
    data = encoded(photo, "JPEG")
    assert decode_image(data, 17, None).shape == (20, 30, 3)
    assert decode_image(data, 32, None).shape == (10, 15)


def test_alpha_is_dropped_and_16_bits_become_8() -> None:
    with_alpha = np.full((2, 2, 4), (10, 20, 30, 99), np.uint8)
    np.testing.assert_array_equal(
        decode_image(encoded(with_alpha, "PNG"), 1, None), np.full((2, 2, 3), (10, 20, 30))
    )
    _, deep = cv2.imencode(".png", np.full((2, 2), 0x80FF, np.uint16))
    decoded = decode_image(deep.tobytes(), 1, None)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, np.full((2, 2, 3), 0x80))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("backend", [None, "pillow"])
def test_a_truncated_file_is_an_error_not_a_half_grey_image(
    kind: str, backend: None, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    data = encoded(photo, kind)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CalibrationError, match=r"truncated|not an image") as caught:
        decode_image(path, 1, backend)
    assert caught.value.where == str(path)
    assert "remove" in caught.value.fix


@pytest.mark.parametrize(("content", "what"), [(b"", "empty"), (b"hello, world", "not an image")])
def test_a_file_that_is_no_image_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=what) as caught:
        decode_image(path, 1, None)
    assert caught.value.where == str(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent.png", "No such file"), (tmp_path, "directory")):
        with pytest.raises(CalibrationError, match=reason) as caught:
            decode_image(str(path), 1, None)
        assert caught.value.where == str(path)


@pytest.mark.parametrize("side", [10_000, 20_000])  # above Pillow's warning, above its error
def test_a_decompression_bomb_is_refused_from_its_header(side: int, tmp_path: Path) -> None:
    data = bytearray(encoded(np.zeros((1, 1), np.uint8), "BMP"))
    data[18:22] = data[22:26] = side.to_bytes(4, "little")
    with pytest.raises(CalibrationError, match="decompression bomb") as caught:
        decode_image(bytes(data), 1, None)
    assert caught.value.where == "image bytes"


def test_a_format_that_only_pillow_reads_says_so(photo: NDArray[np.uint8]) -> None:
    data = encoded(photo, "PCX")
    with pytest.raises(CalibrationError, match="OpenCV cannot decode") as caught:
        decode_image(data, 1, None)
    assert "backend: pillow" in caught.value.fix
    np.testing.assert_array_equal(decode_image(data, 1, "pillow"), photo)
