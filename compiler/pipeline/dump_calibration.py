"""The tensors that a build observes its network with, as pictures and arrays in a folder."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.restore import restore_levels, stretch_levels
from compiler.config.model import BuildConfig
from compiler.errors import CalibrationError
from compiler.pipeline.clock import Clock, Report
from compiler.pipeline.inspect_calibration import (
    calibration_samples,
    channel_order,
)
from compiler.pipeline.network import load_network
from compiler.pipeline.open_sizes import shapes_of, size_at_largest
from compiler.pipeline.record import inputs_of
from compiler.pipeline.samples import Feeds
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import CustomFunc, Normalize, ToTensor
from compiler.preprocess.pixels import Pixels

INDEX: Final = "index.json"
RULE: Final = (
    "exact: normalization undone, so that applying it to the picture gives the tensor to the last "
    "bit; stretched: each channel's smallest value is 0 and its largest 255. Pictures are R, G, B; "
    "`channels` is the order in the tensor."
)
_PICTURES: Final = (1, 3)
"""Channels of what can be shown."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What was written.

    Args:
        folder: Where.
        pictures: Number of PNG files.
        stretched: Pictures among them that do not show the exact pixels.
        arrays: Number of .npz files.
        skipped: Files that could not be used.
    """

    folder: Path
    pictures: int
    stretched: int
    arrays: int
    skipped: tuple[str, ...]


def dump_calibration(
    config: BuildConfig,
    folder: Path,
    *,
    arrays: bool = False,
    allow_custom_code: bool = False,
    progress: Report | None = None,
) -> Dump:
    """Write the inputs that a build calibrates with; the network is not run.

    One PNG per sample, named as the sample, where the network reads one image of 1 or 3 channels;
    `index.json` tells of each how it was made.

    Args:
        config: The build file.
        folder: Absent or empty.
        arrays: Whether to write the arrays themselves, as .npz; always done where there is no
            picture.
        allow_custom_code: Whether a CustomFunc of the build file may run its Python code.
        progress: Called as progress(stage, done, total).

    Raises:
        CalibrationError: There is no calibration data, a sample cannot be used, or the folder is
            not empty.
        BuildFileError: The model file does not exist.
        GraphError: It cannot be read.
    """
    graph = load_network(config)[0].graph
    size_at_largest(graph, shapes_of(config))
    inputs = inputs_of(graph)
    samples, chain = calibration_samples(config, inputs, allow_custom_code=allow_custom_code)
    rows: list[dict[str, object]] = []
    skipped: list[str] = []
    stems = _stems(sample.name for sample in samples.calibration)
    with _filling(folder):
        with Clock(progress).stage("files", len(samples.calibration)) as step:
            for done, sample in enumerate(samples.calibration, start=1):
                try:
                    feeds = samples.load(sample.path)
                except CalibrationError:
                    if not samples.skip:
                        raise
                    skipped.append(sample.name)
                else:
                    files = _write(feeds, chain, folder, stems[sample.name], arrays)
                    rows.append({"name": sample.name, "sha256": sample.sha256, **files})
                step(done)
        index = {
            "name": config.name,
            "inputs": [
                {"name": one.name, "shape": list(map(int, one.shape)), "dtype": one.dtype.name}
                for one in inputs
            ],
            "channels": channel_order(chain),
            "rule": RULE,
            "samples": rows,
            "skipped": skipped,
        }
        text = json.dumps(index, indent=1, ensure_ascii=False)
        (folder / INDEX).write_text(text + "\n", encoding="utf-8")
    kinds = [row.get("pixels") for row in rows]
    return Dump(
        folder,
        sum(kind is not None for kind in kinds),
        kinds.count("stretched"),
        sum("arrays" in row for row in rows),
        tuple(skipped),
    )


@contextmanager
def _filling(folder: Path) -> Iterator[None]:
    """Write into a folder that is absent or empty, and is so again if that ends early.

    Raises:
        CalibrationError: It is neither, or the system refuses.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CalibrationError(
                "the folder is not empty", where=str(folder), fix="name a new folder with -o"
            )
        try:
            yield
        except BaseException:
            _empty(folder)
            if made:
                folder.rmdir()
            raise
    except OSError as error:
        raise CalibrationError(
            f"cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            fix="name a folder that can be written with -o",
        ) from error


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _stems(names: Iterable[str]) -> Mapping[str, str]:
    """Names without suffix, but for those that would then be the same."""
    bare = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    counts = Counter(bare.values())
    return {name: stem if counts[stem] == 1 else name for name, stem in bare.items()}


def _write(
    feeds: Feeds, chain: Chain | None, folder: Path, stem: str, arrays: bool
) -> dict[str, object]:
    """Write one sample; what was written, for the index."""
    written: dict[str, object] = {}
    (folder / stem).parent.mkdir(parents=True, exist_ok=True)
    if chain is not None:
        [tensor] = feeds.values()
        if tensor.shape[1] in _PICTURES:
            pixels, exact = _pixels(tensor[0], chain)
            written["picture"] = f"{stem}.png"
            written["pixels"] = "exact" if exact else "stretched"
            Image.fromarray(pixels).save(folder / f"{stem}.png")
    if arrays or not written:
        written["arrays"] = f"{stem}.npz"
        np.savez(folder / f"{stem}.npz", **feeds)  # type: ignore[arg-type]  # stub: mistakes keys for options
    return written


def _pixels(
    tensor: NDArray[Any],  # Any: the type that the network reads
    chain: Chain,
) -> tuple[NDArray[np.uint8], bool]:
    """A picture of a tensor of shape (C, H, W), and whether it shows the exact pixels."""
    restored = None
    if not any(isinstance(op, CustomFunc) for op in chain.ops):
        restored = restore_levels(tensor, _table(chain, len(tensor)).astype(tensor.dtype))
    pixels = stretch_levels(tensor) if restored is None else restored
    if len(tensor) == 1:
        return pixels[:, :, 0], restored is not None
    if channel_order(chain) == "BGR":
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels), restored is not None


def _table(chain: Chain, channels: int) -> NDArray[np.float32]:
    """What the chain makes of the levels 0 to 255, shape (C, 256)."""
    ramp: Pixels = np.indices((256, 1, channels), np.uint8)[0]
    for op in chain.ops:
        if isinstance(op, Normalize | ToTensor):
            ramp = op(ramp)
    return ramp.reshape(channels, 256)
