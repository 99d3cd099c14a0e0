"""Buckets of two-dimensional offsets: the four mappings of iRPE, arXiv 2107.14222.

Near offsets have a bucket each, far ones share: `piecewise_index`. The distances are the paper's;
the authors' code rounds the Euclidean distance before it is indexed, and indexes squared distances
in place of quantised ones. All depend on offsets alone, so that any map, lattice or not, is served.
"""

import math
from dataclasses import dataclass, field
from itertools import count
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from visionpe.encodings._stored import stored
from visionpe.encodings.offset_buckets import Buckets
from visionpe.encodings.precision import widest_dtype


def piecewise_index(
    x: Float[Tensor, "*s"] | Int[Tensor, "*s"], *, alpha: float, beta: float, gamma: float
) -> Int[Tensor, "*s"]:
    """Equation 18: `[x]` up to `alpha`, then ever wider steps of a logarithm, up to `beta`.

    `sign(x) min(floor(beta), [alpha + ln(|x| / alpha) / ln(gamma / alpha) (beta - alpha)])` beyond
    `alpha`, where `[ ]` rounds.

    Args:
        x: distances or signed offsets, in cells.
        alpha: up to here every whole number has an index of its own.
        beta: the largest index.
        gamma: where the logarithm reaches `beta`.

    >>> x = torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 10.0, 11.0, 100.0])
    >>> piecewise_index(x, alpha=1.9, beta=3.8, gamma=15.2).tolist()
    [-1, 0, 1, 2, 2, 3, 3, 3, 3]
    """
    size = _precise(x.abs())
    steps = (size.clamp(min=alpha) / alpha).log() / math.log(gamma / alpha) * (beta - alpha)
    index = torch.where(size <= alpha, size, alpha + steps).round().clamp(max=math.floor(beta))
    return index.long() * x.sign().long()


@final
@dataclass(frozen=True, kw_only=True)
class ProductBuckets(Buckets):
    """A bucket for each pair of row and column index: directed, `(2 floor(beta) + 1)^2`.

    The paper's best. Its 50 buckets are these 49 and one of the class token's.

    Args:
        alpha, beta, gamma: see `piecewise_index`; 1 : 2 : 8 in the paper.

    Raises:
        ValueError: unless `0 < alpha <= beta`, `beta >= 1` and `alpha < gamma`.

    >>> ProductBuckets().index(torch.tensor([-9, 0]), torch.tensor([-9, 1]))[0].tolist()
    [0, 25]
    """

    alpha: float = 1.9
    beta: float = 3.8
    gamma: float = 15.2
    _bounds: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_pieces(self.alpha, self.beta, self.gamma)
        object.__setattr__(self, "_bounds", _bounds(self.alpha, self.beta, self.gamma))

    @property
    @override
    def count(self) -> int:
        return (2 * math.floor(self.beta) + 1) ** 2

    @override
    def index(self, y: Int[Tensor, "*#s"], x: Int[Tensor, "*#s"]) -> tuple[Int[Tensor, "..."], ...]:
        rows, columns = _reached(y, x, self._bounds)
        return (rows * (len(self._bounds) + 1) + columns,)


@final
@dataclass(frozen=True, kw_only=True)
class CrossBuckets(Buckets):
    """Buckets of rows and buckets of columns, whose terms are added: `2 (2 floor(beta) + 1)`.

    Args:
        alpha, beta, gamma: see `piecewise_index`. By default those of the authors' DeiT-S, which
            gives all 27 offsets of 14 rows a bucket of their own.

    Raises:
        ValueError: unless `0 < alpha <= beta`, `beta >= 1` and `alpha < gamma`.

    >>> rows, columns = CrossBuckets().index(torch.tensor([-13]), torch.tensor([0]))
    >>> rows.tolist(), columns.tolist()
    ([27], [121])
    """

    alpha: float = 20.0
    beta: float = 40.0
    gamma: float = 160.0
    _bounds: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_pieces(self.alpha, self.beta, self.gamma)
        object.__setattr__(self, "_bounds", _bounds(self.alpha, self.beta, self.gamma))

    @property
    @override
    def count(self) -> int:
        return 2 * (2 * math.floor(self.beta) + 1)

    @override
    def index(self, y: Int[Tensor, "*#s"], x: Int[Tensor, "*#s"]) -> tuple[Int[Tensor, "..."], ...]:
        rows, columns = _reached(y, x, self._bounds)
        return rows, columns + (len(self._bounds) + 1)


