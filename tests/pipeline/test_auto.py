"""`calibrate_mode: auto` against the single rules, on networks that need it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.rules import THRESHOLD_RULES
from compiler import Build, compile_model, load_config
from tests.support.project import Project, make_project


def _build(project: Project, mode: str) -> Build:
    project.document["backend"]["quantize"] = {"calibrate_mode": mode}
    project.document["name"] = f"net_{mode}"
    return compile_model(load_config(project.write()))


def _two_tails(folder: Path) -> Project:
    """One branch whose outliers mean nothing, another that is nothing but its outliers."""
    project = make_project(folder, images=12)
    random = np.random.default_rng(3)
    weights = {
        "first": random.normal(0, 0.2, (8, 3, 3, 3)),
        "cut": random.normal(0, 0.2, (8, 8, 3, 3)),
        "steep": np.full((8, 8, 1, 1), 0.5),
        "last": random.normal(0, 0.2, (1, 16, 3, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["input", "first"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Mul", ["ar", "ar"], ["square"]),
        helper.make_node("Mul", ["square", "square"], ["rare"]),
        helper.make_node("Conv", ["rare", "steep"], ["peaks"], name="steep"),
        helper.make_node("Conv", ["ar", "cut"], ["c"], name="cut", pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["c", "peaks"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "last"], ["output"], name="last", pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "tails",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 16, 16])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return project


@pytest.mark.parametrize("make", [make_project, _two_tails])
def test_auto_is_about_as_good_as_the_best_rule(make: object, tmp_path: Path) -> None:
    assert callable(make)
    single = [_build(make(tmp_path / rule), rule).verification.sqnr_db for rule in THRESHOLD_RULES]
    auto = _build(make(tmp_path / "auto"), "auto")
    assert auto.verification.sqnr_db > max(single) - 1
    assert any(note.startswith("calibrate_mode auto chose ") for note in auto.notes)


def test_a_head_that_makes_the_noise_stays_float_where_that_is_cheap(tmp_path: Path) -> None:
    project = make_project(tmp_path, images=12)
    project.document["backend"]["quantize"] = {"exclude_layers": ["first"]}
    for mode in ("max", "auto"):
        project.document["backend"]["quantize"]["calibrate_mode"] = mode
        build = compile_model(load_config(project.write()))
        kept = [note for note in build.notes if note.startswith("layer last stays float")]
        assert bool(kept) == (mode == "auto")
        assert (build.verification.sqnr_db > 100) == (mode == "auto")
