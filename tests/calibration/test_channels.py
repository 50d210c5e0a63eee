"""Statistics of channels, and what they say against a normalization."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.channels import Channels, Doubt, Order, Scaling, doubt_normalization

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LEVELS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
OWN = ((0.30, 0.38, 0.52), (0.25, 0.25, 0.25))


def images(seed: int, count: int = 4) -> NDArray[np.uint8]:
    """RGB images whose means are those of OWN."""
    random = np.random.default_rng(seed)
    means = 255 * np.array(OWN[0])
    return random.normal(means, 50, (count, 24, 24, 3)).clip(0, 255).astype(np.uint8)


def statistics(pixels: NDArray[np.uint8]) -> Channels:
    found = Channels()
    for image in pixels:
        planes = image.reshape(-1, image.shape[-1]).T
        found.add_counts(np.array([np.bincount(plane, minlength=256) for plane in planes]))
    return found


def doubts(
    *steps: Scaling,
    order: Order | None = "RGB",
    reads_levels: bool = False,
    pixels: NDArray[np.uint8] | None = None,
) -> tuple[Doubt, ...]:
    """Of images that went through the steps."""
    seen = images(0) if pixels is None else pixels
    received = Channels()
    for image in seen:
        values = image.astype(np.float64)[:, :, :: -1 if order == "BGR" else 1]
        for step in steps:
            values = values / 255 if step.divides else values
            if step.mean is not None:
                values = (values - step.mean) / step.std
        received.add_tensor(values.transpose(2, 0, 1)[None].astype(np.float32))
    return doubt_normalization(
        statistics(seen), received, steps, order=order, reads_levels=reads_levels
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 5))
def test_mean_and_deviation_are_those_of_all_pixels_of_equal_images(seed: int, count: int) -> None:
    pixels = images(seed, count)
    found, tensors = statistics(pixels), Channels()
    for image in pixels:
        tensors.add_tensor(image.transpose(2, 0, 1)[None])
    for one in (found, tensors):
        np.testing.assert_allclose(one.mean(), pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(one.deviation(), pixels.std(axis=(0, 1, 2)), rtol=1e-9)


def test_a_large_image_weighs_as_much_as_a_small_one() -> None:
    found = Channels()
    found.add_tensor(np.zeros((1, 1, 100, 100), np.float32))
    found.add_tensor(np.ones((1, 1, 2, 2), np.float32))
    assert found.mean() == (0.5,)
    assert found.deviation() == (0.5,)


def test_nothing_seen_has_no_channels() -> None:
    assert Channels().mean() == Channels().deviation() == ()


@pytest.mark.parametrize(
    "steps",
    [
        [Scaling(None, None, True)],
        [Scaling(*IMAGENET, True)],
        [Scaling(*LEVELS, False)],
        [Scaling(*OWN, True)],
        [Scaling((0.5,), (0.5,), True)],
        [Scaling((127.5,), (127.5,), False)],
        [Scaling(None, None, True), Scaling(*IMAGENET, False)],
    ],
)
def test_usual_normalizations_raise_no_doubt(steps: list[Scaling]) -> None:
    assert doubts(*steps) == ()


@pytest.mark.parametrize("constants", [IMAGENET, LEVELS])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_the_mean_of_photographs_in_the_other_order_is_called_out(
    constants: tuple[tuple[float, ...], tuple[float, ...]], order: Order
) -> None:
    mean, std = constants if order == "BGR" else (constants[0][::-1], constants[1][::-1])
    [doubt] = doubts(Scaling(mean, std, constants is IMAGENET), order=order)
    assert doubt.kind == "channel_order"
    assert f"but the channels are {', '.join(order)} when they are normalized" in doubt.text
    assert f"in the order {', '.join(order)}" in doubt.fix


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_mean_measured_on_these_images_for_the_other_order_is_called_out(order: Order) -> None:
    mean = OWN[0] if order == "BGR" else OWN[0][::-1]
    [doubt] = doubts(Scaling(mean, OWN[1], True), order=order)
    assert doubt.kind == "channel_order"
    assert "is that of these images" in doubt.text
    assert doubts(Scaling(mean[::-1], OWN[1], True), order=order) == ()


def test_an_unknown_order_or_one_channel_is_not_judged() -> None:
    assert doubts(Scaling(IMAGENET[0][::-1], IMAGENET[1], True), order=None) == ()
    grey = images(0)[:, :, :, :1]
    assert doubts(Scaling(OWN[0][::-1], OWN[1], True), pixels=images(0)) != ()
    assert doubts(Scaling((0.4,), (0.25,), True), pixels=grey) == ()


@pytest.mark.parametrize(
    ("steps", "text", "fix"),
    [
        ([Scaling(*IMAGENET, False)], "in 0 to 1, but values were not divided", "div255: true"),
        ([Scaling(*LEVELS, True)], "in 0 to 255, but values were divided", "div255: false"),
        ([Scaling(None, None, False)], "receives values of 0 to 255", "div255: true"),
        ([Scaling(None, None, True)] * 2, "divided by 255 twice", "one step alone"),
        (
            [Scaling(None, None, True), Scaling(*IMAGENET, True)],
            "far from zero mean and unit deviation",
            "correct mean, std and div255",
        ),
        ([], "receives values of 0 to 255", "add {type: Normalize, norm_type: null}"),
    ],
)
def test_a_slip_of_255_is_called_out(steps: list[Scaling], text: str, fix: str) -> None:
    [doubt] = doubts(*steps)
    assert doubt.kind == "scale"
    assert text in doubt.text
    assert fix in doubt.fix


def test_a_network_that_scales_levels_itself_may_receive_them() -> None:
    assert doubts(Scaling(None, None, False), reads_levels=True) == ()


def test_images_that_hardly_vary_say_nothing_about_scales() -> None:
    flat = np.full((3, 8, 8, 3), 40, np.uint8)
    assert doubts(Scaling(*LEVELS, True), pixels=flat) == ()


def test_grey_images_do_not_say_which_order_a_colour_mean_has() -> None:
    grey = images(0)[:, :, :, :1]
    received = Channels()
    received.add_tensor(np.random.default_rng(0).normal(0, 1, (1, 3, 8, 8)))
    steps = [Scaling(OWN[0][::-1], OWN[1], True)]
    assert doubt_normalization(statistics(grey), received, steps, order="RGB") == ()
