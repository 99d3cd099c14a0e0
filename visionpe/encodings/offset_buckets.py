"""Buckets of two-dimensional offsets: clipped ones, arXiv 1803.02155 (Shaw).

The paper's offsets have one axis. On a map there is a bucket for each pair of clipped offsets, or
one for each row offset and one for each column offset, of which what is learned is added.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from visionpe.encodings._offsets import require_positive


class Buckets(ABC):
    """Sorts offsets into a few buckets, for each of which something is learned.

    Attributes:
        count: the number of buckets.
    """

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of buckets."""

    @abstractmethod
    def index(self, y: Int[Tensor, "*#s"], x: Int[Tensor, "*#s"]) -> tuple[Int[Tensor, "..."], ...]:
        """The bucket of each offset, or several buckets, of which what is learned is added.

        Args:
            y, x: offsets in whole cells, query minus key, down and across; shapes that broadcast.
        """


@final
@dataclass(frozen=True, kw_only=True)
class ClippedBuckets(Buckets):
    """A bucket for each pair of row and column offset, clipped: `(2 clip + 1)^2`.

    In the paper's order, key minus query, row by row.

    Args:
        clip: offsets beyond so many cells share the bucket of the last.

    Raises:
        ValueError: if `clip` is below 1.

    >>> import torch
    >>> ClippedBuckets(clip=1).index(torch.tensor([0, 5]), torch.tensor([-1, 7]))[0].tolist()
    [5, 0]
    """

    clip: int = 3

    def __post_init__(self) -> None:
        require_positive("clip", self.clip)

    @property
    @override
    def count(self) -> int:
        return (2 * self.clip + 1) ** 2

    @override
    def index(self, y: Int[Tensor, "*#s"], x: Int[Tensor, "*#s"]) -> tuple[Int[Tensor, "..."], ...]:
        rows, columns = (self.clip - part.clamp(-self.clip, self.clip).long() for part in (y, x))
        return (rows * (2 * self.clip + 1) + columns,)


@final
@dataclass(frozen=True, kw_only=True)
class AxialClippedBuckets(Buckets):
    """Buckets of row offsets and buckets of column offsets, clipped: `2 (2 clip + 1)`.

    In the paper's order, key minus query; rows' before columns'. On a lattice of keys each query
    looks up `h + w` numbers, not `h w`.

    Args:
        clip: offsets beyond so many cells share the bucket of the last; 16 in the paper.

    Raises:
        ValueError: if `clip` is below 1.

    >>> import torch
    >>> AxialClippedBuckets(clip=1).index(torch.tensor([0, 5]), torch.tensor([-1, 7]))
    (tensor([1, 0]), tensor([5, 3]))
    """

    clip: int = 16

    def __post_init__(self) -> None:
        require_positive("clip", self.clip)

    @property
    @override
    def count(self) -> int:
        return 2 * (2 * self.clip + 1)

    @override
    def index(self, y: Int[Tensor, "*#s"], x: Int[Tensor, "*#s"]) -> tuple[Int[Tensor, "..."], ...]:
        rows, columns = (self.clip - part.clamp(-self.clip, self.clip).long() for part in (y, x))
        return rows, columns + (2 * self.clip + 1)
