"""Ridge regression in closed form from streamed normal equations, in float64.

Rows may come in any number of batches and in any order; what is kept is one `(p + q + 1)^2` matrix
for `p` features and `q` targets. Many penalties are solved by one eigendecomposition.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_ROUNDING = 1e-6  # features that vary by less, relative to their size, are constant
_CHUNK = 2**23  # numbers of windows held at a time: 64 MiB


class Moments:
    """Sums of products of features and targets: all that a linear regression needs of its rows.

    Args:
        p: number of features.
        q: number of targets.

    >>> moments = Moments(1, 1)
    >>> moments.add(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [6.0]]))
    >>> weight, intercept = solve(moments, [1e-12])[0]
    >>> round(weight.item(), 3), round(intercept.item(), 3)
    (2.0, 0.0)
    """

    def __init__(self, p: int, q: int) -> None:
        self.p = p
        self.q = q
        self.n = 0
        # Products about a fixed point near the mean, so that large means cost no digits.
        self.origin: Float[Tensor, " p"] | None = None
        self.sums: Float[Tensor, "m m"] | None = None

    def add(self, x: Float[Tensor, "n p"], y: Float[Tensor, "n q"]) -> None:
        """Takes rows in."""
        if self.origin is None:
            self.origin = x.double().mean(0)
        self.merge(products(x, y, self.origin), len(x), self.origin)

    def merge(self, sums: Float[Tensor, "m m"], n: int, origin: Tensor) -> None:
        """Takes in the `products` of `n` rows about an origin, the same each time."""
        self.origin = origin
        self.sums = sums.clone() if self.sums is None else self.sums.add_(sums)
        self.n += n

    def plus(self, other: "Moments") -> "Moments":
        """The moments of both sets of rows, about one origin."""
        both = Moments(self.p, self.q)
        for part in (self, other):
            if part.sums is not None and part.origin is not None:
                both.merge(part.sums, part.n, part.origin)
        return both

    @property
    def means(self) -> Float[Tensor, " k"]:
        """Of features, about the origin, and of targets."""
        assert self.sums is not None
        return self.sums[-1, :-1] / self.n

    @property
    def covariance(self) -> Float[Tensor, "k k"]:
        """Of features and targets (divided by `n`)."""
        assert self.sums is not None
        return self.sums[:-1, :-1] / self.n - torch.outer(self.means, self.means)


def products(
    x: Float[Tensor, "n p"], y: Float[Tensor, "n q"], origin: Float[Tensor, " p"]
) -> Float[Tensor, "m m"]:
    """Products of the columns `x - origin`, `y`, 1, summed over rows, in float64."""
    z = torch.cat([x.double() - origin, y.double(), x.new_ones(len(x), 1, dtype=torch.float64)], 1)
    return z.T @ z


def solve(
    moments: Moments, alphas: Sequence[float]
) -> list[tuple[Float[Tensor, "p q"], Float[Tensor, " q"]]]:
    """The ridge solution `(weight, intercept)` of standardised features for each penalty.

    Minimises the mean squared error plus `alpha` times the squared weights of features of variance
    1; scikit-learn's penalty is `alpha * n`. The intercept is free. Features that are constant but
    for rounding (1e-6 of their size) get no weight.

    Args:
        moments: of the rows.
        alphas: the penalties, positive.

    Raises:
        ValueError: if there is no row, or a penalty is not positive.
    """
    _require_solvable(moments, alphas)
    correlation, cross, scale = _standardised(moments)
    values, vectors = torch.linalg.eigh(correlation)
    rotated = vectors.T @ cross
    return [
        _original(moments, vectors @ (rotated / (values.clamp(min=0) + alpha)[:, None]) / scale)
        for alpha in alphas
    ]


def solve_each(
    moments: Moments, alphas: Sequence[float]
) -> tuple[Float[Tensor, "p q"], Float[Tensor, " q"]]:
    """The ridge solution `(weight, intercept)` with a penalty of its own for each target.

    Args:
        moments: of the rows.
        alphas: one for each target.

    Raises:
        ValueError: as `solve`.
    """
    _require_solvable(moments, alphas)
    correlation, cross, scale = _standardised(moments)
    weight = torch.zeros_like(cross)
    for alpha in set(alphas):
        here = [i for i, a in enumerate(alphas) if a == alpha]
        penalised = correlation + alpha * torch.eye(len(correlation)).to(correlation)
        factor = torch.linalg.cholesky(penalised)
        weight[:, here] = torch.cholesky_solve(cross[:, here], factor)
    return _original(moments, weight / scale)


def errors(
    moments: Moments, solutions: Sequence[tuple[Float[Tensor, "p q"], Float[Tensor, " q"]]]
) -> Float[Tensor, "a q"]:
    """Mean squared errors of solutions on other rows, exactly, from those rows' moments alone."""
    assert moments.origin is not None
    c, p, mean = moments.covariance, moments.p, moments.means
    found = []
    for weight, intercept in solutions:
        bias = intercept + (moments.origin + mean[:p]) @ weight - mean[p:]
        spread = (weight * (c[:p, :p] @ weight - 2 * c[:p, p:])).sum(0) + c[p:, p:].diagonal()
        found.append(spread + bias**2)
    return torch.stack(found)


