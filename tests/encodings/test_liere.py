from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionpe import LieRE, Places, attend, liere_rotations, rotate, skew_symmetric


def series(matrix: Tensor) -> Tensor:
    """The matrix exponential as its power series, of a 2^-10th of the matrix, squared ten times."""
    small = matrix / 1024
    out = term = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    for n in range(1, 16):
        term = term @ small / n
        out = out + term
    for _ in range(10):
        out = out @ out
    return out


def random_liere(block: int = 4, heads: int = 2, width: int = 8, size: float = 3.0) -> LieRE:
    encoding = LieRE(heads, width, block=block).double()
    with torch.no_grad():
        encoding.upper.normal_(0, size)
    return encoding


def turned(encoding: LieRE, x: Tensor, places: Places) -> Tensor:
    return encoding.rotate(x, x, places, places)[0]


@pytest.mark.parametrize("block", [2, 4, 8])
def test_it_is_the_papers_formula_one_token_at_a_time(block: int) -> None:
    encoding, x = random_liere(block), torch.randn(2, 2, 15, 8).double()
    out = turned(encoding, x, Places.of(3, 5))
    for token in range(15):
        i, j = divmod(token, 5)
        y, column = (i + 0.5) / 3, (j + 0.5) / 5  # the image is [0, 1]
        for head in range(2):
            for b in range(8 // block):
                a = torch.zeros(2, block, block, dtype=torch.float64)
                row, col = torch.triu_indices(block, block, 1)
                a[:, row, col] = encoding.upper.detach()[:, head, b]
                a = a - a.mT
                rotation = series(y * a[0] + column * a[1])
                part = slice(b * block, (b + 1) * block)
                wanted = x[:, head, token, part] @ rotation.mT
                got = out[:, head, token, part]
                torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_blocks_of_two_are_turned_by_plane_waves() -> None:
    encoding, x, places = random_liere(2), torch.randn(1, 2, 15, 8).double(), Places.of(3, 5)
    waves = -encoding.upper[..., 0]  # [[0, a], [-a, 0]] turns by -a
    unit = (places.to(dtype=torch.float64).coordinates() + 1) / 2
    angles = torch.einsum("na,ahp->hnp", unit, waves)
    torch.testing.assert_close(turned(encoding, x, places), rotate(x, angles), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(block=st.integers(2, 12), n=st.integers(1, 6), size=st.floats(0, 6))
def test_rotations_are_rotations(block: int, n: int, size: float) -> None:
    entries = block * (block - 1) // 2
    generators = skew_symmetric(size * torch.randn(2, 1, 2, entries).double(), block)
    assert torch.equal(generators.mT, -generators)
    rotations = liere_rotations(torch.rand(n, 2).double(), generators)
    eye = torch.eye(block, dtype=torch.float64).expand_as(rotations)
    torch.testing.assert_close(rotations @ rotations.mT, eye, rtol=0, atol=1e-10)
    ones = torch.ones(rotations.shape[:-2], dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.det(rotations), ones, rtol=0, atol=1e-10)


def test_norms_are_kept_and_the_first_corner_is_not_turned() -> None:
    encoding, x = random_liere(), torch.randn(1, 2, 3, 8).double()
    places = Places.at(torch.tensor([[-0.5, -0.5], [0.0, 2.0], [1.0, 1.0]]), (3, 4))
    out = turned(encoding, x, places)
    torch.testing.assert_close(out.norm(dim=-1), x.norm(dim=-1), rtol=0, atol=1e-10)
    assert torch.equal(out[..., 0, :], x[..., 0, :])


def products(encoding: LieRE, shift: Tensor) -> Tensor:
    torch.manual_seed(1)
    q, k = torch.randn(2, 1, 2, 5, 8).double()
    here, gap = torch.rand(2, 5, 2, dtype=torch.float64) * 4
    places = Places.at(here + shift, (4.0, 6.0))
    a, b = encoding.rotate(q, k, places, Places.at(here + gap + shift, (4.0, 6.0)))
    return (a * b).sum(-1)


def test_products_depend_on_differences_only_where_generators_commute() -> None:
    encoding, shift = random_liere(), torch.tensor([1.5, -2.0])
    apart = products(encoding, shift) - products(encoding, torch.zeros(2))
    assert apart.abs().max() > 0.1  # in general they do not
    with torch.no_grad():
        encoding.upper[1] = 0.7 * encoding.upper[0]  # these commute
    together = products(encoding, torch.zeros(2))
    torch.testing.assert_close(products(encoding, shift), together, rtol=0, atol=1e-10)
    blocks_of_two = random_liere(2)
    together = products(blocks_of_two, torch.zeros(2))
    torch.testing.assert_close(products(blocks_of_two, shift), together, rtol=0, atol=1e-10)


def test_turns_do_not_add_up_in_general() -> None:
    generators = skew_symmetric(torch.randn(2, 1, 1, 6).double(), 4)
    a, b, both = liere_rotations(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), generators)[
        0, :, 0
    ]
    assert (a @ b - both).abs().max() > 1e-2


def test_zero_is_the_identity_to_the_last_bit_and_uniform_is_not() -> None:
    q, k, v = torch.randn(3, 2, 2, 15, 16)
    places = Places.of(3, 5)
    zero = LieRE(2, 16)
    assert torch.equal(turned(zero, q, places), q)
    assert torch.equal(zero(q, k, v, places), attend(q, k, v, [], places))
    uniform = LieRE(2, 16, init="uniform")
    assert (turned(uniform, q, places) - q).abs().max() > 0.1
    assert uniform.upper.min() >= 0
    assert 6 < uniform.upper.max() < 2 * torch.pi


def test_from_zero_every_entry_is_learned() -> None:
    encoding, places = LieRE(2, 16), Places.of(3, 5)
    q, k, v = torch.randn(3, 2, 2, 15, 16)
    encoding(q, k, v, places).square().sum().backward()
    assert encoding.upper.grad is not None
    assert (encoding.upper.grad != 0).all()


def test_tokens_without_a_place_are_left_alone() -> None:
    encoding, x = random_liere(), torch.randn(2, 2, 18, 8).double()
    out = turned(encoding, x, Places.of(3, 5, prefix=2, suffix=1))
    assert torch.equal(out[..., :2, :], x[..., :2, :])
    assert torch.equal(out[..., 17:, :], x[..., 17:, :])
    assert torch.equal(out[..., 2:17, :], turned(encoding, x[..., 2:17, :], Places.of(3, 5)))


def test_samples_have_each_their_own_places() -> None:
    encoding, x = random_liere(), torch.randn(3, 2, 7, 8).double()
    points = torch.rand(3, 7, 2) * 4
    together = turned(encoding, x, Places.at(points, (4.0, 5.0)))
    for i in range(3):
        one = Places.at(points[i : i + 1], (4.0, 5.0))
        alone = turned(encoding, x[i : i + 1], one)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)
        shared = turned(encoding, x, one)
        torch.testing.assert_close(shared[i : i + 1], alone, rtol=0, atol=1e-12)


