from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.cost.work import total_macs
from compiler.passes.trim_padded_taps import trim_padded_taps
from tests.support.models import ops
from tests.support.rewrites import graph_of, machine, rewritten

INTEGER = machine(conv_int8=1.0)


def network(
    size: str = "9, 9",
    *,
    rate: str = "6, 6",
    pads: str = "6, 6, 6, 6",
    strides: str = "1, 1",
    kernel: str = "3, 3",
    group: int = 1,
) -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17]>
    g (float[2, 4, {size}] x) => (float[?, ?, ?, ?] y)
    <float[6, {4 // group}, {kernel}] w, float[6] b>
    {{ y = Conv<dilations = [{rate}], pads = [{pads}], strides = [{strides}], group = {group}>
           (x, w, b) }}"""


def test_taps_in_the_padding_are_left_out_by_regions() -> None:
    graph, result = rewritten(network(), trim_padded_taps, INTEGER, "int8")
    assert (result.changed, result.skipped) == (1, [])
    assert ops(graph).count("Conv") == 9
    # Of 9 outputs along an axis, 3 read taps {0, 1}, 3 read {0} and 3 read {-1, 0}: 15 of 27.
    assert total_macs(graph) == 2 * 6 * 4 * 15 * 15
    assert total_macs(graph_of(network())) == 2 * 6 * 4 * 27 * 27


def test_regions_that_read_everything_need_no_slice() -> None:
    graph, _ = rewritten(network(rate="6, 1", pads="6, 0, 6, 0"), trim_padded_taps, INTEGER, "int8")
    assert sorted(ops(graph)) == ["Concat", "Conv", "Conv", "Conv", "Slice"]


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(*[st.integers(5, 11)] * 2),
    rate=st.tuples(st.integers(2, 5), st.integers(1, 5)),
    pads=st.tuples(*[st.integers(0, 4)] * 4),
    strides=st.tuples(*[st.integers(1, 3)] * 2),
    kernel=st.tuples(*[st.integers(1, 2)] * 2),
    group=st.sampled_from([1, 2]),
)
def test_any_geometry_gives_the_same_result(
    size: tuple[int, int],
    rate: tuple[int, int],
    pads: tuple[int, ...],
    strides: tuple[int, int],
    kernel: tuple[int, int],
    group: int,
) -> None:
    for axis in (0, 1):
        reach = rate[axis] * (kernel[axis] - 1) + 1
        assume(size[axis] + pads[axis] + pads[axis + 2] >= reach)
    text = network(
        *[str(size)[1:-1]],
        rate=str(rate)[1:-1],
        pads=str(pads)[1:-1],
        strides=str(strides)[1:-1],
        kernel=str(kernel)[1:-1],
        group=group,
    )
    _, result = rewritten(text, trim_padded_taps, machine(), "int8")
    assert result.changed + len(result.skipped) == (1 if any(pads) else 0)


def test_outputs_that_read_nothing_but_padding_stay() -> None:
    text = network(rate="2, 2", pads="9, 0, 0, 0")
    _, result = rewritten(text, trim_padded_taps, INTEGER, "int8")
    assert [skip.reason for skip in result.skipped] == ["some outputs read nothing but padding"]


def test_the_float_kernel_skips_such_taps_by_itself() -> None:
    cost = machine(conv_float=1.0, node=1.0)
    graph, result = rewritten(network(), trim_padded_taps, cost, "fp32")
    assert ops(graph) == ["Conv"]
    assert [skip.reason.partition(":")[0] for skip in result.skipped] == ["it would not pay"]


def test_convolutions_without_dilation_are_not_looked_at() -> None:
    _, result = rewritten(network(rate="1, 1"), trim_padded_taps, INTEGER, "int8")
    assert (result.changed, result.skipped) == (0, [])
