"""Node data for Model Explorer, as its node_data_builder describes it."""

from compiler.page.contents import Contents
from compiler.report.model_explorer import node_data


def _layer(node: str, macs: int, sqnr: float | None) -> dict[str, object]:
    return {"node": node, "op": "Conv", "macs": macs, "sqnr_db": sqnr, "tensor": f"{node}_out"}


def test_each_figure_is_node_data_of_its_own() -> None:
    layers = [_layer("a", 1000, 42.5), _layer("b", 0, None), _layer("c", 50, 12.0)]
    run = {"nodes": [{"node": "a", "op": "QLinearConv", "ms": 0.5}, {"node": "z", "ms": 0.1}]}
    white_to_red = [{"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": "#d73027"}]
    assert node_data(Contents({}, {"layers": layers}, run)) == {
        "sqnr_db": {
            "results": {"a": {"value": 42.5}, "c": {"value": 12.0}},
            "gradient": [
                {"stop": 0, "bgColor": "#d73027"},
                {"stop": 0.5, "bgColor": "#fee08b"},
                {"stop": 1, "bgColor": "#1a9850"},
            ],
        },
        "ms": {"results": {"a": {"value": 0.5}}, "gradient": white_to_red},
        "macs": {"results": {"a": {"value": 1000}, "c": {"value": 50}}, "gradient": white_to_red},
    }


def test_a_figure_that_no_layer_has_is_left_out() -> None:
    assert list(node_data(Contents({}, {"layers": [_layer("a", 10, None)]}, {}))) == ["macs"]
    assert node_data(Contents({}, {}, {})) == {}
