import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visionpe import (
    CrossBuckets,
    EuclideanBuckets,
    ProductBuckets,
    QuantisedBuckets,
    piecewise_index,
)
from visionpe.encodings.offset_buckets import Buckets

METHODS: list[Callable[..., Buckets]] = [
    ProductBuckets,
    CrossBuckets,
    EuclideanBuckets,
    QuantisedBuckets,
]


def slowly(x: float, alpha: float, beta: float, gamma: float) -> int:
    """Equation 18 of the paper, one number at a time; indices are whole, so beta counts as such."""
    if abs(x) <= alpha:
        return int(math.copysign(min(int(beta), round(abs(x))), x))
    steps = round(alpha + math.log(abs(x) / alpha) / math.log(gamma / alpha) * (beta - alpha))
    return int(math.copysign(min(int(beta), steps), x))


def all_offsets(h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(1 - h, h)[:, None], torch.arange(1 - w, w)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    alpha=st.floats(0.5, 20), more=st.floats(1, 3), far=st.floats(1.5, 20), top=st.integers(1, 90)
)
def test_the_index_is_equation_18(alpha: float, more: float, far: float, top: int) -> None:
    pieces = {"alpha": alpha, "beta": max(1.0, alpha * more), "gamma": alpha * far}
    x = torch.arange(-top, top + 1)
    assert piecewise_index(x, **pieces).tolist() == [slowly(v, **pieces) for v in x.tolist()]


def test_the_four_methods_are_the_papers_formulas_on_whole_offsets() -> None:
    h, w = 15, 19
    y, x = all_offsets(h, w)
    pieces = {"alpha": 3.3, "beta": 6.6, "gamma": 26.4}
    squares = sorted({i * i + j * j for i in range(40) for j in range(40) if i * i + j * j <= 1521})
    rank = {square: float(place) for place, square in enumerate(squares)}
    product, cross, euclidean, quantised = (method(**pieces).index(y, x) for method in METHODS)
    for i in range(2 * h - 1):
        for j in range(2 * w - 1):
            dy, dx = i - h + 1, j - w + 1
            rows, columns = slowly(dy, **pieces), slowly(dx, **pieces)
            assert product[0][i, j] == (rows + 6) * 13 + columns + 6
            assert cross[0][i, 0] == rows + 6
            assert cross[1][j] == 13 + columns + 6
            assert euclidean[0][i, j] == slowly(math.hypot(dy, dx), **pieces)
            assert quantised[0][i, j] == slowly(rank[dy * dy + dx * dx], **pieces)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pieces", [{}, {"alpha": 1.9, "beta": 3.8, "gamma": 15.2}])
def test_all_buckets_are_counted_and_most_are_used(
    method: Callable[..., Buckets], pieces: dict[str, float]
) -> None:
    buckets = method(**pieces)
    y, x = all_offsets(200, 190)
    used = torch.cat([part.flatten() for part in buckets.index(y, x)]).unique()
    assert used[0] == 0
    assert used[-1] == buckets.count - 1
    assert len(used) > 0.8 * buckets.count


def test_fifty_buckets_are_forty_nine_and_the_class_tokens() -> None:
    assert ProductBuckets().count == 49
    assert CrossBuckets().count == 2 * 81
    assert EuclideanBuckets().count == 41
    y, x = all_offsets(14, 14)  # of a ViT at 224: the counts in the names of the authors' models
    assert sum(len(part.unique()) for part in CrossBuckets().index(y, x)) + 2 == 56
    assert len(EuclideanBuckets().index(y, x)[0].unique()) + 1 == 20


def test_undirected_methods_do_not_see_direction_and_directed_ones_do() -> None:
    y, x = all_offsets(9, 12)
    for undirected in (EuclideanBuckets(), QuantisedBuckets()):
        (index,) = undirected.index(y, x)
        assert torch.equal(index, index.flip(0))
        assert torch.equal(index, index.flip(1))
    (product,) = ProductBuckets().index(y, x)
    assert torch.equal(product, 48 - product.flip(0, 1))
    assert not torch.equal(product, product.flip(0))
    assert not torch.equal(product, product.flip(1))


def test_distances_that_differ_in_rank_share_no_near_bucket() -> None:
    y, x = all_offsets(5, 5)
    squares = (y.square() + x.square()).flatten()
    for buckets, apart in ((QuantisedBuckets(), True), (EuclideanBuckets(), False)):
        (index,) = buckets.index(y, x)
        assert (len(index.unique()) == len(squares.unique())) is apart


def test_near_offsets_have_an_index_each_and_far_ones_share_it() -> None:
    x = torch.arange(0, 500)
    index = piecewise_index(x, alpha=4.0, beta=8.0, gamma=32.0)
    assert index[:5].tolist() == [0, 1, 2, 3, 4]
    assert (index.diff() >= 0).all()
    assert (index[32:] == 8).all()
    shares = index.unique(return_counts=True)[1][5:]
    assert (shares.diff() >= 0).all()
    clipped = piecewise_index(x, alpha=6.0, beta=6.0, gamma=32.0)  # no logarithm: Shaw's clip
    assert torch.equal(clipped, x.clamp(max=6))


def test_offsets_of_65_536_cells_are_in_the_last_bucket() -> None:
    far = torch.tensor([65_536], dtype=torch.int32)
    for method in METHODS:
        for part in method().index(far, far):
            assert torch.equal(part, method().index(far // 8, far // 8)[0]) or part > 81


def test_a_map_of_buckets_is_the_call_that_makes_it() -> None:
    for method in METHODS:
        buckets = method(alpha=2.0, beta=4.0, gamma=16.0)
        assert repr(buckets) == f"{type(buckets).__name__}(alpha=2.0, beta=4.0, gamma=16.0)"
        assert eval(repr(buckets)) == buckets  # noqa: S307 - our own text
        assert buckets != method()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("alpha", "beta", "gamma"),
    [(0.0, 2.0, 8.0), (2.0, 1.0, 8.0), (2.0, 4.0, 2.0), (0.2, 0.9, 3.0), (1.0, math.inf, 8.0)],
)
def test_pieces_in_another_order_are_refused(
    method: Callable[..., Buckets], alpha: float, beta: float, gamma: float
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        method(alpha=alpha, beta=beta, gamma=gamma)
    assert str(caught.value) == (
        "`alpha`, `beta` and `gamma` must be finite, with 0 < alpha <= beta, 1 <= beta and "
        f"alpha < gamma, but are {alpha}, {beta} and {gamma}. The paper's are as 1 : 2 : 8."
    )


@settings(deadline=None, max_examples=40, derandomize=True)
@given(alpha=st.floats(0.5, 20), more=st.floats(1, 3), far=st.floats(1.5, 20))
def test_buckets_made_of_bounds_are_those_of_the_index(
    alpha: float, more: float, far: float
) -> None:
    pieces = {"alpha": alpha, "beta": max(1.0, alpha * more), "gamma": alpha * far}
    x = torch.arange(-700, 701)
    rows, _ = CrossBuckets(**pieces).index(x, x)
    assert torch.equal(rows - math.floor(pieces["beta"]), piecewise_index(x, **pieces))


def test_buckets_are_made_where_modules_are_made_on_meta() -> None:
    with torch.device("meta"):
        assert ProductBuckets() == ProductBuckets(alpha=1.9)
