"""Trained networks, quantized with ranges of a few real images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compiler.frontend.load_onnx import load_onnx
from compiler.passes import FLOAT_PASSES
from compiler.passes.run import run_passes
from tests.quantize.networks import Quantized, quantize
from tests.support.models import SHARED

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")


Numbers = tuple[float, ...]

SINET_MEAN = (107.304565 / 255, 115.69884 / 255, 132.35703 / 255)
SINET_STD = (63.97182, 65.1337, 68.29726)


def images(
    folder: str, size: tuple[int, int], mean: Numbers, std: Numbers, *, blue_first: bool
) -> Iterator[NDArray[np.float32]]:
    paths = sorted((SHARED / "data" / folder / "calib").rglob("*.*"))
    for path in [path for path in paths if path.suffix in (".jpg", ".png")][:8]:
        picture = Image.open(path).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, np.float32)[..., :: -1 if blue_first else 1] / 255
        values = (pixels - np.array(mean, np.float32)) / np.array(std, np.float32)
        yield np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def compile_network(
    name: str,
    folder: str,
    size: tuple[int, int],
    mean: Numbers,
    std: Numbers,
) -> tuple[Quantized, list[float]]:
    """The network quantized on six images, and its SQNR on two others."""
    path: Path = SHARED / "models" / f"{name}.onnx"
    source = {"prisma_nchw": "input_3", "SINet": "data"}.get(name, "input")
    graph = load_onnx(path, {source: [1, 3, *size]}).graph
    run_passes(graph, FLOAT_PASSES)
    feeds = [
        {source: image} for image in images(folder, size, mean, std, blue_first=name == "SINet")
    ]
    result = quantize(graph, samples=feeds[:6])
    return result, [result.sqnr_db(each) for each in feeds[6:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "size", "mean", "std", "convs", "pairs"),
    [
        # pairs: a Resize or ConvTranspose reads through a DequantizeLinear and is rounded again
        ("unet3p_human_128", "human", (128, 128), (0, 0, 0), (1, 1, 1), 35, 10),
        (
            "unet_camvid_192x256",
            "camvid",
            (192, 256),
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            19,
            4,
        ),
    ],
)
def test_every_conv_of_a_unet_runs_on_integers(
    name: str,
    folder: str,
    size: tuple[int, int],
    mean: Numbers,
    std: Numbers,
    convs: int,
    pairs: int,
) -> None:
    result, sqnr = compile_network(name, folder, size, mean, std)

    operators = result.report.operators
    assert operators["QLinearConv"] == convs
    assert operators["QLinearConcat"] == 4
    assert not {"Conv", "FusedConv", "MaxPool", "Relu"} & operators.keys()
    assert operators["QuantizeLinear"] == pairs + 1  # and the input
    assert operators["DequantizeLinear"] == pairs + 1  # and the output
    assert result.report.float_nodes == ()
    assert result.report.stray == ()
    assert min(sqnr) > 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "mean", "std", "convs", "least"),
    [
        ("prisma_nchw", (256, 256), (0, 0, 0), (1, 1, 1), 97, 20.0),
        ("SINet", (320, 320), SINET_MEAN, SINET_STD, 58, 12.0),
    ],
)
def test_a_network_of_many_small_operators_compiles_and_is_reported_truly(
    name: str, size: tuple[int, int], mean: Numbers, std: Numbers, convs: int, least: float
) -> None:
    result, sqnr = compile_network(name, "human", size, mean, std)

    planned = sum(node.op == "Conv" for node in result.plan.integer_nodes)
    assert planned == result.report.operators["QLinearConv"] == convs
    assert "Conv" not in result.report.operators
    assert result.report.float_nodes == ()
    assert result.report.stray == ()
    assert min(sqnr) > least
