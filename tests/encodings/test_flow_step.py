from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from visionpe import FlowEmbedding, flow_condition


def drawn(flows: int = 5, channels: int = 3) -> FlowEmbedding:
    """As a trained one may be: nothing at its start."""
    net = FlowEmbedding(flows, channels, width=7, zero_init=False).double()
    torch.nn.init.normal_(net.multiplier)
    torch.nn.init.normal_(net.project.bias)
    return net


@pytest.mark.parametrize("flow", range(4))
def test_it_starts_as_the_identity_in_every_flow(flow: int) -> None:
    x = torch.randn(2, 6, 5, 7)
    assert torch.equal(FlowEmbedding(4, 6)(x, flow), x)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    flows=st.integers(1, 16),
    c=st.integers(1, 33),
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    b=st.integers(0, 3),
)
def test_it_is_the_formula(flows: int, c: int, h: int, w: int, b: int) -> None:
    net = drawn(flows, c)
    x = torch.randn(b, c, h, w, dtype=torch.float64)
    flow = torch.randint(0, flows, (b,))
    got = net(x, flow)
    for i in range(b):
        k = int(flow[i])
        for j in range(c):
            shift = net.project.bias[j] + sum(
                net.project.weight[j, m] * net.table[k, m] for m in range(7)
            )
            wanted = x[i, j] * net.multiplier[k, j] + shift
            torch.testing.assert_close(got[i, j], wanted, rtol=1e-12, atol=1e-12)


def test_one_flow_for_all_is_the_same_flow_for_each() -> None:
    net = drawn()
    x = torch.randn(4, 3, 2, 6, dtype=torch.float64)
    torch.testing.assert_close(net(x, 2), net(x, torch.full((4,), 2)), rtol=0, atol=1e-12)


def test_the_shift_is_the_embedding_concatenated_before_a_1x1_convolution() -> None:
    net = drawn()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    kernel = torch.randn(3, 3, 1, 1, dtype=torch.float64)
    tiled = net.table[1][None, :, None, None].expand(2, -1, 4, 6)
    joint = torch.cat([kernel, net.project.weight[:, :, None, None]], 1)
    together = F.conv2d(torch.cat([x, tiled], 1), joint, net.project.bias)
    apart = flow_condition(F.conv2d(x, kernel), net.shift(1), torch.ones(1, 3).double())
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-10)


def test_embeddings_start_orthogonal_so_that_flows_can_be_told_apart() -> None:
    table = FlowEmbedding(16, 4).table
    torch.testing.assert_close(table @ table.T, torch.eye(16), rtol=0, atol=1e-6)


def test_a_flow_learns_its_own_row_and_no_other() -> None:
    net = drawn()
    (net(torch.randn(2, 3, 4, dtype=torch.float64), torch.tensor([3, 1])) ** 2).sum().backward()
    for parameter in (net.table, net.multiplier):
        assert parameter.grad is not None
        touched = parameter.grad.abs().sum(1) > 0
        assert touched.tolist() == [False, True, False, True, False]


def test_two_flows_do_not_do_the_same_and_a_flow_knows_no_place() -> None:
    net = drawn()
    x = torch.randn(1, 3, 4, 6, dtype=torch.float64)
    assert (net(x, 0) - net(x, 1)).abs().max() > 0.1
    rolled = net(x.roll((1, 2), (2, 3)), 1).roll((-1, -2), (2, 3))
    torch.testing.assert_close(rolled, net(x, 1), rtol=0, atol=0)


def test_with_the_papers_draw_it_is_not_the_identity() -> None:
    x = torch.zeros(1, 64, 4, 6)
    shift = FlowEmbedding(8, 64, zero_init=False)(x, 3).detach()
    assert shift.abs().max() > 0.01
    # He's draw of a unit vector: deviation sqrt(2 / width).
    assert float(shift[0, :, 0, 0].std()) == pytest.approx((2 / 512) ** 0.5, rel=0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_result_has_the_dtype_of_the_map(dtype: torch.dtype) -> None:
    assert FlowEmbedding(2, 3)(torch.zeros(1, 3, 5, dtype=dtype), 1).dtype == dtype


@pytest.mark.usefixtures("unchecked")
def test_it_exports_with_open_sizes() -> None:
    net = drawn()
    x, flow = torch.randn(2, 3, 5, 7).double(), torch.tensor([0, 4])
    b, h, w = (torch.export.Dim(name, min=1, max=64) for name in "bhw")
    program = torch.export.export(net, (x, flow), dynamic_shapes=({0: b, 2: h, 3: w}, {0: b}))
    x, flow = torch.randn(3, 3, 9, 4).double(), torch.tensor([1, 2, 3])
    torch.testing.assert_close(program.module()(x, flow), net(x, flow))


def test_its_repr_is_the_call_that_makes_it() -> None:
    net = FlowEmbedding(3, 4, width=5, zero_init=False)
    assert repr(net) == "FlowEmbedding(3, 4, width=5, zero_init=False)"
    assert repr(eval(repr(net))) == repr(net)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlowEmbedding(0, 1), "`flows` must be at least 1, but is 0."),
        (lambda: FlowEmbedding(1, 0), "`channels` must be at least 1, but is 0."),
        (lambda: FlowEmbedding(1, 1, width=-1), "`width` must be at least 1, but is -1."),
        (
            lambda: FlowEmbedding(3, 1)(torch.zeros(1, 1), 3),
            "`flow` must be a flow's number, 0 to 2, but is 3.",
        ),
        (
            lambda: FlowEmbedding(3, 1)(torch.zeros(2, 1), torch.tensor([1, -1])),
            "`flow` must be a flow's number, 0 to 2, but is -1.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


def test_a_number_in_a_tensor_without_an_axis_is_one_for_all() -> None:
    layer = FlowEmbedding(4, 3, width=5, zero_init=False)
    x = torch.randn(2, 3, 6)
    assert torch.equal(layer(x, torch.tensor(1)), layer(x, 1))
    with pytest.raises(ValueError, match="`flow` must be a flow's number, 0 to 3, but is 4"):
        layer(x, torch.tensor(4))
