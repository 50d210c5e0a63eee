"""Builds that take results of earlier ones from the cache of stages, and those that must not."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from compiler import Build, compile_model, load_config
from compiler.pipeline import cache_entry
from tests.support.project import Project, make_project, two_convolutions

ROOT = Path(__file__).resolve().parents[2]
MODES = ("max", "percentile", "kl_divergence", "mse", "auto")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MODC_CACHE", str(folder))
    return folder


def _build(project: Project, **options: Any) -> Build:  # Any: as compile_model takes them
    return compile_model(load_config(project.write()), keep=True, **options)


def _fresh(project: Project, **options: Any) -> Build:
    """Without any cache, in the same place: the path of the bundle is no part of its bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODC_CACHE", "off")
        return _build(project, **options)


def _stages(cache: Path) -> dict[str, int]:
    """Number of entries by stage."""
    found = cache.glob("*/*") if cache.exists() else ()
    counts: dict[str, int] = {}
    for place in found:
        assert not place.name.startswith("."), "something half-written was left"
        counts[place.parent.name] = counts.get(place.parent.name, 0) + 1
    return counts


def _quantize(project: Project, **changes: object) -> None:
    project.document["backend"]["quantize"].update(changes)


def _report(build: Build) -> dict[str, Any]:  # Any: a JSON object
    report: dict[str, Any] = json.loads((build.prefix.parent / "mod.report.json").read_text())
    return report


def _assert_same(reused: Build, fresh: Build) -> None:
    assert reused.digest is not None
    assert reused.digest == fresh.digest
    assert reused.warnings == fresh.warnings
    assert reused.notes == fresh.notes
    assert reused.passes == fresh.passes
    assert reused.decisions == fresh.decisions


# The same bytes


