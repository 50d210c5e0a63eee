"""What debug prints, with figures that were made up."""

import json
from dataclasses import replace
from io import StringIO

from rich.console import Console

from compiler.pipeline.diagnosis import Diagnosis, LayerDiagnosis, Patch, Way
from compiler.pipeline.remedies import Remedy
from compiler.pipeline.workbench import Priced
from compiler.quantize.traps import Trap
from compiler.report.debug import debug_facts, debug_lines, debug_tables
from compiler.verify.sensitivity import LayerSensitivity

WORST = LayerSensitivity("/enc[0]/Conv", "Conv", "e", 14.0, 0.98, 13.5, 0.97, 0.912, 1_500_000)
OTHER = LayerSensitivity("/dec/Add", "Add", "d", 30.0, 0.999, 13.0, 0.97, 0.05)
FLOAT = Remedy("in float", {"exclude_layers": ("/enc[0]/Conv",)})
RULE = Remedy("mse for what it reads", methods={"x": "mse"}, hint="calibrate_mode: auto")
AUTO = Remedy("calibrate_mode: auto", {"calibrate_mode": "auto"})
PATCHED = Way(Remedy("patch", FLOAT.changes), Priced(87.5, 1.25, 1.0), 6.0)
DIAGNOSIS = Diagnosis(
    name="net_int8",
    metric="miou",
    float_points=88.0,
    points=81.5,
    sqnr_db=12.345,
    layers=(
        LayerDiagnosis(
            WORST,
            (Way(FLOAT, Priced(87.5, 1.2, 1.0), 6.0), Way(RULE, Priced(81.25), -0.25)),
        ),
        LayerDiagnosis(OTHER, ()),
    ),
    network=(Way(AUTO, Priced(82.0, 0.9, 1.0), 0.5),),
    traps=(
        Trap("concat", ("/cat",), "one scale", "keep it in float"),
        Trap("data", (), "other images", "calibrate with them"),
    ),
    patch=Patch("backend:\n  quantize:\n    exclude_layers: [a]\n", FLOAT.changes, PATCHED),
    verdict="this patch helps",
    notes=("a note",),
)

TABLES = """\
net_int8: what each way out gives and takes
 layer         operator  share  way out                    points      ms  remark
 /enc[0]/Conv  Conv      91.2%  in float                   +6.000  +0.200
                                mse for what it reads      -0.250    same  calibrate_mode: auto
 /dec/Add      Add        5.0%  no build file can name it
the whole network
 way out               points      ms  remark
 calibrate_mode: auto  +0.500  -0.100
"""

LINES = """\
net_int8: float 88.000, int8 81.500, lost 6.500 (points of mean IoU); output SQNR 12.35 dB
trap (concat) /cat: one scale
  fix: keep it in float
trap (data): other images
  fix: calibrate with them
this patch helps
before 81.500 points, 1.000 ms; after 87.500 points, 1.250 ms

backend:
  quantize:
    exclude_layers: [a]"""


def _text(found: Diagnosis) -> str:
    out = StringIO()
    for table in debug_tables(found):
        table.box = None
        Console(file=out, width=200).print(table)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def test_every_way_out_has_its_row_and_names_are_no_markup() -> None:
    assert _text(DIAGNOSIS) == TABLES


def test_a_table_without_rows_is_left_out() -> None:
    assert len(debug_tables(replace(DIAGNOSIS, network=()))) == 1


def test_the_patch_comes_last_and_can_be_copied() -> None:
    assert "\n".join(debug_lines(DIAGNOSIS)) == LINES


def test_without_a_patch_the_verdict_says_why() -> None:
    lines = list(debug_lines(replace(DIAGNOSIS, patch=None, traps=(), verdict="nothing helps")))
    assert len(lines) == 2
    assert lines[-1] == "nothing helps"


def test_a_program_gets_every_field() -> None:
    facts = json.loads(json.dumps(debug_facts(DIAGNOSIS)))
    assert facts["layers"][0]["layer"] == "/enc[0]/Conv"
    assert facts["layers"][0]["ways"][0] == {
        "label": "in float",
        "changes": {"exclude_layers": ["/enc[0]/Conv"]},
        "methods": {},
        "hint": "",
        "points": 87.5,
        "milliseconds": 1.2,
        "present": 1.0,
        "gain": 6.0,
    }
    assert facts["layers"][1]["ways"] == []
    assert facts["network"][0]["changes"] == {"calibrate_mode": "auto"}
    assert [trap["kind"] for trap in facts["traps"]] == ["concat", "data"]
    assert facts["patch"]["text"].startswith("backend:")
    assert facts["patch"]["gain"] == 6.0
    assert (facts["metric"], facts["points"], facts["notes"]) == ("miou", 81.5, ["a note"])
    assert debug_facts(replace(DIAGNOSIS, patch=None))["patch"] is None
