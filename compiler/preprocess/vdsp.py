"""A vdsp JSON as process ops: the other dialect of the preprocessing that a build file describes.

Inside every op the steps are: unpack the image format, geometric step, colour, normalisation, and
a tensor of float16. BGR2RGB and RGB2BGR both exchange channels 0 and 2, whatever the image format;
the format decides what those channels hold before. Image files decode to RGB, and arrays come as
RGB too (`formats.to_rgb`), so a BGR format stands for one exchange in front, and an op for NV12
starts behind its conversion.

Where the JSON is silent: Oimage is the network's input size, the padding is 114, and sizes of the
source image (Iimage…) never count, because the image's own size does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compiler.errors import BuildFileError
from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import Shape, fixed_size
from compiler.preprocess.formats import ColorSpace, ImageFormat
from compiler.preprocess.ops import (
    Border,
    Crop,
    CvtColor,
    DecodeImage,
    Normalize,
    Op,
    PadTo,
    Resize,
    RoundToFloat16,
    Side,
    ToTensor,
)
from compiler.preprocess.vdsp_json import load_json, read_op_config
from compiler.preprocess.vdsp_names import (
    FILTERS,
    OP_TYPES,
    ColorCvtCode,
    NormaType,
    OpKind,
    ResizeType,
)


@dataclass(frozen=True, kw_only=True)
class VdspParams:
    """One op of a vdsp JSON; fields are the keys of `OpConfig`, None where the op needs no value.

    Use `dataclasses.replace` for what a program sets per image.

    Args:
        op_type: Key of `OP_TYPES`.
        iimage_format: Layout that the op expects.
        color_cvt_code: Exchange of channels, or the conversion of NV12.
        color_space: Matrix of NV12.
        resize_type: Filter and library.
        norma_type: Formula of the values.
        mean: Per output channel; read by formulas with a mean.
        std: Per output channel; read by formulas with a division.
        oimage_width: Of the result, in pixels; None: that of the network's input.
        oimage_height: Likewise.
        resize_width: Of the resized image, before a crop or pad.
        resize_height: Likewise.
        crop_x: First column of a crop.
        crop_y: First row of a crop.
        crop_width: Of a crop in front of the resize.
        crop_height: Likewise.
        padding: 0 to 255 per channel of the image format.
        padding_top: Rows above the resized image; the other three likewise.
        source: File that errors name.
    """

    op_type: str
    iimage_format: ImageFormat = "RGB_PLANAR"
    color_cvt_code: ColorCvtCode = "NO_CHANGE"
    color_space: ColorSpace = "BT601"
    resize_type: ResizeType = "BILINEAR_CV"
    norma_type: NormaType = "EQUAL"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    oimage_width: int | None = None
    oimage_height: int | None = None
    resize_width: int | None = None
    resize_height: int | None = None
    crop_x: int = 0
    crop_y: int = 0
    crop_width: int | None = None
    crop_height: int | None = None
    padding: tuple[int, ...] = (114, 114, 114)
    padding_top: int = 0
    padding_bottom: int = 0
    padding_left: int = 0
    padding_right: int = 0
    source: str = field(default="vdsp_params", compare=False)

    @property
    def kind(self) -> OpKind:
        """What the op type does."""
        return OP_TYPES[self.op_type]

    @property
    def reads_images(self) -> bool:
        """False for an op that only hands tensors on; it has no chain."""
        return self.kind.geometry != "tensors"

    def chain(self, shape: Shape | None = None, *, normalize: bool = True) -> Chain:
        """The op as the chain that calibration and the runner use.

        Args:
            shape: (channels, height, width) of the network's input; None where it is not known.
            normalize: False leaves the values at 0 to 255, for a network that takes uint8 and
                normalises by itself.

        Raises:
            BuildFileError: A size or a number of channels that does not fit the network.
        """
        try:
            return Chain(self._ops(shape, normalize=normalize), shape)
        except ValueError as error:
            raise BuildFileError(
                str(error),
                where=self.source,
                fix="correct the JSON, or use the one that belongs to this network",
            ) from error

    def with_letterbox_ext(
        self, resize_width: int, resize_height: int, top: int, bottom: int, left: int, right: int
    ) -> "VdspParams":
        """Sizes of one image, as the run parameter `rgb_letterbox_ext` gives them.

        Ops that have no such parameter stay as they are.
        """
        if self.kind.geometry != "letterbox_ext":
            return self
        return replace(
            self,
            resize_width=resize_width,
            resize_height=resize_height,
            padding_top=top,
            padding_bottom=bottom,
            padding_left=left,
            padding_right=right,
        )

    def with_crop_resize_ext(
        self, crop_x: int, crop_y: int, resize_width: int, resize_height: int
    ) -> "VdspParams":
        """Sizes of one image, as the run parameter `crop_resize_ext` gives them.

        Ops that do not crop after the resize stay as they are.
        """
        if self.kind.geometry != "resize_crop":
            return self
        return replace(
            self,
            crop_x=crop_x,
            crop_y=crop_y,
            resize_width=resize_width,
            resize_height=resize_height,
        )

    def _ops(self, shape: Shape | None, *, normalize: bool) -> list[Op]:
        if not self.reads_images:
            raise ValueError(f"OpType {self.op_type} takes tensors; images are not prepared")
        channels = shape[0] if shape else (1 if self.iimage_format == "GRAY" else 3)
        if channels not in (1, 3):
            raise ValueError(f"the network's input has {channels} channels; expected 1 or 3")
        if channels == 3 and self.iimage_format == "GRAY":
            raise ValueError("IimageFormat GRAY gives 1 channel, the network's input has 3")
        geometry = self._geometry(shape)
        size = fixed_size(geometry)
        if shape and size and size != shape[1:]:
            raise ValueError(
                f"{self.op_type} gives {size[0]}×{size[1]} images, the network's input is "
                f"{shape[1]}×{shape[2]} (height×width)"
            )
        ops: list[Op] = [DecodeImage(cv2_flags=int(channels == 3)), *geometry]
        if self.swaps_channels:
            if channels == 1:
                raise ValueError(
                    f"ColorCvtCode {self.color_cvt_code} with IimageFormat {self.iimage_format} "
                    "exchanges channels, the network's input has 1; use NO_CHANGE"
                )
            ops.append(CvtColor(code="COLOR_RGB2BGR"))
        if normalize and self.kind.source != "single":
            ops += self._values(channels)
        return [*ops, ToTensor()]

    @property
    def swaps_channels(self) -> bool:
        """Whether the network sees BGR."""
        codes = ("BGR2RGB", "RGB2BGR", "YUV2BGR_NV12")
        return self.iimage_format.startswith("BGR") != (self.color_cvt_code in codes)

    def _values(self, channels: int) -> list[Op]:
        mean, std = self.mean, self.std
        # At a single channel the files still list three values.
        mean, std = (mean and mean[:channels]), (std and std[:channels])
        for name, values in (("Mean", mean), ("Std", std)):
            if values is not None and len(values) != channels:
                raise ValueError(f"{name} has {len(values)} number for {channels} channels")
        match self.norma_type:
            case "NONE" | "EQUAL":
                return []
            case "DIV255":
                op = Normalize(div255=True, norm_type=None)
            case "DIV1275_MINUSONE":
                op = Normalize(div255=False, mean=(127.5,), std=(127.5,))
            case "MINUSMEAN":
                op = Normalize(div255=False, mean=mean, std=(1.0,))
            case "MINUSMEAN_DIVSTD" | "DIV255_MINUSMEAN_DIVSTD":
                divides = self.norma_type.startswith("DIV255")
                op = Normalize(div255=divides, mean=mean, std=std)
        return [op, RoundToFloat16()]

    def _geometry(self, shape: Shape | None) -> list[Op]:
        match self.kind.geometry:
            case "resize":
                return self._resize(self._output(shape))
            case "resize_crop":
                return [*self._resize(self._resized()), self._crop(self._output(shape))]
            case "crop_resize":
                size = _pair("Crop", self.crop_height, self.crop_width)
                return [self._crop(size), *self._resize(self._output(shape))]
            case "letterbox":
                size = self._output(shape)
                return [*self._resize(size, fit=True), PadTo(size=size, value=self._pad_value())]
            case "letterbox_ext":
                return [*self._resize(self._resized()), self._border()]
            case "crop":
                return [self._crop(self._output(shape))]
            case "border":
                return self._bordered()
            case _:
                return []

    def _output(self, shape: Shape | None) -> tuple[int, int]:
        """Height and width of the result."""
        if self.oimage_height is None and self.oimage_width is None and shape:
            return shape[1:]
        return _pair("Oimage", self.oimage_height, self.oimage_width)

    def _resized(self) -> tuple[int, int]:
        if self.resize_height is None and self.resize_width is None:
            raise ValueError(
                "ResizeWidth and ResizeHeight are absent: the program that uses this file sets "
                "them for each image"
            )
        return _pair("Resize", self.resize_height, self.resize_width)

    def _resize(self, size: tuple[int, int], *, fit: bool = False) -> list[Op]:
        if self.resize_type == "NO_RESIZE":
            return []
        interpolation, backend = FILTERS[self.resize_type]
        side: Side | None = "long" if fit else None
        return [Resize(size=size, adaptive_side=side, interpolation=interpolation, backend=backend)]

    def _crop(self, size: tuple[int, int]) -> Crop:
        return Crop(crop_size=size, top=self.crop_y, left=self.crop_x)

    def _border(self) -> Border:
        return Border(
            top=self.padding_top,
            bottom=self.padding_bottom,
            left=self.padding_left,
            right=self.padding_right,
            value=self._pad_value(),
        )

    def _bordered(self) -> list[Op]:
        border = self._border()
        if self.oimage_height is None and self.oimage_width is None:
            return [border]
        height, width = _pair("Oimage", self.oimage_height, self.oimage_width)
        inner = height - border.top - border.bottom, width - border.left - border.right
        return [*self._resize(inner), border]

    def _pad_value(self) -> int | tuple[int, ...]:
        """In the RGB order that the chain has where it pads."""
        if len(set(self.padding)) == 1:
            return self.padding[0]
        return self.padding[::-1] if self.iimage_format.startswith("BGR") else self.padding


def read_vdsp(path: str | Path) -> VdspParams:
    """Read a vdsp JSON, current or legacy.

    Raises:
        BuildFileError: A file that cannot be read, or a key or value that no preprocessing can
            be made of. Unknown keys, and keys that the op does not use, are ignored.
    """
    return parse_vdsp(load_json(Path(path)), source=str(path))


def parse_vdsp(content: Mapping[str, Any], source: str = "vdsp_params") -> VdspParams:
    """As `read_vdsp`, from the object that the JSON holds.

    Raises:
        BuildFileError: As `read_vdsp`.
    """
    op_type, values = read_op_config(content, source)
    return VdspParams(op_type=op_type, source=source, **values)


def _pair(name: str, height: int | None, width: int | None) -> tuple[int, int]:
    if height is None or width is None:
        raise ValueError(f"{name}Width and {name}Height are needed, and at least one is absent")
    return height, width