def ridge(
    x: Float[Tensor, "n p"], y: Float[Tensor, "n q"], alpha: float
) -> tuple[Float[Tensor, "p q"], Float[Tensor, " q"]]:
    """`(weight, intercept)` of the ridge regression of `y` on standardised `x`, all rows at once.

    Args:
        x: features.
        y: targets.
        alpha: penalty, as of `solve`.

    Raises:
        ValueError: as `solve`.

    >>> weight, intercept = ridge(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]), 1.0)
    >>> weight.tolist(), intercept.tolist()
    ([[0.5]], [1.5])
    """
    moments = Moments(x.shape[1], y.shape[1])
    moments.add(x, y)
    return solve(moments, [alpha])[0]


def windows(
    maps: Float[Tensor, "b c h w"], kernel: int
) -> Iterator[tuple[slice, Float[Tensor, "m p"]]]:
    """All windows of `kernel x kernel` cells inside maps, no padding, a few maps at a time.

    Yields the slice of maps, and their windows: map by map, row by row; in each window channel by
    channel, as a convolution's weight has them.

    Raises:
        ValueError: if a window does not fit into a map.

    >>> [rows.tolist() for _, rows in windows(torch.arange(6.0).reshape(1, 1, 2, 3), 2)]
    [[[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]]
    """
    b, c, h, w = maps.shape
    if kernel > min(h, w):
        raise ValueError(
            f"`kernel` must be at most {min(h, w)} at maps of {h} x {w}, but is {kernel}."
        )
    cells = (h - kernel + 1) * (w - kernel + 1)
    step = max(1, _CHUNK // (cells * c * kernel**2))
    for start in range(0, b, step):
        part = maps[start : start + step]
        rows = part.flatten(2) if kernel == 1 else F.unfold(part, kernel)  # b p n
        yield slice(start, start + len(part)), rows.mT.flatten(0, 1)


def _standardised(moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """Correlations of features, of features with targets, and the features' deviations."""
    assert moments.origin is not None
    p = moments.p
    c = moments.covariance
    variance = c.diagonal()[:p].clamp(min=0)
    size = variance + (moments.origin + moments.means[:p]) ** 2
    still = variance <= _ROUNDING**2 * size
    scale = torch.where(still, torch.inf, variance.sqrt())
    correlation = c[:p, :p] / scale / scale[:, None]
    return correlation, c[:p, p:] / scale[:, None], scale[:, None]


def _original(moments: Moments, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight, and the intercept that goes with it."""
    assert moments.origin is not None
    p = moments.p
    return weight, moments.means[p:] - (moments.origin + moments.means[:p]) @ weight


def _require_solvable(moments: Moments, alphas: Sequence[float]) -> None:
    if not moments.n:
        raise ValueError("`moments` must hold rows, but is empty.")
    if not alphas or min(alphas) <= 0:
        raise ValueError(f"`alphas` must be positive, but are {list(alphas)}.")
