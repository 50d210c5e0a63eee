"""What mod.report.json and mod.build.json say of a network, layer by layer."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.histogram import Histogram
from calibration.ranges import range_of
from compiler import Build, compile_model, load_config
from compiler.pipeline.histogram_facts import histogram_facts
from tests.support.project import Project, make_project

Facts = dict[str, Any]  # Any: a JSON object

# Two 3×3 convolutions on 16×16: 3 to 8 channels, 8 to 1.
MACS = 16 * 16 * 9 * (3 * 8 + 8 * 1)


def _build(project: Project) -> Build:
    return compile_model(load_config(project.write()))


def _read(build: Build, name: str) -> Facts:
    facts: Facts = json.loads((build.prefix.parent / name).read_text())
    return facts


def _report(build: Build) -> Facts:
    return _read(build, "mod.report.json")


def test_the_graph_is_counted_before_and_after(tmp_path: Path) -> None:
    graph = _report(_build(make_project(tmp_path, dtype="fp32")))["graph"]
    weights = 8 * 3 * 9 + 8 * 9
    assert graph["before"] == {
        "operators": {"BatchNormalization": 1, "Conv": 2, "Relu": 1},
        "nodes": 4,
        "macs": MACS,
        "parameter_bytes": 4 * (weights + 5 * 8),  # bias, gamma, beta, mean, var
    }
    assert graph["after"] == {
        "operators": {"Conv": 2, "Relu": 1},
        "nodes": 3,
        "macs": MACS,
        "parameter_bytes": 4 * (weights + 8),
    }


def test_conversions_to_integers_are_nodes_and_no_layers(tmp_path: Path) -> None:
    report = _report(_build(make_project(tmp_path)))
    after = report["graph"]["after"]
    assert after["macs"] == MACS
    assert after["operators"]["QuantizeLinear"] == 3
    assert {layer["op"] for layer in report["layers"]} == {"Conv", "Relu"}


def test_an_int8_layer_has_its_precision_its_size_and_its_error(tmp_path: Path) -> None:
    build = _build(make_project(tmp_path))
    first, relu, last = _report(build)["layers"]
    by_name = {one.name: one for one in build.verification.layers}
    # A weight of 8×3×3×3 bytes with a float32 scale and an int8 zero point per channel, and a bias
    # of 8 int32 with likewise a scale and an int32 zero point.
    assert first == {
        "node": "first",
        "op": "Conv",
        "dtype": "int8",
        "reason": "",
        "shape": [1, 8, 16, 16],
        "macs": 16 * 16 * 9 * 3 * 8,
        "parameter_bytes": 8 * (27 + 4 + 1) + 8 * (4 + 4 + 4),
        "tensor": first["tensor"],
        "sqnr_db": by_name["r1"].sqnr_db,  # with the Relu that is fused into it
        "cosine": by_name["r1"].cosine,
    }
    assert (relu["op"], relu["dtype"], relu["sqnr_db"]) == ("Relu", "int8", first["sqnr_db"])
    assert (last["node"], last["macs"]) == ("last", 16 * 16 * 9 * 8)
    assert last["sqnr_db"] == build.verification.outputs[0].sqnr_db
    compiled = onnx.load(build.prefix.with_suffix(".onnx"), load_external_data=False).graph
    outputs = {node.name: node.output[0] for node in compiled.node}
    assert [one["tensor"] for one in (first, relu, last)] == [
        outputs[one["node"]] for one in (first, relu, last)
    ]


def test_a_layer_that_stays_float_says_why(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"]["exclude_layers"] = ["last"]
    last = _report(_build(project))["layers"][-1]
    assert (last["dtype"], last["reason"]) == ("float32", "named by exclude_layers: last")


@pytest.mark.parametrize(("dtype", "found"), [("fp32", "float32"), ("fp16", "float16")])
def test_float_layers_have_the_precision_of_their_output(
    dtype: str, found: str, tmp_path: Path
) -> None:
    report = _report(_build(make_project(tmp_path, dtype=dtype)))
    computing = [layer for layer in report["layers"] if layer["op"] != "Cast"]
    assert [layer["dtype"] for layer in computing] == [found] * 3
    assert {layer["reason"] for layer in report["layers"]} == {""}
    assert "histograms" not in report


def test_a_layer_that_float16_would_break_says_why(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp16")
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Exp", ["scores"], ["output"], name="exp"))
    onnx.save(model, tmp_path / "net.onnx")
    layers = {layer["node"]: layer for layer in _report(_build(project))["layers"]}
    assert layers["exp"]["dtype"] == "float32"
    assert layers["exp"]["reason"].startswith("exponentials, logarithms and products leave")
    assert layers["exp"]["sqnr_db"] is not None


def test_shapes_that_the_network_computes_are_known_before_as_well(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[0].input[0] = "same"
    reshape = [
        helper.make_node("Shape", ["input"], ["size"]),
        helper.make_node("Reshape", ["input", "size"], ["same"]),
    ]
    for place, node in enumerate(reshape):
        model.graph.node.insert(place, node)
    onnx.save(model, tmp_path / "net.onnx")
    graph = _report(_build(project))["graph"]
    assert graph["before"]["operators"]["Reshape"] == 1
    assert graph["before"]["macs"] == graph["after"]["macs"] == MACS


def test_a_histogram_has_every_value_and_the_threshold_of_each_rule(tmp_path: Path) -> None:
    report = _report(_build(make_project(tmp_path)))
    assert [one["name"] for one in report["histograms"]] == ["input", "r1", "output"]
    for one, range_ in zip(report["histograms"], report["ranges"], strict=True):
        assert sum(one["counts"]) + one["zeros"] == one["total"]
        assert len(one["counts"]) <= 128
        peak = max(-one["minimum"], one["maximum"])
        assert (len(one["counts"]) - 1) * one["bin_width"] < peak
        assert peak <= len(one["counts"]) * one["bin_width"]
        assert sorted(one["thresholds"]) == ["kl_divergence", "max", "mse", "percentile"]
        assert one["thresholds"]["max"] == peak
        assert one["method"] == "kl_divergence"
        assert one["thresholds"]["kl_divergence"] == one["threshold"] == range_["threshold"]


def test_neighbouring_bins_are_summed() -> None:
    values = np.arange(1, 1025) / 1024
    histogram = Histogram()
    histogram.add(np.concatenate([np.zeros(5), -values]))
    (found,) = histogram_facts([range_of("x", histogram, "max")], {"x": histogram}, fraction=0.99)
    # 8192 bins over [0, 2), of which 4097 are in use: threes to get below 2048, then elevens.
    assert found["bin_width"] == 33 * 2 / 8192
    assert found["counts"] == np.bincount((values / found["bin_width"]).astype(int)).tolist()
    assert (found["zeros"], found["total"], len(found["counts"])) == (5, 1029, 125)
    assert found["threshold"] == found["thresholds"]["max"] == 1.0


def test_a_table_without_data_has_no_histograms(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.document["backend"]["quantize"] |= {"equalize": False, "bias_correction": False}
    table = tmp_path / "table.txt"
    table.write_bytes((_build(project).prefix.parent / "mod.calib.txt").read_bytes())
    shutil.rmtree(tmp_path / "calib")
    build = compile_model(load_config(project.write()), calibration_table=table)
    assert _report(build)["histograms"] == []


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_the_time_of_each_node_goes_by_its_name(dtype: str, tmp_path: Path) -> None:
    build = _build(make_project(tmp_path, dtype=dtype))
    nodes = {one["node"]: one for one in _read(build, "mod.build.json")["nodes"]}
    assert {"first", "last"} <= nodes.keys()
    assert all(one["ms"] >= 0 and "Conv" in one["op"] for one in (nodes["first"], nodes["last"]))


def test_a_matrix_product_that_took_its_bias_keeps_its_name(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp32")
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("MatMul", ["input", "w"], ["product"], name="product"),
                helper.make_node("Add", ["product", "b"], ["output"], name="sum"),
            ],
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [2, 8])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [2, 4])],
            [
                numpy_helper.from_array(np.ones((8, 4), np.float32), "w"),
                numpy_helper.from_array(np.arange(4, dtype=np.float32), "b"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "net.onnx")
    project.document["frontend"]["shape"] = {"input": [2, 8]}
    del project.document["dataset"]
    build = _build(project)
    known = {layer["node"] for layer in _report(build)["layers"]}
    assert {one["node"] for one in _read(build, "mod.build.json")["nodes"]} <= known
