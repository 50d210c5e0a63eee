"""DeepLab in PyTorch: sizes of its features, and agreement with its ONNX files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (pip install 'modc[train]')")

from compiler.zoo.backbones import MobileNetV2, ResNet50  # noqa: E402  # needs torch
from compiler.zoo.deeplab import DeepLabV3, DeepLabV3Plus, _enlarge  # noqa: E402  # needs torch
from compiler.zoo.unet3p import export_onnx  # noqa: E402  # needs torch

NETWORKS = [partial(DeepLabV3, width=8), partial(DeepLabV3Plus, base=4, width=8)]


@pytest.mark.parametrize("build", NETWORKS)
def test_the_onnx_file_computes_what_the_network_computes(
    build: Callable[[], DeepLabV3 | DeepLabV3Plus], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = build()
    picture = torch.rand(1, 3, 65, 97)
    export_onnx(network, tmp_path / "net.onnx", shape=(1, 3, 65, 97))

    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {"input": picture.numpy()})

    with torch.no_grad():
        expected = network(picture).numpy()
    assert found.shape == (1, 21, 65, 97)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_resnet_50_halves_four_times_and_dilates_after_the_first_block_of_its_last_stage() -> None:
    with torch.device("meta"):
        network = ResNet50(base=64)
        low, features = network(torch.zeros(2, 3, 513, 513))

    assert (low.shape, features.shape) == ((2, 256, 129, 129), (2, 2048, 33, 33))
    assert [len(stage) for stage in network.stages] == [3, 4, 6, 3]
    kernels = [
        layer
        for layer in network.stages[3].modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3)
    ]
    assert [kernel.dilation[0] for kernel in kernels] == [1, 2, 2]
    assert sum(weight.numel() for weight in network.parameters()) == 23_508_032  # without "fc"


def test_mobilenet_v2_halves_four_times_and_dilates_its_last_residuals() -> None:
    with torch.device("meta"):
        network = MobileNetV2()
        features = network(torch.zeros(2, 3, 513, 513))

    depthwise = [
        layer
        for layer in network.modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1
    ]
    assert features.shape == (2, 320, 33, 33)
    assert [layer.dilation[0] for layer in depthwise] == [1] * 14 + [2] * 3
    # 3 504 872 of the paper's classifier, less its last two layers and their normalisation.
    whole, last, classes = 3_504_872, 320 * 1280 + 2 * 1280, 1280 * 1000 + 1000
    assert sum(weight.numel() for weight in network.parameters()) == whole - last - classes


@pytest.mark.parametrize(("before", "after"), [(1, 33), (7, 31), (33, 129), (49, 50), (129, 513)])
def test_enlarging_gives_exactly_the_wanted_size_and_the_values_of_that_size(
    before: int, after: int
) -> None:
    torch.manual_seed(0)
    features = torch.rand(1, 2, before, before)

    found = _enlarge(features, torch.zeros(1, 1, after, after))

    expected = torch.nn.functional.interpolate(
        features, size=(after, after), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-4)
