import numpy as np
import pytest

from compiler.passes.conv_site import ConvSite, conv_site, draft_conv
from compiler.passes.draft import Draft
from tests.support.rewrites import graph_of


def site_of(conv: str, *, x: str = "2, 4, 9, 8") -> ConvSite | str:
    graph = graph_of(
        f"""<ir_version: 9, opset_import: ["" : 17]>
        g (float[{x}] x, float[6, 4, 3, 3] given) => (float y)
        <float[6, 4, 3, 3] w, float[6] b, float[6, 4, 3] w1> {{ y = {conv} }}"""
    )
    return conv_site(graph.nodes[-1])


def test_a_convolution_is_read_as_numbers() -> None:
    site = site_of("Conv<pads = [1, 2, 3, 4], strides = [2, 1], dilations = [1, 2]>(x, w, b)")
    assert isinstance(site, ConvSite)
    assert (site.pads, site.strides, site.dilations) == ((1, 2, 3, 4), (2, 1), (1, 2))
    assert (site.kernel, site.channels, site.groups) == ((3, 3), 6, 1)
    assert site.output_shape == [2, 6, 6, 10]
    assert site.weight.dtype == site.bias.dtype == np.float64


def test_the_parts_of_a_concat_add_up() -> None:
    site = site_of("Conv(x, w, b)")
    assert isinstance(site, ConvSite)
    graph = graph_of(
        """<ir_version: 9, opset_import: ["" : 17]>
        g (float[2, 1, 9, 8] a, float[2, 3, 9, 8] c) => (float y) { y = Concat<axis = 1>(a, c) }"""
    )
    first, second = graph.inputs
    parts = site.part(first, 0, bias=True), site.part(second, 1, bias=False)
    np.testing.assert_array_equal(np.concatenate([one.weight for one in parts], 1), site.weight)
    np.testing.assert_array_equal(parts[0].bias + parts[1].bias, site.bias)
    draft = Draft(graph, "layer")
    draft_conv(draft, parts[1], role="second")
    assert len(draft.nodes[0].inputs) == 2  # no bias


@pytest.mark.parametrize(
    ("conv", "x", "reason"),
    [
        ("Conv(x, given)", "2, 4, 9, 8", "its weights are not constant"),
        ("Conv(x, w1)", "2, 4, 9", "it is not two-dimensional"),
        ("Conv(x, w)", "N, 4, 9, 8", "its shapes are not static"),
        ('Conv<auto_pad = "SAME_UPPER">(x, w)', "2, 4, 9, 8", "it pads by auto_pad = SAME_UPPER"),
    ],
)
def test_what_cannot_be_rewritten_says_why(conv: str, x: str, reason: str) -> None:
    assert site_of(conv, x=x) == reason


def test_other_element_types_are_not_rewritten() -> None:
    graph = graph_of(
        """<ir_version: 9, opset_import: ["" : 17]>
        g (double[1, 1, 4, 4] x) => (double y)
        <double[1, 1, 1, 1] w = {2.0}> { y = Conv(x, w) }"""
    )
    assert conv_site(graph.nodes[0]) == "it is not float32"
