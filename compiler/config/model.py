"""The build file as typed, frozen values: one model, one backend, one bundle."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Literal, Self, TypeAlias, cast

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from compiler.config.backend import Backend
from compiler.config.base import Number, Section, Whole, ignored
from compiler.config.extra_ops import Graph
from compiler.preprocess.ops import ProcessOp

FrontendType = Literal["onnx", "pytorch", "keras", "darknet", "tensorflow"]
Dims: TypeAlias = tuple[int, ...]
Shape: TypeAlias = Dims | tuple[Dims, Dims]

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "pgm")
_BUNDLE_NAME = re.compile(r"[\w+][\w.+-]*")
_TYPE_OF_SUFFIX = {
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".torchscript": "pytorch",
    ".h5": "keras",
    ".keras": "keras",
    ".weights": "darknet",
    ".pb": "tensorflow",
}


def _checked_shape(value: object) -> object:
    """Refuse what is neither a shape nor two of them, in one sentence."""
    sizes = "sizes such as [1, 3, 224, 224], or two such lists (smallest, largest)"
    expected = f"{json.dumps(value, default=str)} given; expected {sizes}"
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(expected)
    ranged = isinstance(value[0], list | tuple)
    shapes = [list(shape) if isinstance(shape, list | tuple) else [] for shape in value]
    shapes = shapes if ranged else [list(value)]
    if ranged and (len(shapes) != 2 or len(shapes[0]) != len(shapes[1])):
        raise ValueError(expected)
    for size in (size for shape in shapes for size in shape):
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            text = json.dumps(size, default=str)
            raise ValueError(f"{text} is not a size (a whole number from 1)")
    if not all(shapes):
        raise ValueError(expected)
    if ranged and any(low > high for low, high in zip(*shapes, strict=True)):
        raise ValueError("the first (smallest) shape is larger than the second (largest)")
    return value


def is_range(shape: Shape) -> bool:
    """Whether a shape is given as (smallest, largest) instead of fixed sizes."""
    return isinstance(shape[0], tuple)


def ends_of(shape: Shape) -> tuple[Dims, Dims]:
    """Smallest and largest; twice the same where a shape is fixed."""
    if is_range(shape):
        return cast(tuple[Dims, Dims], shape)
    return cast(Dims, shape), cast(Dims, shape)


class Frontend(Section):
    """The network to compile."""

    type: FrontendType | None = Field(
        default=None, description="Source format; default: by the extension of the checkpoint."
    )
    checkpoint: Annotated[str, Field(min_length=1)] = Field(
        description="Model file, relative to the current folder or to the build file; ~ and "
        "$VARIABLES are expanded."
    )
    dtype: Literal["fp32", "fp16", "int64", "int32", "uint8"] | None = Field(
        default=None, description="Element type of the network's inputs; default: the network's."
    )
    shape: Mapping[str, Annotated[Shape, BeforeValidator(_checked_shape)]] = Field(
        description="Shape of each input by its name in the network; two shapes, the smallest and "
        "the largest, let the bundle take every size between them."
    )
    model_kwargs: dict[str, object] | None = ignored("Options for language models.")

    @property
    def format(self) -> str:
        """`type`, or what the checkpoint's extension says; onnx where it says nothing."""
        return self.type or _TYPE_OF_SUFFIX.get(PurePath(self.checkpoint).suffix.lower(), "onnx")

    @field_validator("type", mode="before")
    @classmethod
    def _is_no_language_model(cls, value: object) -> object:
        if value == "huggingface":
            raise ValueError("huggingface models are not supported; export the network to ONNX")
        return value


class Sampler(Section):
    """Which files of the data set are used."""

    suffix: str | None = Field(
        default=None,
        description="Ending of the file names, in upper or lower case; default: any image, or "
        "npz when there are no process_ops.",
    )
    get_data_num: Whole = Field(
        default=50, ge=1, description="Most files to use; all are used where there are fewer."
    )
    seed: Whole = Field(default=0, ge=0, description="Seed of the choice among more files.")


class Dataset(Section):
    """Calibration data and its preprocessing."""

    type: Literal["tvm"] | None = Field(
        default=None, description="Loader; `tvm` and absent mean the built-in one."
    )
    path: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Folder with images or npz files; needed for int8."
    )
    sampler: Sampler = Field(default_factory=Sampler, description="Choice of files.")
    process_ops: tuple[Annotated[ProcessOp, Field(discriminator="type")], ...] = Field(
        default=(), description="Preprocessing from image file to input tensor, in order."
    )
    on_error: Literal["fail", "skip"] = Field(
        default="fail",
        description="What an unreadable file does: stop, or be left out and counted.",
    )

    @model_validator(mode="after")
    def _images_are_preprocessed(self) -> Self:
        suffix = (self.sampler.suffix or "").lower().removeprefix(".")
        if suffix in IMAGE_SUFFIXES and not self.process_ops:
            raise ValueError(f"{suffix} images need process_ops (npz files do not)")
        return self


