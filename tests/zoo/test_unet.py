"""UNet in PyTorch: the three decoders, and agreement with their ONNX files."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (pip install 'modc[train]')")

from compiler.zoo import unet  # noqa: E402  # needs torch
from compiler.zoo.unet3p import export_onnx  # noqa: E402  # needs torch


@pytest.mark.parametrize("build", [unet.unet_bilinear, unet.unet_transpose, unet.unet_nearest])
def test_the_onnx_file_computes_what_the_network_computes(
    build: Callable[..., unet.UNet], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = build(base=4)
    picture = torch.rand(1, 3, 64, 48)
    export_onnx(network, tmp_path / "net.onnx", shape=(1, 3, 64, 48))

    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {"input": picture.numpy()})

    with torch.no_grad():
        expected = network(picture).numpy()
    assert found.shape == (1, 1, 64, 48)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (unet.unet_bilinear, {"Resize": 4, "Conv": 19, "BatchNormalization": 18}),
        (unet.unet_transpose, {"ConvTranspose": 4, "Conv": 19, "BatchNormalization": 18}),
        (unet.unet_nearest, {"Resize": 4, "Pad": 4, "Conv": 24, "Sigmoid": 1}),
    ],
)
def test_each_decoder_enlarges_in_its_own_way(
    build: Callable[..., unet.UNet], expected: dict[str, int], tmp_path: Path
) -> None:
    export_onnx(build(base=2), tmp_path / "net.onnx", shape=(1, 3, 16, 16))

    counts = Counter(node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node)

    telling = {"Resize", "ConvTranspose", "Pad", "Conv", "BatchNormalization", "Sigmoid"}
    assert {op: count for op, count in counts.items() if op in telling} == expected


@pytest.mark.parametrize(
    ("build", "mode"),
    [
        (
            unet.unet_bilinear,
            {"mode": b"linear", "coordinate_transformation_mode": b"align_corners"},
        ),
        (unet.unet_nearest, {"mode": b"nearest", "coordinate_transformation_mode": b"asymmetric"}),
    ],
)
def test_every_resize_doubles_by_the_rule_of_its_decoder(
    build: Callable[..., unet.UNet], mode: dict[str, bytes], tmp_path: Path
) -> None:
    export_onnx(build(base=2), tmp_path / "net.onnx", shape=(1, 3, 16, 16))

    model = onnx.load(tmp_path / "net.onnx")
    constants = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    for node in (node for node in model.graph.node if node.op_type == "Resize"):
        fields = {attribute.name: attribute.s for attribute in node.attribute}
        assert fields.items() >= mode.items()
        assert constants[node.input[2]].tolist() == [1, 1, 2, 2]


def test_the_nearest_decoder_pads_with_zeros_below_and_to_the_right() -> None:
    network = unet.unet_nearest(base=2)
    _, pad, conv, _ = network.enlargers[0]

    padded = pad(torch.ones(1, 4, 3, 3))

    assert padded.shape == (1, 4, 4, 4)
    assert padded[0, 0].sum(0).tolist() == padded[0, 0].sum(1).tolist() == [3, 3, 3, 0]
    assert conv(padded).shape == (1, 2, 3, 3)
