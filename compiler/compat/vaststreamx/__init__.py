"""The Python module of the published inference scripts, on bundles.

`modc vsx script.py` runs a script with this package in place as `vaststreamx`.
"""

import difflib
from typing import NoReturn

import numpy as np

from compiler.compat.vaststreamx.containers import (
    Image,
    Tensor,
    as_numpy,
    create_image,
    from_numpy,
)
from compiler.compat.vaststreamx.custom import CustomOperator
from compiler.compat.vaststreamx.enums import (
    AttrKey,
    ColorCvtCode,
    GraphOutputType,
    ImageColorSpace,
    ImageFormat,
    ImagePaddingType,
    ImageResizeType,
    OpType,
    StreamBalanceMode,
    TypeFlag,
)
from compiler.compat.vaststreamx.graph import Graph
from compiler.compat.vaststreamx.images import crop, cvtcolor, resize, resize_copy_make_border
from compiler.compat.vaststreamx.model import Model
from compiler.compat.vaststreamx.operators import BuildInOperator, ModelOperator, Operator
from compiler.compat.vaststreamx.refusal import refusal
from compiler.compat.vaststreamx.stream import Stream

__all__ = [
    "AttrKey",
    "BuildInOperator",
    "ColorCvtCode",
    "CustomOperator",
    "Graph",
    "GraphOutputType",
    "Image",
    "ImageColorSpace",
    "ImageFormat",
    "ImagePaddingType",
    "ImageResizeType",
    "Model",
    "ModelOperator",
    "OpType",
    "Operator",
    "Stream",
    "StreamBalanceMode",
    "Tensor",
    "TypeFlag",
    "as_numpy",
    "create_image",
    "crop",
    "cvtcolor",
    "from_numpy",
    "resize",
    "resize_copy_make_border",
    "set_device",
]

# Scripts written for NumPy before 1.24 use names that it has dropped since, after importing this.
for _name, _type in (("int", int), ("float", float)):
    if _name not in vars(np):
        setattr(np, _name, _type)


def set_device(device_id: int) -> int:
    """Accept any device number; scripts assert that the answer is 0.

    Raises:
        BundleError: A negative number.
    """
    if device_id < 0:
        raise refusal("set_device", f"device {device_id} given", "give 0 or more")
    return 0


def __getattr__(name: str) -> NoReturn:
    near = difflib.get_close_matches(name, __all__, n=3, cutoff=0.5)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise AttributeError(f"vaststreamx has no '{name}' on this machine{hint}")