@final
@dataclass(frozen=True, kw_only=True)
class EuclideanBuckets(Buckets):
    """Buckets of the Euclidean distance: undirected, `floor(beta) + 1`.

    Args:
        alpha, beta, gamma: see `piecewise_index`; by default those of the authors' DeiT-S.

    Raises:
        ValueError: unless `0 < alpha <= beta`, `beta >= 1` and `alpha < gamma`.

    >>> EuclideanBuckets().index(torch.tensor([-3, 1]), torch.tensor([4, -1]))[0].tolist()
    [5, 1]
    """

    alpha: float = 20.0
    beta: float = 40.0
    gamma: float = 160.0

    def __post_init__(self) -> None:
        _require_pieces(self.alpha, self.beta, self.gamma)

    @property
    @override
    def count(self) -> int:
        return math.floor(self.beta) + 1

    @override
    def index(self, y: Int[Tensor, "*#s"], x: Int[Tensor, "*#s"]) -> tuple[Int[Tensor, "..."], ...]:
        distance = _precise(_square(y, x)).sqrt()
        return (piecewise_index(distance, alpha=self.alpha, beta=self.beta, gamma=self.gamma),)


@final
@dataclass(frozen=True, kw_only=True)
class QuantisedBuckets(Buckets):
    """Buckets of the rank of the Euclidean distance: undirected, `floor(beta) + 1`.

    The distances that offsets in whole cells can have, 0, 1, 1.41, 2, 2.24, ..., count 0, 1, 2, 3,
    4, ...: the near ones are told apart, on a map of any size alike.

    Args:
        alpha, beta, gamma: see `piecewise_index`; by default those of the authors' DeiT-S.

    Raises:
        ValueError: unless `0 < alpha <= beta`, `beta >= 1` and `alpha < gamma`.

    >>> QuantisedBuckets().index(torch.tensor([0, 1, 2]), torch.tensor([0, -1, 1]))
    (tensor([0, 2, 4]),)
    """

    alpha: float = 33.0
    beta: float = 66.0
    gamma: float = 264.0
    _ranks: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_pieces(self.alpha, self.beta, self.gamma)
        object.__setattr__(self, "_ranks", _ranks(math.ceil(self.gamma)))

    @property
    @override
    def count(self) -> int:
        return math.floor(self.beta) + 1

    @override
    def index(self, y: Int[Tensor, "*#s"], x: Int[Tensor, "*#s"]) -> tuple[Int[Tensor, "..."], ...]:
        # From rank gamma on, all are in the last bucket.
        square = _square(y, x).clamp(max=len(self._ranks) - 1)
        rank = torch.tensor(self._ranks, device=square.device)[square]
        return (piecewise_index(rank, alpha=self.alpha, beta=self.beta, gamma=self.gamma),)


def _bounds(alpha: float, beta: float, gamma: float) -> tuple[int, ...]:
    """The offsets at which an axis' next bucket begins, in order: `2 floor(beta)`, as many back.

    By `piecewise_index` itself, which would take some twenty operations at each call.
    """
    # On the CPU, also where modules are made on meta.
    index = torch.arange(1, math.floor(beta) + 1, dtype=torch.float64, device="cpu")
    ratio = gamma / alpha
    # Where the rounded logarithm reaches the index; below, whole numbers are their own.
    exponent = (index - 0.5 - alpha) / max(beta - alpha, 1e-9)
    start = torch.where(exponent > 0, alpha * ratio**exponent, index).clamp(max=2.0**52)
    near = start.floor()[:, None] + torch.arange(-1, 3, device="cpu")  # the first is one of these
    reached = piecewise_index(near, alpha=alpha, beta=beta, gamma=gamma) >= index[:, None]
    ahead = [int(row) for row in near.gather(1, reached.int().argmax(1, keepdim=True))]
    return (*(1 - bound for bound in reversed(ahead)), *ahead)


def _reached(y: Tensor, x: Tensor, bounds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """How many bounds a row offset and a column offset have reached: the bucket of each."""
    at = torch.tensor(bounds, device=y.device)
    rows, columns = (torch.bucketize(part.long(), at, right=True) for part in (y, x))
    return stored(rows), stored(columns)


def _square(y: Tensor, x: Tensor) -> Tensor:
    return y.long().square() + x.long().square()


def _precise(x: Tensor) -> Tensor:
    """In double precision, so that no index depends on the device; but MPS has none."""
    return x.to(widest_dtype(x.device))


def _ranks(top: int) -> tuple[int, ...]:
    """For 0, 1, 2, ...: how many sums of two squares lie in 1..n; up to the first with `top`."""
    ranks = [0]
    for n in count(1):
        if ranks[-1] == top:
            break
        sums = any(math.isqrt(n - i * i) ** 2 == n - i * i for i in range(math.isqrt(n) + 1))
        ranks.append(ranks[-1] + sums)
    return tuple(ranks)


def _require_pieces(alpha: float, beta: float, gamma: float) -> None:
    if not (0 < alpha <= beta < math.inf and beta >= 1 and alpha < gamma < math.inf):
        raise ValueError(
            "`alpha`, `beta` and `gamma` must be finite, with 0 < alpha <= beta, 1 <= beta and "
            f"alpha < gamma, but are {alpha}, {beta} and {gamma}. The paper's are as 1 : 2 : 8."
        )