class Workspace(Section):
    """Where the bundle goes."""

    path: Annotated[str, Field(min_length=1)] = Field(
        default="./deploy_weights",
        description="Folder in which the bundle's folder is made, relative to the current folder.",
    )
    enable_ir: bool = Field(
        default=False,
        description="Keep the graphs between the stages in `<name>.ir` beside the bundle.",
    )
    save_log: bool = Field(
        default=False, description="Write the log to `<name>.log` beside the bundle."
    )
    env_recheck: bool | None = ignored("Check the versions of installed packages again.")
    workers: Whole | None = ignored("Processes that compile a language model.")
    pyenv: dict[str, object] | None = ignored("Package versions for language models.")


class Verify(Section):
    """How much the compiled network may differ from fp32; every limit that is missed fails."""

    min_cosine: Number | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Least cosine similarity of every output; of class "
        "numbers the share that is equal.",
    )
    min_sqnr_db: Number | None = Field(
        default=None, description="Least signal-to-quantization-noise ratio of every output, dB."
    )
    samples: Whole = Field(
        default=8,
        ge=1,
        description="Samples for the comparison, held out from calibration where more files exist.",
    )
    images: str | None = Field(default=None, description="Folder of images for the task metric.")
    masks: str | None = Field(default=None, description="Folder of their masks, same file stems.")
    metric: Literal["foreground_iou", "mean_iou"] | None = Field(
        default=None, description="Task metric on `images` and `masks`."
    )
    classes: Whole | None = Field(
        default=None, ge=1, description="Number of classes in the masks, for mean_iou."
    )
    ignore: Whole | None = Field(
        default=None, ge=0, description="Mask value that does not count, for mean_iou."
    )
    max_drop: Number | None = Field(
        default=None, ge=0, description="Largest drop of the metric against fp32, in points."
    )

    @model_validator(mode="after")
    def _task_is_complete(self) -> Self:
        parts = {"images": self.images, "masks": self.masks, "metric": self.metric}
        absent = [name for name, value in parts.items() if value is None]
        if 0 < len(absent) < len(parts):
            raise ValueError(f"images, masks and metric go together; add {' and '.join(absent)}")
        if absent and self.max_drop is not None:
            raise ValueError("max_drop needs images, masks and metric")
        if self.metric == "mean_iou" and self.classes is None:
            raise ValueError("metric mean_iou needs classes (how many the masks have)")
        return self


class BuildConfig(Section):
    """One build file: one model, one backend, one bundle."""

    name: str = Field(description="Folder of the bundle below workspace.path.")
    frontend: Frontend = Field(description="The network to compile.")
    graph: Graph = Field(default_factory=Graph, description="Edits of the graph.")
    backend: Backend = Field(description="Target and precision.")
    dataset: Dataset | None = Field(
        default=None, description="Calibration data and preprocessing; needed for int8."
    )
    workspace: Workspace = Field(default_factory=Workspace, description="Where the bundle goes.")
    verify: Verify = Field(default_factory=Verify, description="Comparison with fp32.")
    classes: tuple[str, ...] = Field(
        default=(), description="Class names, stored in the bundle; background first."
    )

    _path: Path | None = PrivateAttr(default=None)

    @property
    def base_dir(self) -> Path:
        """Folder of the build file; input paths are looked up there after the current folder."""
        return self._path.parent if self._path else Path()

    @property
    def file_name(self) -> str:
        """Name of the build file; `<name>.yaml` for a configuration that no file gave."""
        return self._path.name if self._path else f"{self.name}.yaml"

    def at(self, path: Path) -> Self:
        """The same configuration, as if `path` were its file."""
        config = self.model_copy()
        config._path = path
        return config

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, value: str) -> str:
        if not _BUNDLE_NAME.fullmatch(value):
            raise ValueError(
                f"'{value}' given; use letters, digits and . _ + - (it names a folder)"
            )
        return value

    @model_validator(mode="after")
    def _int8_is_calibrated(self) -> Self:
        if self.backend.dtype == "int8" and (self.dataset is None or self.dataset.path is None):
            raise ValueError(INT8_NEEDS_DATA)
        return self


INT8_NEEDS_DATA = "an int8 build needs dataset.path (calibration data); else set dtype: fp16"
