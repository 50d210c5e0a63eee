"""A vdsp JSON that does to images what a bundle's chain does, where the dialect has the words."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from compiler.preprocess.chain import Chain
from compiler.preprocess.formula import SWAP, Formula, Values, compare_chains, find_formula
from compiler.preprocess.ops import Border, Crop, CustomFunc, GeometryOp, PadTo, Resize
from compiler.preprocess.vdsp import VdspParams, parse_vdsp
from compiler.preprocess.vdsp_names import FILTERS, FORMAT_SPELLINGS, OP_TYPES, Geometry


def contradiction(
    params: VdspParams, chain: Chain, own: Chain, *, normalize: bool = True
) -> str | None:
    """What a JSON does differently from the bundle's own chain, and which keys make it the same.

    Args:
        params: The JSON that is to be used.
        chain: Of the JSON.
        own: The bundle's.
        normalize: As for `VdspParams.chain`.

    Returns:
        None when both do the same to an image.
    """
    difference = compare_chains(own, chain)
    if difference is None:
        return None
    try:
        now = corrected(params, chain, normalize=normalize)
        then = corrected(params, own, normalize=normalize)
    except ValueError:
        return difference
    changes = [f"OpType {then['OpType']}"] if then["OpType"] != now["OpType"] else []
    changes += [
        f"{key} {json.dumps(value)}"
        for key, value in then["OpConfig"].items()
        if now["OpConfig"].get(key) != value
    ]
    return f"{difference}, or set in the JSON {', '.join(changes)}"


def corrected(params: VdspParams, chain: Chain, *, normalize: bool = True) -> dict[str, Any]:
    """Content of a vdsp JSON that does to an image what `chain` does.

    Args:
        params: Gives the image format, and the formula of the values if `normalize` is False.
        chain: A bundle's.
        normalize: False where the network normalises by itself, so that the chain does not.

    Returns:
        {"OpType", "OpConfig"}; Mean and Std are the decimal values of float16 constants.

    Raises:
        ValueError: The chain does what no op type can.
    """
    if any(isinstance(op, CustomFunc) for op in chain.ops):
        raise ValueError("no vdsp op runs a function of the user")
    formula = find_formula(chain.ops, chain.shape)
    geometry, config = _geometry(formula.geometry)
    config = {
        "IimageFormat": _format(params),
        "ColorCvtCode": _color_cvt_code(params, formula),
        **config,
        **(_values(formula.values) if normalize else _own_values(params)),
    }
    content = {"OpType": _op_type(params, geometry), "OpConfig": config}
    result = parse_vdsp(content).chain(chain.shape, normalize=normalize)
    if compare_chains(chain, result) is not None:
        raise ValueError("float16 cannot hold the mean or std of the chain")
    return content


def _geometry(steps: tuple[GeometryOp, ...]) -> tuple[Geometry, dict[str, Any]]:
    """Geometric step of an op type, and the keys that it needs."""
    match steps:
        case ():
            return "none", {}
        case (Resize(adaptive_side=None) as resize,):
            return "resize", {**_filter(resize), **_box("Oimage", resize.box)}
        case (Resize(adaptive_side=None) as resize, Crop() as crop):
            sizes = {**_box("Resize", resize.box), **_box("Oimage", crop.box)}
            return "resize_crop", {**_filter(resize), **sizes, **_corner(crop)}
        case (Crop() as crop, Resize(adaptive_side=None) as resize):
            sizes = {**_box("Crop", crop.box), **_box("Oimage", resize.box)}
            return "crop_resize", {**_filter(resize), **sizes, **_corner(crop)}
        case (Resize(adaptive_side="long", rounding="round") as fit, PadTo() as pad) if (
            fit.box == pad.box
        ):
            keys = {**_filter(fit), **_box("Oimage", pad.box), "Padding": _triple(pad.value)}
            return "letterbox", keys
        case (Resize(adaptive_side=None) as resize, Border() as border):
            edges = zip(("Top", "Bottom", "Left", "Right"), border.edges, strict=True)
            sizes = {**_box("Resize", resize.box), **{f"Padding{k}": v for k, v in edges}}
            return "letterbox_ext", {**_filter(resize), **sizes, "Padding": _triple(border.value)}
    raise ValueError("no op type has these geometric steps in this order")


def _filter(resize: Resize) -> dict[str, str]:
    for name, filter_ in FILTERS.items():
        if filter_ == (resize.interpolation, resize.backend):
            return {"ResizeType": name}
    raise ValueError(f"no ResizeType means {resize.interpolation}")


def _box(name: str, box: tuple[int, int]) -> dict[str, int]:
    return {f"{name}Width": box[1], f"{name}Height": box[0]}


def _corner(crop: Crop) -> dict[str, int]:
    return {"CropX": crop.left, "CropY": crop.top}


def _triple(value: int | tuple[int, ...]) -> list[int]:
    if isinstance(value, tuple):
        raise ValueError("whether Padding is in the order before or after the swap is not known")
    return [value] * 3


def _format(params: VdspParams) -> str:
    spellings = {layout: name for name, layout in FORMAT_SPELLINGS.items()}
    return spellings.get(params.iimage_format, params.iimage_format)


def _color_cvt_code(params: VdspParams, formula: Formula) -> str:
    if formula.channels not in ((), (SWAP,)):
        raise ValueError(f"no ColorCvtCode does {' and '.join(formula.channels)}")
    wants_bgr = bool(formula.channels)
    if params.iimage_format == "YUV_NV12":
        return "YUV2BGR_NV12" if wants_bgr else "YUV2RGB_NV12"
    is_bgr = params.iimage_format.startswith("BGR")
    if wants_bgr == is_bgr:
        return "NO_CHANGE"
    return "BGR2RGB" if is_bgr else "RGB2BGR"


def _values(values: Values) -> dict[str, Any]:
    divides = values.divisor == 255
    if not any(values.mean) and all(value == 1 for value in values.std):
        return {"NormaType": "DIV255" if divides else "EQUAL"}
    norma_type = "DIV255_MINUSMEAN_DIVSTD" if divides else "MINUSMEAN_DIVSTD"
    return {"NormaType": norma_type, "Mean": _float16(values.mean), "Std": _float16(values.std)}


def _own_values(params: VdspParams) -> dict[str, Any]:
    given: Mapping[str, tuple[float, ...] | None] = {"Mean": params.mean, "Std": params.std}
    lists = {key: list(values) for key, values in given.items() if values is not None}
    return {"NormaType": params.norma_type, **lists}


def _float16(values: tuple[float, ...]) -> list[float]:
    rounded = [float(value) for value in np.array(values).astype(np.float16)]
    return rounded * 3 if len(rounded) == 1 else rounded


def _op_type(params: VdspParams, geometry: Geometry) -> str:
    source = "nv12" if params.iimage_format == "YUV_NV12" else "rgb"
    if params.kind.geometry == geometry and params.kind.source == source:
        return params.op_type
    for name, kind in OP_TYPES.items():
        if (kind.geometry, kind.source) == (geometry, source):
            return name
    raise ValueError(f"no {source} op type has the geometry {geometry}")
