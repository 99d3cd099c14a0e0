"""Relative positions as learned vectors added to keys and values, arXiv 1803.02155 (Shaw)."""

from typing import final

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from visionpe.encodings._offsets import require_positive, require_std, start
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.contextual import contextual_bias, contextual_values, new_table
from visionpe.encodings.offset_buckets import Buckets, ClippedBuckets
from visionpe.places import Places


@final
class Shaw(AttentionEncoding):
    """Adds to keys and values a learned vector for each clipped offset of a query from a key.

    The paper clips offsets along a line. On a map `ClippedBuckets` clips each axis and learns a
    vector for each pair of offsets; `AxialClippedBuckets` learns one for each row offset and each
    column offset and adds the two. A table has `buckets.count * head_dim` parameters a head.
    Acting on the values makes attention form its weights; the paper finds keys alone as good.

    Args:
        head_dim: width of a head.
        heads: how many heads, each with vectors of its own; by default all heads share them,
            however many, as in the paper.
        buckets: which offsets share a vector; `ClippedBuckets()` by default.
        on_values: add to the values too, as the paper does; they are then as wide as the keys.
        std: of the truncated normal distribution that the vectors start from; by default they are
            zero and the layer changes nothing. The paper names none; 0.02 is usual.

    Attributes:
        key_table, value_table: `heads buckets head_dim`; the second is None without `on_values`.

    Raises:
        ValueError: if `head_dim`, `heads` or `std` is too small.

    >>> Shaw(8, buckets=ClippedBuckets(clip=1)).key_table.shape
    torch.Size([1, 9, 8])
    """

    def __init__(
        self,
        head_dim: int,
        *,
        heads: int | None = None,
        buckets: Buckets | None = None,
        on_values: bool = True,
        std: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive("head_dim", head_dim)
        if heads is not None:
            require_positive("heads", heads)
        require_std(std)
        self.heads = heads
        self.head_dim: int = head_dim
        buckets = ClippedBuckets() if buckets is None else buckets
        self.buckets = buckets
        self.acts_on_values = on_values
        self.std = std
        self.key_table = new_table(heads, buckets, head_dim)
        self.value_table = new_table(heads, buckets, head_dim) if on_values else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The vectors as they start."""
        for table in self.parameters():
            start(table, self.std)

    @override
    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"]:
        """`scale * q . a_K`: what the vectors added to the keys give."""
        places, key_places = places.to(q.device), key_places.to(q.device)
        return contextual_bias(q, scale * self.key_table, self.buckets, places, key_places)

    @override
    def values(
        self, weights: Float[Tensor, "b heads n m"], places: Places, key_places: Places
    ) -> Float[Tensor, "b heads n d"] | None:
        """What the vectors added to the values give."""
        if self.value_table is None:
            return None
        places, key_places = places.to(weights.device), key_places.to(weights.device)
        return contextual_values(weights, self.value_table, self.buckets, places, key_places)

    def __repr__(self) -> str:
        return (
            f"Shaw({self.head_dim}, heads={self.heads}, buckets={self.buckets}, "
            f"on_values={self.acts_on_values}, std={self.std})"
        )
