"""Train the slim UNet3+ of `build_configs/official_unet3p.yaml` and write all that it needs.

    python -m compiler.zoo.train --out build_configs/official_unet3p

writes `official_unet3p.onnx`, 50 calibration pictures (`calib/`) and 50 evaluation pictures with
masks (`eval/images/`, `eval/masks/`). Training, calibration and evaluation share no picture.
"""

import argparse
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from compiler.zoo.command import exit_code_of, require_torch
from compiler.zoo.portraits import as_jpeg, portrait, write_portraits

logger = logging.getLogger(__name__)

CALIB_SEEDS = range(50)
EVAL_SEEDS = range(1000, 1050)
TRAIN_SEEDS = range(10_000, 12_500)
BASE = 8
SKIP = 8
EPOCHS = 10


def example(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture as its JPEG file reads, RGB (H, W, 3), and its mask (H, W)."""
    picture, mask = portrait(seed)
    return read_rgb(io.BytesIO(as_jpeg(picture))), mask


def read_rgb(source: Path | io.BytesIO) -> NDArray[np.uint8]:
    """Decode an image file to RGB, shape (H, W, 3)."""
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def foreground_iou(checkpoint: Path, images: Path, masks: Path) -> float:
    """Mean over the images of the foreground's intersection over union.

    Args:
        checkpoint: ONNX network, input 1×3×H×W BGR in 0…1, output one logit per pixel.
        images: Folder of JPEG images of the network's size.
        masks: Folder of PNG masks with the stems of the images; foreground from 125 up.

    Returns:
        IoU in 0…1.
    """
    session = onnxruntime.InferenceSession(checkpoint, providers=["CPUExecutionProvider"])
    scores = []
    for file in sorted(images.glob("*.jpg")):
        bgr = read_rgb(file)[..., ::-1].astype(np.float32) / 255
        (logit,) = session.run(None, {"input": bgr.transpose(2, 0, 1)[None]})
        with Image.open(masks / f"{file.stem}.png") as mask:
            truth = np.asarray(mask) >= 125
        found = logit[0, 0] > 0
        scores.append((truth & found).sum() / (truth | found).sum())
    return float(np.mean(scores))


def train(out: Path, *, seeds: Sequence[int] = TRAIN_SEEDS, epochs: int = EPOCHS) -> float:
    """Write the pictures, train the network, export it, and measure it.

    Args:
        out: Folder of the result; made if absent.
        seeds: Pictures to train on.
        epochs: Passes over them.

    Returns:
        Foreground IoU on the evaluation pictures, 0…1.

    Raises:
        MissingRequirementError: PyTorch is not installed.
    """
    require_torch("compiler.zoo.train")
    import torch

    from compiler.zoo.fit import fit
    from compiler.zoo.unet3p import UNet3Plus, export_onnx

    write_portraits(out / "calib", CALIB_SEEDS)
    write_portraits(out / "eval" / "images", EVAL_SEEDS, masks=out / "eval" / "masks")
    logger.info("drawing %d training pictures", len(seeds))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        pictures, masks = zip(*pool.map(example, seeds, chunksize=16), strict=True)
    torch.manual_seed(0)
    network = UNet3Plus(base=BASE, skip=SKIP)
    bgr = np.ascontiguousarray(np.stack(pictures)[..., ::-1])
    fit(network, bgr, np.stack(masks), epochs=epochs)
    checkpoint = out / "official_unet3p.onnx"
    export_onnx(network, checkpoint)
    score = foreground_iou(checkpoint, out / "eval" / "images", out / "eval" / "masks")
    size = checkpoint.stat().st_size / 1e6
    logger.info("%s: %.2f MB, foreground IoU %.2f %%", checkpoint, size, 100 * score)
    return score


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m compiler.zoo.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args(arguments)
    return exit_code_of(lambda: train(options.out))


if __name__ == "__main__":
    raise SystemExit(main())
