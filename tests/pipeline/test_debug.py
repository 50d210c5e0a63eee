"""From a bundle that loses accuracy to a patch that was verified."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from compiler.bundle.write import new_bundle
from compiler.config.backend import Quantize
from compiler.config.load import load_config
from compiler.errors import BuildFileError, BundleError, CalibrationError
from compiler.pipeline import Build, compile_model
from compiler.pipeline.debug import debug_bundle
from compiler.pipeline.diagnosis import LayerDiagnosis, Way
from compiler.pipeline.patch import find_patch
from compiler.pipeline.remedies import Changes, Remedy, combine, network_remedies, patch_text
from compiler.pipeline.workbench import Priced
from compiler.runner.load import Runner
from compiler.verify.sensitivity import LayerSensitivity, to_json
from tests.support.bundles import MANIFEST, write_network
from tests.support.project import Project, make_project, two_convolutions


def _uneven() -> onnx.ModelProto:
    """The project's network with channels from 2^-7 to 1 between its layers, the same in float."""
    model = two_convolutions()
    factors = 2.0 ** -np.arange(8.0)
    for tensor in model.graph.initializer:
        if tensor.name in ("gamma", "beta"):
            values = numpy_helper.to_array(tensor) * factors
        elif tensor.name == "w2":
            values = numpy_helper.to_array(tensor) / factors.reshape(1, 8, 1, 1)
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return model


