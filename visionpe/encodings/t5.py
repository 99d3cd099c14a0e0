"""A learned bias for each bucket of offsets, near ones alone and far ones together: T5's.

arXiv 1910.10683, whose one dimension is here two: a bucket of `dy` and a bucket of `dx`, each with
a table, added.
"""

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._offsets import axis_offsets, lattices, require_positive, require_std, start
from visionpe.encodings.attention import AttentionEncoding, pad_logits
from visionpe.encodings.separable import axis_bias
from visionpe.places import Places


def t5_bucket(
    offset: Int[Tensor, "*s"], *, buckets: int = 32, max_distance: int = 128
) -> Int[Tensor, "*s"]:
    """T5's bucket of an offset, key minus query: half the buckets for each direction.

    Of the `b = buckets / 2` of a direction the first `e = b / 2` hold one distance each, the others
    `e + floor(log(|d| / e) / log(max_distance / e) * (b - e))`, and the last one all beyond.
    Decided in whole numbers: a logarithm's rounding error moves no distance to another bucket.

    Args:
        offset: whole numbers of cells, key minus query; the buckets of positive ones come second.
        buckets: how many, an even number of at least 4.
        max_distance: the distance from which on all are in the last bucket, above `buckets / 4`.

    Raises:
        ValueError: if `buckets` or `max_distance` cannot be so.

    >>> t5_bucket(torch.tensor([-200, -1, 0, 1, 7, 8, 12, 200])).tolist()
    [15, 1, 0, 17, 23, 24, 25, 31]
    """
    return _bucket(offset, _boundaries(buckets, max_distance), buckets // 2)


@final
class BucketBias(AttentionEncoding):
    """Adds to the logits a learned number for the bucket of rows and one for that of columns.

    T5's relative position bias along both axes, the two added; it takes offsets of any length. T5
    uses one for all its layers: give the same module to each. `2 heads buckets` parameters, memory
    as of `AxisBias`. Offsets in whole cells, as of `relative_index`; tokens without a place have no
    bias. A constant can move from one table to the other without any effect.

    Args:
        heads: number of heads.
        buckets, max_distance: as of `t5_bucket`.
        std: of the truncated normal distribution that the tables start from; by default they are
            zero and the layer changes nothing.

    Raises:
        ValueError: if an argument is too small, or `buckets` odd.

    >>> BucketBias(2).rows.shape
    torch.Size([2, 32])
    """

    def __init__(
        self, heads: int, *, buckets: int = 32, max_distance: int = 128, std: float = 0.0
    ) -> None:
        super().__init__()
        require_positive("heads", heads)
        require_std(std)
        self.heads: int = heads
        self.buckets = buckets
        self.max_distance = max_distance
        self.std = std
        self._boundaries = _boundaries(buckets, max_distance)
        self.rows = nn.Parameter(torch.empty(heads, buckets))
        self.columns = nn.Parameter(torch.empty(heads, buckets))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The tables as they start."""
        start(self.rows, self.std)
        start(self.columns, self.std)

    @override
    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"]:
        """The bias; it looks at the places alone."""
        places, key_places = places.to(q.device), key_places.to(q.device)
        dy, dx = axis_offsets(places, key_places)
        bias = axis_bias(
            self.rows.to(q.dtype),
            self.columns.to(q.dtype),
            _bucket(-dy, self._boundaries, self.buckets // 2),
            _bucket(-dx, self._boundaries, self.buckets // 2),
            lattices=lattices(places, key_places),
        )
        return pad_logits(bias, places, key_places)

    def __repr__(self) -> str:
        return (
            f"BucketBias({self.heads}, buckets={self.buckets}, "
            f"max_distance={self.max_distance}, std={self.std})"
        )


def _bucket(offset: Tensor, boundaries: tuple[int, ...], half: int) -> Tensor:
    """How many boundaries the distance has reached, and half of all buckets more if positive."""
    distance = offset.abs()
    reached = half * (offset > 0).to(torch.int64)
    for boundary in boundaries:  # some dozen; no tensor of all of them for all pairs
        reached = reached + (distance >= boundary).to(torch.int64)
    return reached


def _boundaries(buckets: int, max_distance: int) -> tuple[int, ...]:
    """The distances at which buckets 1, 2, ... of one direction begin."""
    if buckets < 4 or buckets % 2:
        raise ValueError(f"`buckets` must be an even number of at least 4, but is {buckets}.")
    half, exact = buckets // 2, buckets // 4
    if max_distance <= exact:
        raise ValueError(
            f"`max_distance` must be above {exact}, the distances with a bucket of their own, "
            f"but is {max_distance}."
        )
    far = half - exact

    def reaches(distance: int, bucket: int) -> bool:
        # log(d / e) / log(D / e) * far >= bucket, without logarithms
        return bool(distance**far * exact**bucket >= max_distance**bucket * exact**far)

    starts = list(range(1, exact + 1))
    for bucket in range(1, far):
        distance = math.floor(exact * (max_distance / exact) ** (bucket / far))  # or its neighbour
        while reaches(distance - 1, bucket):
            distance -= 1
        while not reaches(distance, bucket):
            distance += 1
        starts.append(distance)
    return tuple(starts)
