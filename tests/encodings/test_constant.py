from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visionpe import LearnedConstant


def test_it_is_the_papers_constant() -> None:
    """Section 2 and figure 1 of arXiv 1812.04948: 4 x 4 x 512, started at one."""
    source = LearnedConstant()
    assert [tuple(p.shape) for p in source.parameters()] == [(1, 512, 4, 4)]
    assert torch.equal(source(3), torch.ones(3, 512, 4, 4))


def test_a_drawn_constant_is_standard_normal() -> None:
    drawn = LearnedConstant(init="randn")(1).detach()
    assert abs(float(drawn.mean())) < 4 / drawn.numel() ** 0.5
    assert abs(float(drawn.std()) - 1) < 4 / (2 * drawn.numel()) ** 0.5


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    c=st.integers(1, 9),
    h=st.integers(1, 64),
    w=st.integers(1, 64),
    b=st.integers(0, 4),
)
def test_every_sample_gets_the_same_cells_whatever_its_latent(
    c: int, h: int, w: int, b: int
) -> None:
    source = LearnedConstant(c, h, w, init="randn")
    out = source(torch.randn(b, 5))
    assert out.shape == (b, c, h, w)
    assert torch.equal(out, source(torch.randn(b, 2, 3)))
    assert torch.equal(out, source(b))
    slowly = torch.stack([source.constant[0]] * b) if b else out
    assert torch.equal(out, slowly)


def test_its_gradient_is_the_sum_over_the_samples() -> None:
    source = LearnedConstant(3, 2, 5).double()
    outer = torch.randn(4, 3, 2, 5, dtype=torch.float64)
    (source(4) * outer).sum().backward()
    assert source.constant.grad is not None
    torch.testing.assert_close(source.constant.grad, outer.sum(0, keepdim=True))


def test_a_change_of_a_cell_is_a_change_of_that_cell_in_all_samples() -> None:
    source = LearnedConstant(3, 4, 6)
    before = source(2).clone()
    with torch.no_grad():
        source.constant[0, 1, 2, 3] += 7
    changed = (source(2) != before).nonzero().tolist()
    assert changed == [[0, 1, 2, 3], [1, 1, 2, 3]]


def test_ones_hold_no_position_and_a_draw_does() -> None:
    for init, alike in (("ones", True), ("randn", False)):
        x = LearnedConstant(8, 3, 5, init=init)(1)  # type: ignore[arg-type]
        assert torch.equal(x, x.roll((1, 2), (2, 3))) is alike


def test_no_sample_costs_memory() -> None:
    source = LearnedConstant(2, 3, 5)
    assert source(1000).untyped_storage().nbytes() == source.constant.untyped_storage().nbytes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_result_has_the_dtype_of_the_latent(dtype: torch.dtype) -> None:
    assert LearnedConstant(2, 3, 5)(torch.zeros(2, 1, dtype=dtype)).dtype == dtype


@pytest.mark.usefixtures("unchecked")
def test_it_exports_with_an_open_batch() -> None:
    source = LearnedConstant(2, 3, 5, init="randn")
    program = torch.export.export(
        source, (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("b")},)
    )
    assert torch.equal(program.module()(torch.zeros(7, 4)), source(7))


def test_its_repr_is_the_call_that_makes_it() -> None:
    source = LearnedConstant(3, 2, 7, init="randn")
    assert repr(source) == "LearnedConstant(3, 2, 7, init='randn')"
    assert repr(eval(repr(source))) == repr(source)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearnedConstant(0), "`channels` must be at least 1, but is 0."),
        (lambda: LearnedConstant(1, -1), "`h` must be at least 1, but is -1."),
        (lambda: LearnedConstant(1, 1, 0), "`w` must be at least 1, but is 0."),
        (
            lambda: LearnedConstant(1)(-1),
            "`z` must be a number of samples, at least 0, but is -1.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


@pytest.mark.usefixtures("unchecked")
def test_another_start_is_refused() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        LearnedConstant(1, init="zeros")  # type: ignore[arg-type]
    assert str(caught.value) == "`init` must be 'ones' or 'randn', but is 'zeros'."