def _uneven_project(folder: Path) -> Project:
    project = make_project(folder)
    onnx.save(_uneven(), folder / "net.onnx")
    project.document["backend"]["quantize"] |= {"equalize": False, "calibrate_mode": "max"}
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose int8 bundle loses much for want of equalization."""
    project = _uneven_project(tmp_path_factory.mktemp("project"))
    compile_model(load_config(project.write()))
    return project


def _paste(project: Project, text: str) -> Build:
    """Build with a patch, as a user would."""
    patch = yaml.safe_load(text)
    assert list(patch) == ["backend"]
    assert list(patch["backend"]) == ["quantize"]
    document = yaml.safe_load(yaml.safe_dump(project.document))
    document["name"] = "net_patched_int8"
    document["backend"]["quantize"] |= patch["backend"]["quantize"]
    path = project.folder / "patched.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return compile_model(load_config(path))


def test_the_patch_does_what_it_says(project: Project) -> None:
    steps: list[tuple[str, int, int]] = []
    found = debug_bundle(
        project.folder / "deploy" / "net_int8",
        images=4,
        progress=lambda *step: steps.append((step[0], step[1], step[2])),
    )
    assert (found.name, found.metric, found.float_points) == ("net_int8", "sqnr", 100.0)
    assert found.notes == ()
    assert [one.figures.layer for one in found.layers] == ["last", "first"]
    worst = {way.remedy.label: way for way in found.layers[0].ways}
    assert {"in float", "in float with first", "16-bit activations"} < worst.keys()
    assert worst["in float with first"].gain > 0.9 * (100.0 - found.points)
    assert worst["16-bit activations"].remedy.hint == "CPU engines compute it in float"
    assert [label for label in worst if label.endswith("for what it reads")] != []
    wide = {way.remedy.label: way for way in found.network}
    assert wide["equalize: true"].gain > 0.5 * (100.0 - found.points)
    assert found.patch is not None
    way = found.patch.way
    assert way.gain == pytest.approx(way.priced.points - found.points)
    assert way.gain > 0.5 * (100.0 - found.points)
    assert way.priced.milliseconds is not None
    assert "built as a whole and measured" in found.verdict
    before = compile_model(load_config(project.write())).verification.sqnr_db
    after = _paste(project, found.patch.text).verification.sqnr_db
    assert after > before + 3
    *_, (_, done, total) = (step for step in steps if step[0] == "try")
    assert done == total
    assert list(dict.fromkeys(step[0] for step in steps)) == ["build", "try", "traps", "verify"]


def test_a_limit_takes_the_worst_layers_only(project: Project) -> None:
    found = debug_bundle(project.folder / "deploy" / "net_int8", limit=1, images=1)
    assert [one.figures.layer for one in found.layers] == ["last"]


Pixels = Callable[[int], NDArray[np.uint8]]


def _with_task(project: Project, images: Pixels, dtype: str = "fp32") -> None:
    """Images, and masks that the network gets right in one precision."""
    folder = project.folder / "task"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(3):
        Image.fromarray(images(index)).save(folder / "images" / f"{index}.png")
    compile_model(load_config(project.write(), dtype=dtype))
    with Runner(project.folder / "deploy" / f"net_{dtype}") as runner:
        for path in sorted((folder / "images").iterdir()):
            mask = runner.run(path)["output"][0, 0] > 0
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / path.name)
    project.document["verify"] = {
        "images": str(folder / "images"),
        "masks": str(folder / "masks"),
        "metric": "foreground_iou",
    }
    compile_model(load_config(project.write()))


def test_with_masks_the_points_are_those_of_the_task(tmp_path: Path) -> None:
    project = _uneven_project(tmp_path)
    random = np.random.default_rng(1)
    _with_task(project, lambda index: random.integers(0, 256, (22, 24, 3), np.uint8))
    found = debug_bundle(tmp_path / "deploy" / "net_int8", limit=1)
    assert (found.metric, found.float_points) == ("fg_iou", 100.0)
    assert found.points < 100.0
    assert not [trap for trap in found.traps if trap.kind == "data"]
    assert found.patch is not None
    assert found.points < found.patch.way.priced.points <= 100.0


def test_where_the_task_loses_nothing_noise_is_measured(tmp_path: Path) -> None:
    project = _uneven_project(tmp_path)
    random = np.random.default_rng(1)
    _with_task(project, lambda index: random.integers(0, 256, (22, 24, 3), np.uint8), "int8")
    found = debug_bundle(tmp_path / "deploy" / "net_int8", limit=1)
    assert (found.metric, found.float_points) == ("sqnr", 100.0)
    assert "loses nothing by foreground_iou on these images" in found.notes[0]
    assert found.patch is not None


def test_evaluation_images_of_another_kind_are_noticed(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    for path in (tmp_path / "calib").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 4).save(path)
    random = np.random.default_rng(1)
    _with_task(project, lambda index: random.integers(200, 256, (22, 24, 3), np.uint8))
    found = debug_bundle(tmp_path / "deploy" / "net_int8", limit=1)
    (trap,) = (trap for trap in found.traps if trap.kind == "data")
    assert "'input': 100.0% of its values are clipped" in trap.evidence


def test_the_build_file_can_be_named(project: Project, tmp_path: Path) -> None:
    copy = shutil.copytree(project.folder / "deploy" / "net_int8", tmp_path / "net_int8")
    project.document["backend"]["quantize"]["equalize"] = True
    try:
        found = debug_bundle(copy, config=project.write(), limit=1, images=1)
    finally:
        project.document["backend"]["quantize"]["equalize"] = False
        project.write()
    (note,) = found.notes
    assert "another network now than the bundle holds" in note
    assert "equalize: true" not in [way.remedy.label for way in found.network]


def test_what_a_search_or_a_table_decided_is_left_aside(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["accuracy"] = {"metric": "cosine", "max_drop": 50}
    compile_model(load_config(project.write()), force=True)
    bundle = tmp_path / "deploy" / "net_int8"
    found = debug_bundle(bundle, limit=1, images=2)
    assert found.metric == "cosine"
    assert "quantize.accuracy is left aside" in found.notes[0]
    table = shutil.copy(bundle / "mod.calib.txt", tmp_path / "table.txt")
    del project.document["backend"]["quantize"]["accuracy"]
    project.document["backend"]["quantize"]["equalize"] = False
    text = Path(table).read_text("utf-8").split("\n", 1)
    Path(table).write_text(text[1] if text[0].endswith("tensors") else "\n".join(text), "utf-8")
    compile_model(load_config(project.write()), calibration_table=Path(table))
    assert "built with a calibration table" in debug_bundle(bundle, limit=1, images=1).notes[0]


@pytest.fixture
def copied(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project built from its own folder with relative paths."""
    folder = tmp_path / "work" / "builds"
    shutil.copytree(project.folder / "calib", folder / "calib")
    shutil.copy(project.folder / "net.onnx", folder / "net.onnx")
    document = yaml.safe_load(yaml.safe_dump(project.document))
    document["frontend"]["checkpoint"] = "net.onnx"
    document["dataset"]["path"] = "calib"
    document["workspace"]["path"] = "deploy"
    local = Project(folder, document)
    monkeypatch.chdir(tmp_path / "work")
    compile_model(load_config(local.write()))
    return tmp_path / "work"


