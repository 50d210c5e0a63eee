"""What the summary of a build says of its latency."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from compiler.pipeline.build import Build, Latency, Size
from compiler.report.text import summary_table
from compiler.verify.result import TensorFigures, VerifyResult

BUILD = Build(
    name="net_int8",
    dtype="int8",
    prefix=Path("deploy/net_int8/mod"),
    digest=None,
    passes=(),
    decisions=(),
    integer_layers=(2, 2),
    verification=VerifyResult(4, "held-out samples", (TensorFigures("y", 0.999, 30.0, 0.1),)),
    broken_gates=(),
    search=None,
    size=Size(2 << 20, 1 << 20),
    latency=Latency(3.0, 1.0, 2),
    seconds={},
    notes=(),
    warnings=(),
)


@pytest.mark.parametrize(
    ("unrest", "said"),
    [(1.0, "3.00x faster"), (1.49, "3.00x faster"), (2.13, "3.00x faster (busy machine: turns")],
)
def test_a_latency_of_a_busy_machine_is_marked(unrest: float, said: str) -> None:
    build = replace(BUILD, latency=replace(BUILD.latency, unrest=unrest))
    console = Console(width=120, record=True, file=StringIO())
    console.print(summary_table(build))
    text = console.export_text()
    assert said in text
    assert ("busy" in text) == (unrest >= 1.5)
