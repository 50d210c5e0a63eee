"""What can be said of a chain of process ops before the first image is read."""

from collections.abc import Sequence

from compiler.preprocess.ops import (
    Border,
    CenterCrop,
    Crop,
    CustomFunc,
    CvtColor,
    DecodeImage,
    GeometryOp,
    Normalize,
    Op,
    Pad,
    PadTo,
    Resize,
    RoundToFloat16,
    ToTensor,
)

Shape = tuple[int, int, int]  # channels, height, width

BGR_MEAN = (103.53, 116.28, 123.675)  # of ImageNet, 0 to 255; public files differ by up to 1.5
CHANNEL_SWAPS = ("COLOR_RGB2BGR", "COLOR_BGR2RGB")  # the same operation


def complete_ops(ops: Sequence[Op]) -> tuple[tuple[Op, ...], tuple[str, ...]]:
    """The chain with the ops that it leaves unsaid, and one note for each."""
    completed, notes = list(ops), []
    if completed and isinstance(completed[0], CustomFunc):
        return tuple(completed), ()
    if not any(isinstance(op, DecodeImage) for op in completed):
        completed.insert(0, DecodeImage())
        notes.append("process_ops has no DecodeImage; one was put first (RGB)")
    if not any(isinstance(op, ToTensor) for op in completed):
        completed.append(ToTensor())
        notes.append("process_ops has no ToTensor; one was appended")
    return tuple(completed), tuple(notes)


def check_ops(ops: Sequence[Op], shape: Shape | None = None) -> None:
    """Refuse an order that has no meaning, and sizes that contradict the network's input.

    Args:
        ops: The chain, completed or not.
        shape: Declared input (channels, height, width).

    Raises:
        ValueError: What is wrong, with the position (from 0) of the op.
    """
    if len(ops) > 1 and any(isinstance(op, CustomFunc) for op in ops):
        raise ValueError("CustomFunc replaces the whole chain; remove the other ops")
    normalized = False
    for position, op in enumerate(ops):
        if isinstance(op, DecodeImage) and position > 0:
            raise ValueError(f"DecodeImage at position {position} must be the first op, once")
        if isinstance(op, ToTensor) and position < len(ops) - 1:
            raise ValueError(f"ToTensor at position {position} must be the last op, once")
        if normalized and not isinstance(op, Normalize | RoundToFloat16 | ToTensor):
            raise ValueError(
                f"{op.type} at position {position} works on 8-bit images; "
                "move it in front of Normalize"
            )
        normalized = normalized or isinstance(op, Normalize | RoundToFloat16)
    size = fixed_size(ops)
    if shape and size and size != shape[1:]:
        hint = "; size is [height, width]" if size == shape[:0:-1] else ""
        raise ValueError(
            f"process_ops give {size[0]}×{size[1]} images, the network's input is "
            f"{shape[1]}×{shape[2]} (height×width){hint}"
        )


def chain_warnings(ops: Sequence[Op], shape: Shape | None = None) -> tuple[str, ...]:
    """Likely mistakes that the ops alone give away, one sentence each."""
    found: list[str | None] = [implied_pad(ops, shape)]
    normalizers = [op for op in ops if isinstance(op, Normalize)]
    if len(normalizers) > 1:
        found.append(f"Normalize stands {len(normalizers)} times; each of them applies")
    for op in normalizers:
        found += [_unused_mean(op), _doubtful_scale(op), _swapped_mean(op, ops)]
    return tuple(text for text in found if text)


def implied_pad(ops: Sequence[Op], shape: Shape | None) -> str | None:
    """The warning for a ratio-keeping Resize whose result nothing brings to the declared size.

    Where no size is declared, images keep the one they get.
    """
    sizing = [op for op in ops if isinstance(op, GeometryOp)]
    if not shape or not sizing or not isinstance(sizing[-1], Resize):
        return None
    if not sizing[-1].keeps_ratio:
        return None
    target = f"{shape[1]}×{shape[2]}"
    return (
        f"Resize {list(sizing[-1].box)} keeps the ratio and no Pad follows: "
        f"images are padded to {target} (centred, {Pad().value})"
    )


def fixed_size(ops: Sequence[Op]) -> tuple[int, int] | None:
    """Height and width of every result, if they do not depend on the image."""
    size = None
    for op in ops:
        if isinstance(op, Resize):
            size = None if op.keeps_ratio else op.box
        elif isinstance(op, CenterCrop | Crop | PadTo):
            size = op.box
        elif isinstance(op, Border) and size:
            size = size[0] + op.top + op.bottom, size[1] + op.left + op.right
        elif isinstance(op, Pad) and op.pad_to_square and size:
            size = (max(size), max(size))
    return size


def _unused_mean(op: Normalize) -> str | None:
    if op.applies_mean_std or (op.mean is None and op.std is None):
        return None
    return "Normalize has mean or std and norm_type null: norm_type wins, they are not used"


def _doubtful_scale(op: Normalize) -> str | None:
    if not op.applies_mean_std or op.mean is None or op.std is None:
        return None
    largest = max(map(abs, op.mean))
    if op.div255 and largest > 1:
        return (
            f"mean {list(op.mean)} is in the 0–255 scale, but values were divided by 255 before "
            "(div255 is true, or absent); set div255: false"
        )
    if not op.div255 and 0 < largest <= 1 and max(op.std) <= 1:
        return (
            f"mean {list(op.mean)} is in the 0–1 scale, but values reach 255 "
            "(div255 is false or null); set div255: true"
        )
    return None


def _swapped_mean(op: Normalize, ops: Sequence[Op]) -> str | None:
    codes = [item.constant for item in ops if isinstance(item, CvtColor)]
    swaps = sum(code in CHANNEL_SWAPS for code in codes)
    if not op.applies_mean_std or op.mean is None or len(op.mean) != 3:
        return None
    if swaps < len(codes) or swaps % 2:
        return None
    scale = 255 if max(op.mean) <= 1 else 1
    if any(abs(m * scale - bgr) > 1.5 for m, bgr in zip(op.mean, BGR_MEAN, strict=True)):
        return None
    return (
        f"mean {list(op.mean)} looks BGR-ordered but the image is RGB; "
        "if the network wants BGR, add CvtColor code: COLOR_RGB2BGR after DecodeImage"
    )
