"""The tables of a diff, with values that were made up."""

import json
from dataclasses import replace
from io import StringIO

from rich.console import Console

from calibration.ranges import TensorRange
from compiler.pipeline.build_diff import BuildDiff, Change, ScaleChange
from compiler.pipeline.diff import Comparison, Diff, Side
from compiler.pipeline.graph_diff import (
    AttributeChange,
    GraphDiff,
    NodeChange,
    NodeGroup,
    WeightChange,
)
from compiler.pipeline.layer_diff import LayerDiff
from compiler.report.diff import diff_facts, diff_tables, verdict
from compiler.runner.manifest import TensorSpec
from compiler.verify.result import TensorFigures

X = TensorSpec("x", (1, 3, 4, 4), "float32")
Y = TensorSpec("y", (1, 1, 4, 4), "float32")
A = Side("deploy/net_int8/mod", "bundle", "int8", (X,), (Y,), 40, 17, 2_000_000, 1_000_000)
B = Side("net.onnx", "ONNX file", "fp32", (X,), (Y,), 20, 17, 4_000_000, 4_000_000)

GRAPH = GraphDiff(
    operators={"Conv": (2, 2), "DequantizeLinear": (9, 0), "Relu": (1, 2)},
    only_a=(NodeGroup("pad[0]", ("Pad",)),),
    only_b=(
        NodeGroup("bn1", ("BatchNormalization",)),
        NodeGroup("bn2", ("BatchNormalization",)),
        NodeGroup("id", ("Identity",)),
    ),
    changed=(
        NodeChange("up", ("Resize",), ("Conv", "Concat", "Conv")),
        NodeChange(
            "head",
            ("Conv",),
            ("Conv",),
            (AttributeChange("pads", [0, 0], [1, 1]), AttributeChange("group", None, 1)),
            (WeightChange("head.weight", "int8[8, 3]", "float32[8, 3]", 41.234),),
            (("x",), ("z",)),
        ),
        NodeChange(
            "last", ("Conv",), ("Conv",), (), (WeightChange("b", None, "float32[8]", None),)
        ),
    ),
)
BUILD = BuildDiff(
    keys=(Change("name", "a", "b"), Change("verify.samples", None, 3)),
    versions=(Change("numpy", "2.0", None),),
    sources=(Change("model", f"old net.onnx {'1' * 64}", f"net.onnx {'2' * 64}"),),
    files=(Change("mod.onnx", "1" * 64, None),),
)
SCALES = (
    ScaleChange(
        "act",
        TensorRange("act", "max", -1.0, 2.0, 2.0, 0.0125, 85),
        TensorRange("act", "mse", -1.0, 2.0, 1.0, 0.00625, 85),
    ),
    ScaleChange("gone", TensorRange("gone", "max", 0.0, 2.0, 2.0, 0.0125, 0), None),
    ScaleChange("new", None, TensorRange("new", "max", 0.0, 2.0, 2.0, 0.0125, 0)),
)
RUN = Comparison(
    fed="street.png, through the preprocessing of net_int8",
    outputs=(TensorFigures("y", 0.99964008, 31.367, 0.63646),),
    layers=(
        LayerDiff("head", "Conv", TensorFigures("h", 0.5, 3.25, 12.0), 2),
        LayerDiff("first[1]", "Conv", TensorFigures("f", 1.0, 200.0, 0.0)),
        LayerDiff("up", "Resize", TensorFigures("u", 1.0, 200.0, 0.0)),
    ),
    milliseconds=(2.0, 5.0),
    threads=4,
)
DIFF = Diff(A, B, False, GRAPH, BUILD, SCALES, RUN, ("a note",))

