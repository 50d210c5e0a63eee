"""The full-size networks: published sizes, and small ones written the same way."""

from collections import Counter
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (pip install 'modc[train]')")

from compiler.zoo import full_size  # noqa: E402  # pairs with the above
from compiler.zoo.full_size import NETWORKS, Network, write_network  # noqa: E402  # likewise

UNET3P = Network("compiler.zoo.unet3p:UNet3Plus", {"base": 4, "skip": 4}, 32)
NEAREST = Network("compiler.zoo.unet:unet_nearest", {"base": 4}, 32)
SMALL = {
    "unet3p": UNET3P,
    "unet_bilinear": Network("compiler.zoo.unet:unet_bilinear", {"base": 4}, 32),
    "unet_transpose": Network("compiler.zoo.unet:unet_transpose", {"base": 4}, 32),
    "unet_nearest": NEAREST,
    "deeplabv3p_resnet50": Network(
        "compiler.zoo.deeplab:DeepLabV3Plus", {"base": 4, "width": 8}, 65
    ),
    "deeplabv3_mobilenetv2": Network("compiler.zoo.deeplab:DeepLabV3", {"width": 8}, 65),
}


@pytest.mark.parametrize(
    ("name", "parameters", "gmac"),
    [
        ("unet3p", 26_971_777, 49.41),
        ("unet_bilinear", 17_262_977, 159.92),
        ("unet_transpose", 31_037_633, 192.67),
        ("unet_nearest", 31_032_837, 54.68),
        ("deeplabv3p_resnet50", 39_761_845, 62.38),
        ("deeplabv3_mobilenetv2", 5_113_877, 6.01),
    ],
)
def test_a_network_has_the_parameters_and_multiplications_of_the_published_one(
    name: str, parameters: int, gmac: float
) -> None:
    size = NETWORKS[name].size
    with torch.device("meta"):  # shapes without values
        network = resolve_name(NETWORKS[name].builder)(**NETWORKS[name].options).eval()
        multiplications: list[int] = []
        for layer in network.modules():
            if isinstance(layer, torch.nn.ConvTranspose2d):  # a kernel for each input element
                layer.register_forward_hook(
                    lambda layer, inputs, _: multiplications.append(
                        inputs[0].numel() * layer.weight[0].numel()
                    )
                )
            elif isinstance(layer, torch.nn.Conv2d):  # a kernel for each output element
                layer.register_forward_hook(
                    lambda layer, _, output: multiplications.append(
                        output.numel() * layer.weight[0].numel()
                    )
                )
        output = network(torch.zeros(1, 3, size, size))

    assert sum(weight.numel() for weight in network.parameters()) == parameters
    assert sum(multiplications) / 1e9 == pytest.approx(gmac, abs=0.01)
    assert output.shape[-2:] == (size, size)


def test_every_network_of_the_table_is_tested_in_small() -> None:
    assert SMALL.keys() == NETWORKS.keys()
    assert [small.builder for small in SMALL.values()] == [
        full.builder for full in NETWORKS.values()
    ]


@pytest.mark.parametrize("name", SMALL)
def test_a_written_network_is_static_unfolded_and_of_sane_varying_values(
    name: str, tmp_path: Path
) -> None:
    size = SMALL[name].size

    model = onnx.load(write_network(SMALL[name], tmp_path / "made" / "net.onnx"))

    onnx.checker.check_model(model, full_check=True)
    counts = Counter(node.op_type for node in model.graph.node)
    assert [opset.version for opset in model.opset_import] == [17]
    assert "Identity" not in counts  # how an exporter shares equal initializers
    assert "Shape" not in counts
    module = resolve_name(SMALL[name].builder)(**SMALL[name].options)
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert counts["BatchNormalization"] == len(norms)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (port,), (result,) = session.get_inputs(), session.get_outputs()
    assert (port.name, port.shape) == ("input", [1, 3, size, size])
    assert (result.name, result.shape[-2:]) == ("output", [size, size])
    ramp = np.linspace(0, 1, 3 * size * size, dtype=np.float32).reshape(1, 3, size, size)
    (found,) = session.run(None, {"input": ramp})
    assert np.abs(found).max() < 100
    assert found.std() > 0.01


def test_without_batch_norm_channels_are_standardised_on_the_portraits(tmp_path: Path) -> None:
    model = onnx.load(write_network(NEAREST, tmp_path / "net.onnx"))
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    weight, bias = (torch.from_numpy(weights[name].copy()) for name in first.input[1:])

    batch = torch.from_numpy(full_size._settling_batch(32))
    channels = torch.nn.functional.conv2d(batch, weight, bias, padding=1)

    np.testing.assert_allclose(channels.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(channels.std((0, 2, 3)), 1, rtol=1e-4)


def test_the_same_network_is_written_twice_byte_for_byte(tmp_path: Path) -> None:
    first = write_network(NEAREST, tmp_path / "first.onnx")
    second = write_network(NEAREST, tmp_path / "second.onnx")

    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["unet3p"]),
        (["--network", "unet_nearest", "unet3p"], ["unet_nearest", "unet3p"]),
        (["--network", "all"], [*NETWORKS]),
    ],
)
def test_the_command_writes_the_chosen_networks_beside_the_pictures(
    arguments: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "NETWORKS", SMALL)

    code = full_size.main(["--out", str(tmp_path), "--images", "1", *arguments])

    assert code == 0
    assert {file.name for file in tmp_path.glob("*.onnx")} == {f"{n}_full.onnx" for n in names}
    assert [file.name for file in (tmp_path / "images").iterdir()] == ["portrait_000000.jpg"]


def test_an_unknown_network_is_refused_with_the_names_that_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        full_size.main(["--out", str(tmp_path), "--network", "unet5"])

    assert caught.value.code == 2
    assert "'unet_bilinear'" in capsys.readouterr().err
