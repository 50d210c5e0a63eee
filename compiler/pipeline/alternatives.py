"""Other preprocessing that a network may have been trained with, one change away from a chain."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Final, Literal, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from compiler.preprocess.chain import Chain, Image
from compiler.preprocess.checks import CHANNEL_SWAPS, Shape
from compiler.preprocess.ops import (
    CenterCrop,
    CustomFunc,
    CvtColor,
    DecodeImage,
    GeometryOp,
    Normalize,
    Op,
    Pad,
    Resize,
    ToTensor,
)
from compiler.preprocess.serialise import op_to_dict

Kind: TypeAlias = Literal["order", "values", "resize"]
Values: TypeAlias = NDArray[np.float32]

SWAP: Final = CvtColor(code="COLOR_RGB2BGR")
UNIT: Final = Normalize(norm_type=None)
SIGNED: Final = Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
IMAGENET: Final = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class Alternative:
    """Preprocessing of one image.

    Args:
        name: A few words, for a table.
        kind: What differs; None for the chain itself.
        is_so: How the network seems to have been trained, as the end of a sentence.
        advice: What to change in the build file.
        ops: Its operations.
        load: Image -> the network's input, (1, C, H, W).
    """

    name: str
    kind: Kind | None
    is_so: str
    advice: str
    ops: tuple[Op, ...]
    load: Callable[[Image], Values]


def unchanged(chain: Chain) -> Alternative:
    """The chain itself."""
    return Alternative("as it is", None, "", "", chain.ops, chain)


def list_alternatives(chain: Chain, *, pixels: bool = False) -> tuple[Alternative, ...]:
    """What differs from a chain in one respect, and in its result.

    Args:
        chain: Of the build file. Of the user's own code only the result can be changed.
        pixels: Whether the network reads 8-bit pixels, whose scale nothing may change.
    """
    if any(isinstance(op, CustomFunc) for op in chain.ops):
        return tuple(_around(chain))
    found = [*_orders(chain.ops, chain.shape), *_resizes(chain.ops, chain.shape)]
    if not pixels:
        found += _values(chain.ops, chain.shape)
    return tuple(found)


def op_text(op: Op) -> str:
    """An op as a build file writes it on one line, without what is said by default."""
    given = op_to_dict(op)
    usual = {field.name: field.default for field in fields(op)}
    kept = {key: value for key, value in given.items() if key == "type" or value != usual[key]}
    text: str = yaml.safe_dump(
        kept, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1000
    )
    return text.strip()


def with_values(ops: Sequence[Op], steps: Sequence[Normalize]) -> tuple[Op, ...]:
    """The ops with other steps in place of their Normalize."""
    kept = [op for op in ops if not isinstance(op, Normalize | ToTensor)]
    return (*kept, *steps, *(op for op in ops if isinstance(op, ToTensor)))


def with_order(ops: Sequence[Op]) -> tuple[Op, ...]:
    """The ops with red and blue exchanged: without a swap where there is one, else with one."""
    kept = [op for op in ops if not _is_swap(op)]
    if (len(ops) - len(kept)) % 2:
        return tuple(kept)
    return (*kept[:1], SWAP, *kept[1:])


def reversed_channels(step: Normalize) -> Normalize:
    """Mean and standard deviation for the other order of the channels."""
    mean, std = (values and values[::-1] for values in (step.mean, step.std))
    return replace(step, mean=mean, std=std)


def is_bgr(ops: Sequence[Op]) -> bool:
    """Whether an odd number of swaps leaves the channels in the order blue, green, red."""
    return sum(map(_is_swap, ops)) % 2 == 1


def _orders(ops: tuple[Op, ...], shape: Shape | None) -> Iterator[Alternative]:
    codes = [op for op in ops if isinstance(op, CvtColor)]
    reader = ops[0]
    grey = isinstance(reader, DecodeImage) and reader.cv2_flags % 2 == 0
    if grey or not all(map(_is_swap, codes)) or (shape is not None and shape[0] != 3):
        return
    to = "RGB" if is_bgr(ops) else "BGR"
    swapped = with_order(ops)
    if to == "RGB":
        change = f"remove {op_text(next(op for op in ops if _is_swap(op)))} from"
    else:
        change = f"add {op_text(SWAP)} after DecodeImage to"
    advice = f"{change} dataset.process_ops"
    is_so = f"on {to} images"
    yield _alternative(f"{to} order", "order", is_so, advice, swapped, shape)
    steps = [op for op in swapped if isinstance(op, Normalize)]
    turned = [reversed_channels(step) for step in steps]
    if turned != steps:
        texts = " and ".join(map(op_text, turned))
        advice = f"{advice}, with {texts}"
        is_so = f"{is_so}, with mean and std in that order"
        name = f"{to} order, mean and std too"
        yield _alternative(name, "order", is_so, advice, with_values(swapped, turned), shape)


def _values(ops: tuple[Op, ...], shape: Shape | None) -> Iterator[Alternative]:
    steps = [op for op in ops if isinstance(op, Normalize)]
    channels = shape[0] if shape else 3
    seen = [_ramp(steps, channels)]
    for name, is_so, wanted in _scales(steps, channels, bgr=is_bgr(ops)):
        ramp = _ramp(wanted, channels)
        if ramp is None or any(one is not None and np.allclose(ramp, one, 1e-4) for one in seen):
            continue
        seen.append(ramp)
        texts = ", ".join(map(op_text, wanted))
        if not wanted:
            advice = "remove Normalize from dataset.process_ops"
        elif steps:
            advice = f"make Normalize in dataset.process_ops {texts}"
        else:
            says = ", which divides by 255," if any(step.div255 for step in wanted) else ""
            advice = f"add {texts}{says} before ToTensor to dataset.process_ops"
        yield _alternative(name, "values", is_so, advice, with_values(ops, wanted), shape)


def _scales(
    steps: Sequence[Normalize], channels: int, *, bgr: bool
) -> Iterator[tuple[str, str, Sequence[Normalize]]]:
    """Name, end of the sentence, and steps of other scales; some equal the present one."""
    if len(steps) > 1:
        yield "normalised once", "on values that are normalised once", steps[:1]
        yield "normalised once (last)", "on values that are normalised once", steps[-1:]
    if len(steps) == 1 and steps[0].applies_mean_std:
        [step] = steps
        std = np.asarray(step.std)
        if step.div255:
            text = "on values that are not divided by 255 before mean and std"
            yield "not divided by 255", text, [replace(step, div255=False)]
        else:
            text = "on values that are divided by 255 before mean and std"
            yield "divided by 255", text, [replace(step, div255=True)]
        larger, smaller = (tuple((std * ratio).tolist()) for ratio in (255, 1 / 255))
        text = "on values that are divided by 255 after mean and std"
        yield "divided by 255 afterwards", text, [replace(step, std=larger)]
        text = "on values 255 times as large"
        yield "255 times as large", text, [replace(step, std=smaller)]
    yield "0 … 1", "on values from 0 to 1, without mean and std", [UNIT]
    yield "0 … 255", "on values from 0 to 255", []
    if channels == 3:
        yield "-1 … 1", "on values from -1 to 1", [SIGNED]
        imagenet = reversed_channels(IMAGENET) if bgr else IMAGENET
        yield "ImageNet mean and std", "with the mean and std of ImageNet", [imagenet]


def _resizes(ops: tuple[Op, ...], shape: Shape | None) -> Iterator[Alternative]:
    sizing = [op for op in ops if isinstance(op, GeometryOp)]
    if shape is None:
        return
    size = shape[1:]
    now = next((op for op in sizing if isinstance(op, Resize)), None)
    plain = Resize(size=size)
    if now is not None:
        plain = replace(now, size=size, adaptive_side=None, rounding="round")
    pad = next((op for op in sizing if isinstance(op, Pad)), Pad())
    whole: list[Op] = [replace(plain, adaptive_side="long"), *([pad] if size[0] == size[1] else [])]
    middle: list[Op] = [replace(plain, adaptive_side="short"), CenterCrop(crop_size=size)]
    averaged = replace(plain, interpolation="area", backend=None)
    ways: tuple[tuple[str, str, Sequence[Op]], ...] = (
        ("stretched", "on images stretched to its input", [plain]),
        ("padded", "on images that keep their ratio, padded to its input", whole),
        ("centre crop", "on the middle of the images", middle),
        ("averaged", "on images that are averaged when they shrink", [averaged]),
    )
    for name, is_so, wanted in ways:
        if list(wanted) != sizing and not (name == "averaged" and len(sizing) > 1):
            texts = ", ".join(map(op_text, wanted))
            there = ", ".join(map(op_text, sizing)) or "nothing"
            advice = f"put {texts} in place of {there} in dataset.process_ops"
            yield _alternative(name, "resize", is_so, advice, _with_sizing(ops, wanted), shape)


def _around(chain: Chain) -> Iterator[Alternative]:
    """Changes to what the user's own code returns."""
    changes: tuple[tuple[str, Kind, str, Callable[[Values], Values]], ...] = (
        ("channels reversed", "order", "on the other order of channels", _reversed),
        ("divided by 255", "values", "on values 255 times smaller", lambda x: x / np.float32(255)),
        ("255 times as large", "values", "on values 255 times larger", lambda x: x * 255),
    )
    for name, kind, is_so, change in changes:
        if kind != "order" or not chain.shape or chain.shape[0] == 3:
            load = partial(_changed, chain=chain, change=change)
            advice = f"change what the CustomFunc of dataset.process_ops returns: {name}"
            yield Alternative(name, kind, is_so, advice, chain.ops, load)


def _changed(image: Image, chain: Chain, change: Callable[[Values], Values]) -> Values:
    return np.ascontiguousarray(change(chain(image)))


def _reversed(values: Values) -> Values:
    return values[:, ::-1]


def _with_sizing(ops: Sequence[Op], sizing: Sequence[Op]) -> tuple[Op, ...]:
    places = [index for index, op in enumerate(ops) if isinstance(op, GeometryOp)]
    first = places[0] if places else 1
    kept = [op for op in ops[first:] if not isinstance(op, GeometryOp)]
    return (*ops[:first], *sizing, *kept)


def _ramp(steps: Sequence[Normalize], channels: int) -> Values | None:
    """What steps make of every 8-bit value; None if they do not suit the number of channels."""
    values: Values = np.indices((256, 1, channels), np.float32)[0]
    try:
        for step in steps:
            values = step(values)
    except ValueError:
        return None
    return values


def _alternative(
    name: str, kind: Kind, is_so: str, advice: str, ops: tuple[Op, ...], shape: Shape | None
) -> Alternative:
    return Alternative(name, kind, is_so, advice, ops, Chain(ops, shape))


def _is_swap(op: Op) -> bool:
    return isinstance(op, CvtColor) and op.constant in CHANNEL_SWAPS