TABLES = """\
A and B
                      A                    B               B / A
 network              deploy/net_int8/mod  net.onnx
 form                 int8 bundle          fp32 ONNX file
 opset                17                   17
 nodes                40                   20               0.50
 size, bytes          1,000,000            4,000,000        4.00
 MMAC                 2.00                 4.00             2.00
 latency (4 threads)  2.00 ms              5.00 ms          2.50
operators
 operator          A  B  B - A
 Conv              2  2
 DequantizeLinear  9  0     -9
 Relu              1  2     +1
nodes: 3 changed, 1 only in A, 3 only in B; SQNR of weights in B against those in A
 node    A       B                   difference
 up      Resize  2 Conv, Concat      rewritten
 head    Conv    Conv                pads [0, 0] -> [1, 1]; group - -> 1; reads x -> z; \
weight int8[8, 3] -> float32[8, 3] (41.2 dB)
 1 more                              changed
 pad[0]  Pad     -                   only in A
 bn1     -       BatchNormalization  only in B
 bn2     -       BatchNormalization  only in B
 1 more                              only in B: Identity
builds
                   A                          B
 name              a                          b
 verify.samples    -                          3
 version of numpy  2.0                        -
 source: model     old net.onnx 111111111111  net.onnx 222222222222
 file mod.onnx     111111111111               -
scales: 3 differ
 tensor  method      threshold              scale  zero point  log2 B / A
 act     max -> mse     2 -> 1  0.0125 -> 0.00625          85      -1.000
 gone    only in A
 1 more
outputs of B against A
 output, on street.png, through the preprocessing of net_int8    cosine  SQNR dB  max error
 y                                                             0.999640    31.37     0.6365
inner tensors that both have, worst first
 node      operator  tensor    cosine  SQNR dB  max error  channels rescaled
 head      Conv      h       0.500000     3.25         12                  2
 first[1]  Conv      f          equal
 1 more
"""


def _text(diff: Diff, limit: int) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for table in diff_tables(diff, limit):
        table.box = None
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def test_everything_that_differs_has_its_table() -> None:
    assert _text(DIFF, 2) == TABLES


def test_without_a_limit_every_row_is_shown() -> None:
    text = _text(DIFF, 0)
    assert "more" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["last", "Conv", "Conv", "b", "-", "->", "float32[8]"] in lines
    assert ["new", "only", "in", "B"] in lines


def test_what_was_not_compared_has_no_table() -> None:
    other = replace(B, inputs=(), outputs=())
    text = _text(Diff(A, other, False, GraphDiff({}, (), (), ()), None, None, None), 2)
    titles = [line for line in text.splitlines() if not line.startswith(" ")]
    assert titles == ["A and B"]
    assert ["inputs", "x", "float32[1,", "3,", "4,", "4]"] in [
        line.split() for line in text.splitlines()
    ]
    assert "latency" not in text


def test_channels_are_a_column_only_where_some_were_rescaled() -> None:
    plain = replace(RUN, layers=RUN.layers[1:])
    assert "rescaled" not in _text(replace(DIFF, run=plain), 2)


def test_a_network_without_products_has_no_ratio() -> None:
    lines = _text(replace(DIFF, a=replace(A, macs=0)), 1).splitlines()
    assert ["MMAC", "0.00", "4.00", "-"] in [line.split() for line in lines]


def test_the_verdict_is_one_line() -> None:
    assert verdict(DIFF) == (
        "B differs from A: nodes changed: 3, nodes only in A: 1, nodes only in B: 3, "
        "operators in other numbers: 2, keys of the build file: 2, versions: 1, sources: 1, "
        "scales: 3, files: 1"
    )
    same = Diff(A, A, identical=True)
    assert verdict(same) == "deploy/net_int8/mod and deploy/net_int8/mod are identical"
    assert diff_tables(same, 0) == []
    alike = Diff(A, B, False, GraphDiff({"Conv": (2, 2)}, (), (), ()))
    assert verdict(alike) == "the networks do not differ: same nodes, same weights"
    assert verdict(replace(alike, b=replace(B, inputs=(), opset=18))) == (
        "B differs from A: inputs, opset"
    )


def test_facts_hold_every_field_and_the_ratios() -> None:
    facts = json.loads(json.dumps(diff_facts(DIFF)))
    assert facts["identical"] is False
    given = {
        "name": "x",
        "shape": [1, 3, 4, 4],
        "dtype": "float32",
        "bounds": [],
        "delivered": None,
    }
    assert facts["a"]["inputs"] == [given]
    assert facts["graph"]["operators"]["Relu"] == [1, 2]
    assert facts["graph"]["changed"][0]["b"] == ["Conv", "Concat", "Conv"]
    assert facts["build"]["keys"][1] == {"key": "verify.samples", "a": None, "b": 3}
    assert [one["octaves"] for one in facts["scales"]] == [-1.0, None, None]
    assert facts["run"]["ratio"] == 2.5
    assert facts["run"]["layers"][0]["figures"]["sqnr_db"] == 3.25
    assert facts["notes"] == ["a note"]
    bare = diff_facts(Diff(A, A, identical=True))
    assert (bare["identical"], bare["graph"], bare["scales"], bare["run"]) == (
        *(True, None),
        *(None, None),
    )