def test_network_and_data_are_found_again_from_elsewhere(
    copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = debug_bundle(copied / "deploy" / "net_int8", limit=1, images=1)
    assert found.notes == ()


def test_a_build_file_two_folders_down_is_found_by_its_name(
    copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = shutil.move(copied / "deploy" / "net_int8", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert debug_bundle(bundle, limit=1, images=1).notes == ()


def test_a_network_that_is_gone_or_changed_is_an_error(copied: Path) -> None:
    network, bundle = copied / "builds" / "net.onnx", copied / "deploy" / "net_int8"
    onnx.save(two_convolutions(seed=1), network)
    with pytest.raises(BuildFileError, match="has changed since") as caught:
        debug_bundle(bundle)
    assert "--config" in caught.value.fix
    network.unlink()
    with pytest.raises(BuildFileError, match="is not to be found"):
        debug_bundle(bundle)


def test_data_that_is_gone_is_an_error(copied: Path) -> None:
    shutil.rmtree(copied / "builds" / "calib")
    with pytest.raises(CalibrationError, match="'calib' not found"):
        debug_bundle(copied / "deploy" / "net_int8")


def _bundle(folder: Path, layers: tuple[LayerSensitivity, ...]) -> Path:
    with new_bundle(folder, "net", build_file="net.yaml", model="net.onnx") as bundle:
        write_network(bundle.folder, 2.0)
        report = json.dumps({"sensitivity": to_json(layers)})
        (bundle.folder / "mod.report.json").write_text(report)
        bundle.commit(replace(MANIFEST, quantization={"dtype": "int8"}))
    return folder / "net"


def test_a_bundle_whose_layers_all_stay_float_has_nothing_to_repair(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="none of its layers runs on integers"):
        debug_bundle(_bundle(tmp_path, ()))


LAYER = LayerSensitivity("one", "Conv", "t", 20.0, 0.9, 20.0, 0.9, 1.0)


def test_a_build_file_of_another_version_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="of another version"):
        debug_bundle(_bundle(tmp_path, (LAYER,)))


def _way(changes: Changes, gain: float, ratio: float = 1.0) -> Way:
    return Way(Remedy("some", changes), Priced(90 + gain, ratio, 1.0), gain)


def _find(gain: float, **ways: Way) -> tuple[object, str, list[Changes]]:
    """What comes of ways out of which every patch gains so much; 10 points are lost."""
    asked: list[Changes] = []

    def verify(changes: Changes) -> Way:
        asked.append(changes)
        return _way(changes, gain)

    network = [way for name, way in ways.items() if name.startswith("network")]
    layers = [
        LayerDiagnosis(replace(LAYER, layer=name), (way,))
        for name, way in ways.items()
        if not name.startswith("network")
    ]
    patch, verdict = find_patch(Quantize(), layers, network, 10.0, verify)
    return patch, verdict, asked


def test_a_patch_that_does_not_help_as_a_whole_is_not_shown() -> None:
    patch, verdict, asked = _find(
        0.5, network=_way({"equalize": True}, 5.0), a=_way({"exclude_layers": ("a",)}, 5.0)
    )
    assert patch is None
    assert len(asked) == 3
    assert verdict.startswith("3 patches built as a whole and measured: the best changes +0.500")


def test_ways_that_help_little_make_no_patch() -> None:
    patch, verdict, asked = _find(0.0, a=_way({"exclude_layers": ("a",)}, 0.1))
    assert (patch, asked) == (None, [])
    assert "none of the ways out helps enough" in verdict


def test_where_nothing_is_lost_nothing_is_repaired() -> None:
    patch, verdict = find_patch(Quantize(), [], [], 0.0, lambda changes: _way(changes, 1.0))
    assert patch is None
    assert "loses nothing" in verdict


def test_of_patches_that_do_the_same_the_smallest_is_shown() -> None:
    ways = {
        "network": _way({"equalize": True}, 1.0),
        "a": _way({"exclude_layers": ("a",)}, 2.0),
        "b": _way({"exclude_layers": ("b", "a")}, 3.0),
    }
    patch, _, asked = _find(6.0, **ways)
    assert asked[0] == {"equalize": True, "exclude_layers": ("a", "b")}
    assert patch is not None
    assert getattr(patch, "changes") == {"equalize": True}  # noqa: B009 - typed as object


def test_a_list_is_completed_and_names_are_no_patterns() -> None:
    quantize = Quantize(exclude_layers=(3, "old"))
    changes = combine(
        [
            Remedy("", {"exclude_layers": ("a[0]", "b")}),
            Remedy("", {"exclude_layers": ("b", "c*")}),
            Remedy("", {"calibrate_mode": "auto"}),
        ]
    )
    assert changes == {"exclude_layers": ("a[0]", "b", "c*"), "calibrate_mode": "auto"}
    text = patch_text(quantize, changes)
    assert yaml.safe_load(text)["backend"]["quantize"] == {
        "calibrate_mode": "auto",
        "exclude_layers": [3, "old", "a[[]0]", "b", "c[*]"],
    }


def test_what_a_build_file_has_already_is_no_remedy() -> None:
    everything = Quantize(
        calibrate_mode="auto", weight_scale="mse", round_weights="adaptive", equalize=False
    )
    assert [one.label for one in network_remedies(everything)] == ["equalize: true"]
