"""The tables of a profile, with times that were made up."""

from io import StringIO

import pytest
from rich.console import Console

from compiler.cost.machine import BUILT_IN
from compiler.pipeline.node_times import GraphProfile, NodeTime, Profile
from compiler.report.machine import machine_table
from compiler.report.profile import profile_facts, profile_tables

COMPILED = GraphProfile(
    nodes=(
        NodeTime("/enc/Conv_token_1", "QLinearConv", "CPU", 3.0, 1_200_000_000, 6_000_000),
        NodeTime("head[0]", "QLinearConv", "CPU", 0.75, 30_000_000, 750_000),
        NodeTime("x_quantized", "QuantizeLinear", "CPU", 0.25, 0, 983_040),
        NodeTime("tiny", "Reshape", "CPU", 0.0, 0, 16),
    ),
    run_milliseconds=4.125,
    macs=1_230_000_000,
)
ORIGINAL = GraphProfile(
    nodes=(NodeTime("y_nchwc", "Conv (NCHWc)", "CPU", 12.0, 1_500_000_000, 24_000_000),),
    run_milliseconds=12.5,
    macs=1_230_000_000,
)
PROFILE = Profile("net_int8", "int8", 1, 10, COMPILED, ORIGINAL, ("a note",))

TABLES = """\
net_int8 (int8), compiled: nodes
 node               operator        ms  share     MMAC    MB  GMAC/s  GB/s
 /enc/Conv_token_1  QLinearConv  3.000  75.0%  1200.00  6.00   400.0   2.0
 head[0]            QLinearConv  0.750  18.8%    30.00  0.75    40.0   1.0
 2 more                          0.250   6.2%
net_int8 (int8), original: nodes
 node     operator          ms   share     MMAC     MB  GMAC/s  GB/s
 y_nchwc  Conv (NCHWc)  12.000  100.0%  1500.00  24.00   125.0   2.0
by operator; mean of 10 runs, threads: 1
 operator             original ms   share  compiled ms  share
 Conv (NCHWc)              12.000  100.0%            -
 QLinearConv                    -                3.750  93.8%
 QuantizeLinear                 -                0.250   6.2%
 Reshape                        -                0.000   0.0%
 all nodes, ms             12.000                4.000
 overhead, ms               0.500                0.125
 run, ms                   12.500                4.125
 MMAC of the network      1230.00              1230.00
 MMAC computed            1500.00              1230.00
"""

ALONE = """\
by operator; mean of 10 runs, threads: 1
 operator             compiled ms  share
 QLinearConv                3.750  93.8%
"""


def _text(*tables: object) -> str:
    out = StringIO()
    console = Console(file=out, width=200)
    for table in tables:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _plain(profile: Profile, limit: int) -> str:
    tables = profile_tables(profile, limit)
    for table in tables:
        table.box = None
    return _text(*tables)


def test_the_slowest_nodes_come_first_and_operators_side_by_side() -> None:
    assert _plain(PROFILE, 2) == TABLES


def test_without_the_original_there_is_one_column() -> None:
    text = _plain(Profile("n", "fp32", 1, 10, COMPILED, None, ()), 0)
    assert ALONE.splitlines()[-1].split() in [line.split() for line in text.splitlines()]
    assert "original" not in text
    assert "more" not in text
    assert ["tiny", "Reshape", "0.000", "0.0%", "-", "0.00", "-", "0.0"] in [
        line.split() for line in text.splitlines()
    ]


def test_facts_hold_every_field_the_sums_and_the_rates() -> None:
    facts = profile_facts(PROFILE)
    assert facts["notes"] == ("a note",)
    assert facts["original"]["operators"] == {"Conv (NCHWc)": 12.0}
    compiled = facts["compiled"]
    assert compiled["node_milliseconds"] == 4.0
    assert compiled["computed_macs"] == 1_230_000_000
    assert compiled["nodes"][0] == {
        "name": "/enc/Conv_token_1",
        "op": "QLinearConv",
        "provider": "CPU",
        "milliseconds": 3.0,
        "macs": 1_200_000_000,
        "bytes": 6_000_000,
        "share": 0.75,
        "gmacs_per_second": pytest.approx(400.0),
        "gbytes_per_second": pytest.approx(2.0),
    }
    assert profile_facts(Profile("n", "", 1, 1, COMPILED, None, ()))["original"] is None


def test_a_network_whose_nodes_take_no_time_has_no_shares() -> None:
    graph = GraphProfile((NodeTime("a", "Add", "CPU", 0.0, 0, 8),), 0.01, 0)
    assert graph.share(0.0) == 0.0
    assert graph.nodes[0].gbytes_per_second == 0.0


def test_constants_stand_beside_the_built_in_ones() -> None:
    text = _text(machine_table(BUILT_IN))
    assert "built-in" in text
    (row,) = (line for line in text.splitlines() if " conv_float " in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["conv_float", "0.007407", "0.007407", "1.00", "multiply-accumulate"]
