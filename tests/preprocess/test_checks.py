"""Mistakes that the ops give away, and that the legitimate public chains do not set off."""

from typing import Any

import pytest

from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import chain_warnings
from compiler.preprocess.ops import Normalize, Pad, Resize

SWAP = {"type": "CvtColor", "code": "COLOR_RGB2BGR"}
RESIZE = {"type": "Resize", "size": [8, 8]}


def warnings_of(*ops: dict[str, Any]) -> tuple[str, ...]:
    return Chain.from_list([{"type": "DecodeImage"}, *ops, {"type": "ToTensor"}]).warnings()


def normalize(**fields: Any) -> dict[str, Any]:
    return {"type": "Normalize", **fields}


KERAS = normalize(div255=False, mean=[103.939, 116.779, 123.68], std=[1, 1, 1])
NANODET = normalize(mean=[0.406, 0.456, 0.485], std=[0.225, 0.224, 0.229])


@pytest.mark.parametrize("op", [KERAS, NANODET])
def test_a_bgr_ordered_mean_on_an_rgb_image_is_warned_of(op: dict[str, Any]) -> None:
    (warning,) = warnings_of(RESIZE, op)
    assert "looks BGR-ordered but the image is RGB" in warning
    assert warnings_of(RESIZE, SWAP, SWAP, op) == (warning,)


@pytest.mark.parametrize("op", [KERAS, NANODET])
def test_a_bgr_ordered_mean_is_right_after_a_swap(op: dict[str, Any]) -> None:
    assert warnings_of(SWAP, RESIZE, op) == ()
    assert warnings_of({"type": "CvtColor", "code": "BGR2RGB"}, RESIZE, op) == ()
    assert warnings_of({"type": "CvtColor", "code": "COLOR_RGB2YCrCb"}, RESIZE, op) == ()


@pytest.mark.parametrize("div255", [True, None, False])
def test_the_scale_of_the_mean_is_compared_with_div255(div255: bool | None) -> None:
    large = normalize(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], div255=div255)
    small = normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], div255=div255)
    assert ["0–255 scale" in text for text in warnings_of(RESIZE, large)] == [True] * bool(div255)
    assert ["0–1 scale" in text for text in warnings_of(RESIZE, small)] == [True] * (not div255)


def test_zero_mean_with_unit_deviation_fits_either_scale() -> None:
    for div255 in (True, False):
        assert warnings_of(RESIZE, normalize(mean=[0, 0, 0], std=[1, 1, 1], div255=div255)) == ()


def test_a_mean_that_norm_type_switches_off_is_warned_of() -> None:
    (warning,) = warnings_of(RESIZE, normalize(mean=[200], std=[1], norm_type="None"))
    assert "norm_type wins" in warning


def test_normalizing_twice_is_warned_of() -> None:
    (warning,) = warnings_of(RESIZE, normalize(norm_type=None), normalize(mean=[0.5], std=[0.5]))
    assert "Normalize stands 2 times" in warning


def test_a_ratio_keeping_resize_wants_a_pad() -> None:
    resize = Resize(size=(416, -1), adaptive_side="long")
    plain = Normalize(norm_type=None)
    (warning,) = chain_warnings([resize, plain], (3, 416, 416))
    assert warning == (
        "Resize [416, -1] keeps the ratio and no Pad follows: "
        "images are padded to 416×416 (centred, 114)"
    )
    assert chain_warnings([resize, plain]) == ()  # nothing is padded
    assert chain_warnings([resize, Pad(), plain], (3, 416, 416)) == ()