@pytest.mark.parametrize("mode", MODES)
def test_another_calibrate_mode_takes_all_but_the_thresholds_from_the_cache(
    mode: str, tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    _quantize(project, calibrate_mode="percentile" if mode != "percentile" else "max")
    first = _build(project)
    stored = _stages(cache)
    assert stored == {"passes": 1, "observe": 1, "reference": 1}
    _quantize(project, calibrate_mode=mode)
    second = _build(project)
    assert _stages(cache) == stored
    assert "passes" not in second.seconds
    assert second.digest != first.digest
    _assert_same(second, _fresh(project))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("rewrite", [False, True])
def test_a_build_from_the_cache_has_the_bytes_of_a_fresh_one(
    dtype: str, rewrite: bool, tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path, dtype=dtype)
    project.document["backend"]["optimize"]["rewrite"] = rewrite
    first = _build(project)
    stored = _stages(cache)
    second = _build(project)
    assert _stages(cache) == stored
    assert stored["passes"] == stored["reference"] == 1
    _assert_same(second, first)
    _assert_same(second, _fresh(project))


def test_channels_are_equalized_as_in_a_fresh_build(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    model = two_convolutions()
    spread = np.exp2(np.linspace(-5, 5, 8)).astype(np.float32)
    for tensor in model.graph.initializer:
        if tensor.name in ("gamma", "beta"):
            values = numpy_helper.to_array(tensor) * spread
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "net.onnx")
    _build(project)
    _quantize(project, calibrate_mode="max")
    build = _build(project)
    table = (build.prefix.parent / "mod.calib.txt").read_text()
    assert "equalized channels of 1 tensors" in table.splitlines()[0]
    assert _stages(cache)["observe"] == 1
    _assert_same(build, _fresh(project))


CHANGES: dict[str, dict[str, object]] = {
    "skip list": {"skip_conv_layers": [0]},
    "excluded layer": {"exclude_layers": ["last"]},
    "weight scale": {"weight_scale": "mse"},
    "reduced range": {"reduce_range": True},
    "no bias correction": {"bias_correction": False},
    "16-bit layer": {"uint16_layers": ["last"]},
    "share of percentile": {"calibrate_mode": "percentile", "calibrate_range": 0.99},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_quantization_needs_no_new_observation(
    change: str, tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    first = _build(project)
    stored = _stages(cache)
    _quantize(project, **CHANGES[change])
    second = _build(project)
    assert _stages(cache) == stored
    assert second.digest != first.digest
    _assert_same(second, _fresh(project))


@pytest.mark.parametrize(
    "changes",
    [
        {"equalize": False},
        {"quantize_per_channel": False},
        {"quantize_operators": ["Conv"]},
        {"round_weights": "adaptive"},
    ],
)
def test_other_changes_of_the_quantization_give_the_bytes_of_a_fresh_build(
    changes: dict[str, object], tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    _build(project)
    _quantize(project, **changes)
    _assert_same(_build(project), _fresh(project))
    _assert_same(_build(project), _fresh(project))  # now with its own entries
    assert _stages(cache)["passes"] == 1


def test_a_budget_searches_the_same_from_the_cache(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    _build(project)
    project.document["verify"] = {"samples": 1}
    _assert_same(_build(project), _fresh(project))
    assert _stages(cache) == {"passes": 1, "observe": 1, "reference": 2}


def _points(build: Build) -> list[tuple[list[str], float]]:
    """Layers in float -> accuracy, of every set that a search has tried."""
    assert build.search is not None
    return [(sorted(layers), trial.points) for layers, trial in build.search.trials]


def test_a_budget_is_searched_anew_where_other_data_make_other_ranges(
    tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    _quantize(project, calibrate_mode="max")
    table = tmp_path / "table.txt"
    table.write_bytes((_build(project).prefix.parent / "mod.calib.txt").read_bytes())
    images = tmp_path / "measured"
    images.mkdir()
    shutil.copy(tmp_path / "calib" / "image_0.png", images)
    _quantize(project, accuracy={"metric": "sqnr", "max_drop": 0, "data": {"images": str(images)}})
    project.document["dataset"]["sampler"]["get_data_num"] = 1
    first = _points(_build(project, force=True))
    stored = _stages(cache)["trial"]
    assert _points(_build(project, force=True)) == first
    assert _stages(cache)["trial"] == stored

    of_table = _points(_build(project, force=True, calibration_table=table))
    assert of_table == _points(_fresh(project, force=True, calibration_table=table)) != first
    project.document["dataset"]["sampler"]["get_data_num"] = 4
    of_more = _points(_build(project, force=True))
    assert of_more == _points(_fresh(project, force=True)) != first


def test_precisions_share_the_reference_and_not_the_passes(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    _build(project)
    project.document["backend"] = {
        "type": "onnxruntime",
        "dtype": "fp32",
        "optimize": {"rewrite": False},
    }
    _assert_same(_build(project), _fresh(project))
    assert _stages(cache) == {"passes": 2, "observe": 1, "reference": 1}


# A new result


def _change_image(project: Project) -> None:
    pixels = np.zeros((20, 24, 3), np.uint8)
    for path in sorted((project.folder / "calib").iterdir()):
        Image.fromarray(pixels).save(path)
        pixels += 40


def _change_checkpoint(project: Project) -> None:
    onnx.save(two_convolutions(seed=1), project.folder / "net.onnx")


def _change_preprocessing(project: Project) -> None:
    project.document["dataset"]["process_ops"][2] = {
        "type": "Normalize",
        "mean": [100, 110, 120],
        "std": [50, 60, 70],
    }


def _change_optimization(project: Project) -> None:
    project.document["backend"]["optimize"]["rewrite"] = True


def _change_count(project: Project) -> None:
    project.document["dataset"]["sampler"]["get_data_num"] = 3


def _change_seed(project: Project) -> None:
    project.document["dataset"]["sampler"]["seed"] = 3


def _change_folding(project: Project) -> None:
    _change_preprocessing(project)
    project.document["graph"] = {"fold_normalization": True}


def _change_outputs(project: Project) -> None:
    project.document["graph"] = {"extra_ops": {"type": "sigmoid"}}


OTHER: dict[str, tuple[Callable[[Project], None], tuple[str, ...]]] = {
    "image": (_change_image, ("observe", "reference")),
    "checkpoint": (_change_checkpoint, ("passes", "observe", "reference")),
    "preprocessing": (_change_preprocessing, ("observe", "reference")),
    "optimize": (_change_optimization, ("passes", "observe")),
    "number of images": (_change_count, ("observe",)),
    "choice of images": (_change_seed, ("observe",)),
    "folded normalization": (_change_folding, ("passes", "observe", "reference")),
    "outputs": (_change_outputs, ("passes", "observe", "reference")),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_a_result_was_made_from_is_part_of_its_name(
    what: str, tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    first = _build(project)
    before = _stages(cache)
    change, anew = OTHER[what]
    change(project)
    second = _build(project)
    assert second.digest != first.digest
    after = _stages(cache)
    assert {stage for stage in after if after[stage] > before[stage]} >= set(anew)
    _assert_same(second, _fresh(project))


def test_other_external_data_gives_other_results(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    path = project.folder / "net.onnx"
    for seed in (0, 1, 0):
        (tmp_path / "net.data").unlink(missing_ok=True)
        onnx.save_model(
            two_convolutions(seed),
            path,
            save_as_external_data=True,
            location="net.data",
            size_threshold=0,
        )
        _assert_same(_build(project), _fresh(project))
    bytes_of_model = path.read_bytes()
    model = onnx.load(path)
    values = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.5)
    data = bytearray((tmp_path / "net.data").read_bytes())
    data[: values.nbytes] = values.tobytes()
    (tmp_path / "net.data").write_bytes(data)
    assert path.read_bytes() == bytes_of_model
    assert _stages(cache)["observe"] == 2
    _assert_same(_build(project), _fresh(project))
    assert _stages(cache)["observe"] == 3


def test_a_build_tells_only_of_the_unusable_files_that_it_reads(
    tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path, images=8)
    project.document["dataset"]["on_error"] = "skip"
    project.document["verify"] = {"samples": 4}
    names = {path.name for path in (tmp_path / "calib").iterdir()}
    calibration = {one["name"] for one in _report(_build(project))["calibration_files"]}
    held_out = sorted(names - calibration)
    for name in (*held_out[1:], first := min(calibration)):
        (tmp_path / "calib" / name).write_bytes(name.encode())
    shutil.rmtree(cache)
    assert len(_report(_build(project))["skipped_files"]) == 4
    for name in held_out[1:]:
        (tmp_path / "calib" / name).unlink()
    _assert_same(build := _build(project), _fresh(project))
    assert _report(build)["skipped_files"] == [first]
    assert _stages(cache)["observe"] == 1


def test_a_checkpoint_may_move(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    first = _build(project)
    stored = _stages(cache)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(tmp_path / "net.onnx", tmp_path / "elsewhere" / "net.onnx")
    project.document["frontend"]["checkpoint"] = str(moved)
    second = _build(project)
    assert _stages(cache) == stored
    assert (second.prefix.parent / "mod.params").exists()
    assert _report(second) == _report(first)
    _assert_same(second, _fresh(project))


# Entries that cannot be trusted


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _write_nonsense(path: Path) -> None:
    """Something else in the place of a file, and a list that agrees with it."""
    path.write_bytes(b"[1, 2]")
    entry = path.with_name(cache_entry.ENTRY)
    facts = json.loads(entry.read_text())
    facts["files"] = cache_entry._contents(path.parent)
    entry.write_text(json.dumps(facts))


@pytest.mark.parametrize("damage", [_truncate, _flip, _write_nonsense])
@pytest.mark.parametrize("stage", ["passes", "observe", "reference"])
def test_a_damaged_entry_is_made_anew(
    stage: str, damage: Callable[[Path], None], tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    first = _build(project)
    (place,) = (cache / stage).iterdir()
    files = {path.name: path.read_bytes() for path in place.iterdir() if path.suffix != ".json"}
    for name, content in files.items():
        if not content:  # the network is small: its weights are in the model file
            continue
        # Files of the cache are shared with nobody but the cache.
        path = place / name
        path.unlink()
        path.write_bytes(content)
        damage(path)
        _assert_same(_build(project), first)
        (again,) = (cache / stage).iterdir()
        assert again == place
        assert (again / name).read_bytes()[:4] == content[:4]
        assert len((again / name).read_bytes()) == len(content)


@pytest.mark.parametrize("name", ["facts.json", "remarks.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"external": 1, "samples": 9}'])
def test_an_entry_with_other_facts_is_made_anew(
    name: str, text: str, tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    first = _build(project)
    for path in cache.glob(f"*/*/{name}"):
        path.write_text(text)
        entry = path.with_name(cache_entry.ENTRY)
        facts = json.loads(entry.read_text())
        facts["files"] = cache_entry._contents(path.parent)
        entry.write_text(json.dumps(facts))
    _assert_same(_build(project), first)


# Folders that refuse


def test_a_cache_that_cannot_be_written_does_not_stop_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project = make_project(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MODC_CACHE", str(tmp_path / "file" / "stages"))
    build = _build(project)
    assert [one.getMessage() for one in caplog.records if "cannot be written" in one.getMessage()]
    _assert_same(build, _fresh(project))


@pytest.mark.parametrize("entries", [0, 1, 2])
def test_a_full_disk_does_not_stop_a_build(
    entries: int, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path)
    seal, sealed = cache_entry.seal, 0

    def refuse(new: Path, place: Path, description: str) -> None:
        nonlocal sealed
        if sealed == entries:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        seal(new, place, description)
        sealed += 1

    monkeypatch.setattr("compiler.pipeline.cache.seal", refuse)
    build = _build(project)
    assert sum(_stages(cache).values()) == entries
    _assert_same(build, _fresh(project))


def test_a_cache_may_be_emptied_at_any_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path)
    first = _build(project)
    check = cache_entry.check

    def check_and_lose(place: Path) -> None:
        check(place)
        shutil.rmtree(cache)

    monkeypatch.setattr("compiler.pipeline.cache.check", check_and_lose)
    _assert_same(_build(project), first)


# What is told


def test_skipped_files_are_told_again(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path, images=8)
    project.document["dataset"]["on_error"] = "skip"
    project.document["dataset"]["sampler"]["get_data_num"] = 8
    for number in (2, 5):
        (tmp_path / "calib" / f"image_{number}.png").write_bytes(b"no image")
    first = _build(project)
    second = _build(project)
    assert _stages(cache)["observe"] == 1
    assert _report(second)["skipped_files"] == ["image_2.png", "image_5.png"]
    assert any("image_2.png" in warning for warning in second.warnings)
    _assert_same(second, first)
    _assert_same(second, _fresh(project))


def test_a_file_that_must_not_be_skipped_ends_the_build_all_the_same(
    tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path, images=4)
    project.document["dataset"]["on_error"] = "skip"
    (tmp_path / "calib" / "image_1.png").write_bytes(b"no image")
    _build(project)
    del project.document["dataset"]["on_error"]
    with pytest.raises(Exception, match=r"image_1\.png"):
        _build(project)


def test_warnings_about_images_are_told_again(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path, images=5)
    del project.document["dataset"]["process_ops"][1]  # so that images are stretched
    first = _build(project)
    second = _build(project)
    assert first.warnings
    assert _stages(cache)["observe"] == 1
    _assert_same(second, first)
    _assert_same(second, _fresh(project))


def test_values_that_no_range_covers_are_told_again(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    model = two_convolutions()
    (gamma,) = (tensor for tensor in model.graph.initializer if tensor.name == "gamma")
    values = numpy_helper.to_array(gamma) * np.array([60, *[1] * 7], np.float32)
    gamma.CopyFrom(numpy_helper.from_array(values, "gamma"))
    model.graph.node[2].op_type = "Exp"  # of which one channel overflows
    onnx.save(model, tmp_path / "net.onnx")
    first = _build(project)
    second = _build(project)
    assert any("NaN or infinite" in warning for warning in first.warnings)
    assert _stages(cache)["observe"] == 1
    _assert_same(second, first)
    _assert_same(second, _fresh(project))


# What is not cached


def test_results_of_the_users_own_code_are_not_kept(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    code = tmp_path / "user_code.py"
    project.document["dataset"]["process_ops"] = [
        {"type": "CustomFunc", "module_path": str(code), "func_name": "load"}
    ]
    code.write_text(
        "import numpy as np\nfrom pathlib import Path\n\n\n"
        "def load(path):\n"
        "    size = len(Path(path).read_bytes())\n"
        "    return np.sin(np.arange(768, dtype='f4') * size).reshape(1, 3, 16, 16)\n"
    )
    for _ in range(2):
        build = _build(project, allow_custom_code=True)
        assert "observe" not in _stages(cache)
        _assert_same(build, _fresh(project, allow_custom_code=True))


# Tables


def test_a_table_with_data_uses_and_fills_the_cache(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    first = _build(project)
    table = tmp_path / "table.txt"
    shutil.copy(first.prefix.parent / "mod.calib.txt", table)
    _quantize(project, calibrate_mode="max")
    with_table = _build(project, calibration_table=table)
    assert with_table.digest != first.digest
    _assert_same(with_table, _fresh(project, calibration_table=table))
    shutil.rmtree(cache)
    _assert_same(_build(project, calibration_table=table), with_table)
    stored = _stages(cache)
    without = _build(project)
    assert _stages(cache) == stored == {"passes": 1, "observe": 1, "reference": 1}
    _assert_same(without, _fresh(project))


def test_a_table_without_data_observes_nothing_though_the_cache_could(
    tmp_path: Path, cache: Path
) -> None:
    project = make_project(tmp_path)
    _quantize(project, equalize=False, bias_correction=False)
    table = tmp_path / "table.txt"
    shutil.copy(_build(project).prefix.parent / "mod.calib.txt", table)
    shutil.rmtree(tmp_path / "calib")
    build = _build(project, calibration_table=table)
    assert build.verification.origin == "random inputs"
    assert _stages(cache) == {"passes": 1, "observe": 1, "reference": 2}
    _assert_same(build, _fresh(project, calibration_table=table))


# Several processes


def test_builds_at_the_same_time_share_a_cache(tmp_path: Path, cache: Path) -> None:
    project = make_project(tmp_path)
    commands = []
    for number in range(2):
        project.document["workspace"]["path"] = str(tmp_path / f"deploy_{number}")
        path = shutil.copy(project.write(), tmp_path / f"build_{number}.yaml")
        commands.append(
            [sys.executable, "-m", "compiler.cli", "compile", str(path), "--json", "--keep"]
        )
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for command in commands
    ]
    answers = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], answers
    params = [(tmp_path / f"deploy_{n}" / "net_int8" / "mod.params").read_bytes() for n in (0, 1)]
    assert params[0] == params[1]
    fresh = _fresh(project)
    assert params[0] == (fresh.prefix.parent / "mod.params").read_bytes()
    assert _stages(cache) == {"passes": 1, "observe": 1, "reference": 1}