def test_places_that_samples_have_in_common_are_turned_and_learned_as_if_alone() -> None:
    encoding, x = random_liere(), torch.randn(4, 2, 6, 8).double()
    points = torch.randint(4, (4, 6, 2)).double()
    assert len(points.flatten(0, 1).unique(dim=0)) < 24
    together = turned(encoding, x, Places.at(points, (4.0, 5.0)))
    weights = torch.randn_like(together)
    (grad,) = torch.autograd.grad((together * weights).sum(), encoding.upper)
    alone = [turned(encoding, x[i : i + 1], Places.at(points[i], (4.0, 5.0))) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)
    (wanted,) = torch.autograd.grad((torch.cat(alone) * weights).sum(), encoding.upper)
    torch.testing.assert_close(grad, wanted)


def test_places_may_be_learned() -> None:
    encoding, x = random_liere(), torch.randn(2, 2, 3, 8).double()
    points = torch.rand(2, 3, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p: turned(encoding, x, Places.at(p, (4.0, 5.0))), points, fast_mode=True
    )


def test_queries_and_keys_may_have_other_places_and_numbers() -> None:
    encoding, q, k = random_liere(), torch.randn(2, 2, 6, 8), torch.randn(2, 2, 13, 8)
    places, key_places = Places.of(2, 3), Places.of(3, 4, prefix=1)
    a, b = encoding.rotate(q, k, places, key_places)
    assert torch.equal(a, turned(encoding, q, places))
    assert torch.equal(b, turned(encoding, k, key_places))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("block", [8, 64])
