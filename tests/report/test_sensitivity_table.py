"""The table of sensitive layers, with figures that were made up."""

from io import StringIO

from rich.console import Console

from compiler.report.sensitivity import sensitivity_facts, sensitivity_table
from compiler.verify.sensitivity import LayerSensitivity

LAYERS = (
    LayerSensitivity("/enc/Conv", "Conv", "e", 34.125, 0.99980612, 30.5, 0.9995, 0.031, 1_500_000),
    LayerSensitivity("head[0]", "Add", "h", 39.0, 0.9999, 22.25, 0.997, 0.01),
    LayerSensitivity("/mid/Conv", "MatMul", "m", 20.0, 0.995, 19.5, 0.9944, 0.959, 250_000),
)

TABLE = """\
net_int8: layers by the noise that each adds
 layer      operator  isolated dB    cosine  share  accumulated dB    cosine  MMAC
 /mid/Conv  MatMul          20.00  0.995000  95.9%           19.50  0.994400  0.25
 /enc/Conv  Conv            34.12  0.999806   3.1%           30.50  0.999500  1.50
 1 more                                       1.0%                               -
"""


def _text(limit: int) -> str:
    table = sensitivity_table("net_int8", LAYERS, limit)
    table.box = None
    out = StringIO()
    Console(file=out, width=200).print(table)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def test_the_worst_layers_come_first_and_the_rest_is_summed() -> None:
    assert _text(2) == TABLE


def test_all_layers_are_shown_without_a_limit_and_names_are_no_markup() -> None:
    lines = [line.split() for line in _text(0).splitlines()]
    assert lines[-1] == ["head[0]", "Add", "39.00", "0.999900", "1.0%", "22.25", "0.997000", "-"]
    assert len(lines) == 2 + len(LAYERS)


def test_facts_hold_every_layer_the_worst_first() -> None:
    facts = sensitivity_facts("net_int8", LAYERS)
    assert facts["name"] == "net_int8"
    assert [layer["layer"] for layer in facts["layers"]] == ["/mid/Conv", "/enc/Conv", "head[0]"]
    assert facts["layers"][0]["accumulated_sqnr_db"] == 19.5
