"""UNet3+ in PyTorch: size, graph, and agreement with its ONNX file."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (pip install 'modc[train]')")

from compiler.zoo.fit import fit  # noqa: E402  # needs torch
from compiler.zoo.unet3p import UNet3Plus, export_onnx  # noqa: E402  # needs torch


def test_64_filters_give_the_26_97_million_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        network = UNet3Plus(base=64, skip=64)

    assert sum(weight.numel() for weight in network.parameters()) == 26_971_777


def test_the_onnx_file_computes_what_the_network_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet3Plus(base=4, skip=4)
    picture = torch.rand(1, 3, 64, 48)
    export_onnx(network, tmp_path / "net.onnx", shape=(1, 3, 64, 48))

    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {"input": picture.numpy()})

    with torch.no_grad():
        expected = network(picture).numpy()
    assert found.shape == (1, 1, 64, 48)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_fitting_lowers_the_loss_on_pictures_that_show_the_mask(
    caplog: pytest.LogCaptureFixture,
) -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    masks = np.zeros((16, 32, 32), np.uint8)
    masks[:, 8:24, 4:20] = 255
    pictures = np.repeat(masks[..., None] // 2, 3, axis=3)
    pictures += generator.integers(0, 60, pictures.shape, dtype=np.uint8)
    torch.manual_seed(0)
    network = UNet3Plus(base=2, skip=2)

    with caplog.at_level("INFO"):
        fit(network, pictures, masks, epochs=8, batch=8)

    losses = [float(record.message.rsplit(" ", 1)[1]) for record in caplog.records]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]
    assert not network.training