def test_half_precision_is_turned_in_single_precision(dtype: torch.dtype, block: int) -> None:
    encoding = LieRE(1, 64, block=block, init="uniform").to(dtype)
    assert encoding.upper.dtype == torch.float32
    x, places = torch.randn(1, 1, 35, 64).to(dtype), Places.of(5, 7)
    out = turned(encoding, x, places)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(turned(encoding, x, places), out)
    assert out.dtype == dtype
    exact = turned(encoding, x.double(), places)
    bound = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-4  # exponentials of norms near 250
    assert ((out.double() - exact).abs() <= bound).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rotations_are_rounded_once_in_half_precision_and_under_autocast(
    dtype: torch.dtype,
) -> None:
    generators = skew_symmetric(torch.randn(2, 1, 2, 6).to(dtype), 4)
    points = torch.rand(5, 2)
    exact = liere_rotations(points, generators.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rotations = liere_rotations(points, generators)
    assert rotations.dtype == dtype
    bound = 2e-6 + torch.finfo(dtype).eps / 2 * exact.abs()
    assert ((rotations.double() - exact).abs() <= bound).all()


def test_columns_and_rows_are_not_interchangeable() -> None:
    encoding, x = random_liere(), torch.randn(1, 2, 5, 8)
    column, row = Places.of(5, 1), Places.of(1, 5)
    assert (turned(encoding, x, column) - turned(encoding, x, row)).abs().max() > 0.1


def test_with_a_unit_cells_side_by_side_turn_alike_in_images_of_every_size() -> None:
    whole = random_liere()
    cells = LieRE(2, 8, block=4, unit=(3, 5)).double()
    cells.load_state_dict(whole.state_dict())
    small, large = Places.of(3, 5), Places.of(7, 11)
    x = torch.randn(1, 2, 77, 8).double()
    few = x[:, :, :15]
    # in images of that many cells, as without it
    torch.testing.assert_close(
        turned(cells, few, small), turned(whole, few, small), rtol=1e-12, atol=1e-12
    )
    # larger ones begin alike, and go on
    first = (torch.arange(3)[:, None] * 11 + torch.arange(5)).flatten()
    wanted = turned(cells, few, small)
    there = x.clone()
    there[:, :, first] = few
    torch.testing.assert_close(turned(cells, there, large)[:, :, first], wanted, rtol=0, atol=1e-12)
    assert (turned(whole, there, large)[:, :, first] - wanted).abs().max() > 0.1
    i, j = divmod(76, 11)
    at = torch.tensor([[(i + 0.5) / 3, (j + 0.5) / 5]], dtype=torch.float64)
    generators = skew_symmetric(cells.upper.detach(), 4)
    rotation = liere_rotations(at, generators)[:, 0]  # heads blocks s s
    last = torch.einsum("hks,hkts->hkt", there[0, :, 76].unflatten(-1, (2, 4)), rotation)
    got = turned(cells, there, large)[0, :, 76]
    torch.testing.assert_close(got, last.flatten(-2), rtol=0, atol=1e-10)


def test_its_repr_is_the_call_that_makes_it() -> None:
    for module in (LieRE(2, 8, unit=(3, 5)), LieRE(1, 6, block=3, init="uniform")):
        assert repr(eval(repr(module))) == repr(module)  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, "`heads` must be at least 1, but is 0."),
        ({"block": 1}, "`block` must be at least 2 channels, but is 1."),
        (
            {"block": 5},
            "`head_dim` (the width of a head) must be a multiple of `block`, 5, but is 8.",
        ),
        ({"unit": (3, 0)}, "`unit` must be at least 1 cell an axis, but is (3, 0)."),
        ({"init": "one"}, '`init` must be "zero" or "uniform", but is "one".'),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_options_are_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        LieRE(**{"heads": 2, "head_dim": 8, **options})
    assert str(caught.value) == message


def test_queries_of_other_heads_are_refused() -> None:
    make: Callable[[], object] = lambda: LieRE(2, 8)(*torch.zeros(3, 1, 2, 6, 16), Places.of(2, 3))  # noqa: E731
    with pytest.raises(ValueError, match="width") as caught:
        make()
    assert str(caught.value) == (
        "`q` must have the head width 8 that LieRE is made for, but has 16."
    )
