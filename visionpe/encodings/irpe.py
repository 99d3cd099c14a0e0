"""Relative position encoding for images, arXiv 2107.14222 (iRPE), its bias and contextual modes.

Offsets share what is learned by buckets: `ProductBuckets`, the paper's best, `CrossBuckets`,
`EuclideanBuckets` and `QuantisedBuckets`. The authors' code has one bucket more, for the class
token; here tokens without a place are left alone.
"""

from functools import reduce
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._offsets import look_up, own_lattice, require_positive
from visionpe.encodings.attention import AttentionEncoding, pad_logits
from visionpe.encodings.contextual import (
    bucket_index,
    contextual_bias,
    contextual_query_bias,
    contextual_values,
    key_grid,
    new_table,
)
from visionpe.encodings.irpe_buckets import ProductBuckets
from visionpe.encodings.offset_buckets import Buckets
from visionpe.encodings.relative import lattice_bias
from visionpe.places import Places


def bucket_bias(
    table: Float[Tensor, "heads buckets"], buckets: Buckets, places: Places, key_places: Places
) -> Float[Tensor, "#b heads n m"]:
    """`table[bucket]`: the number learned for each offset's bucket, 0 for tokens without a place.

    >>> table = torch.arange(49.0)[None]
    >>> bucket_bias(table, ProductBuckets(), Places.of(1, 2), Places.of(1, 2)).tolist()
    [[[[24.0, 23.0], [25.0, 24.0]]]]
    """
    lattice = own_lattice(places, key_places)
    if lattice is not None:
        h, w = lattice
        y, x = (torch.arange(1 - n, n, device=table.device) for n in lattice)
        parts = [look_up(table, index) for index in buckets.index(y[:, None], x[None])]
        offsets = reduce(torch.add, parts).expand(-1, 2 * h - 1, 2 * w - 1)
        return pad_logits(lattice_bias(offsets.flatten(1), h, w), places, key_places)[None]
    parts = [look_up(table, index) for index in bucket_index(buckets, places, key_places)]
    bias = reduce(torch.add, parts)  # heads b n r c
    bias = bias.expand(*bias.shape[:3], *key_grid(key_places)).flatten(-2)
    return pad_logits(bias.movedim(0, 1), places, key_places)


@final
class IRPEBias(AttentionEncoding):
    """Adds to the logits a learned number for the bucket of each offset: iRPE's bias mode.

    `buckets.count` parameters a head, whatever the size of the map; once for all samples that
    share their places.

    Args:
        heads: how many heads, each with numbers of its own; None: all heads share them, however
            many. In the paper's bias mode sharing costs accuracy.
        buckets: which offsets share a number; `ProductBuckets()` by default.

    Attributes:
        table: `heads buckets`, from zero as the authors' do: at first the layer changes nothing.

    Raises:
        ValueError: if `heads` is below 1.

    >>> IRPEBias(2).table.shape
    torch.Size([2, 49])
    """

    def __init__(self, heads: int | None, *, buckets: Buckets | None = None) -> None:
        super().__init__()
        if heads is not None:
            require_positive("heads", heads)
        self.heads = heads
        buckets = ProductBuckets() if buckets is None else buckets
        self.buckets = buckets
        self.table = nn.Parameter(torch.empty(heads or 1, buckets.count))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The numbers as they start: zero."""
        nn.init.zeros_(self.table)

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
        bias = bucket_bias(self.table.to(q.dtype), self.buckets, places, key_places)
        return bias.expand(-1, q.shape[1], -1, -1)

    def __repr__(self) -> str:
        return f"IRPEBias({self.heads}, buckets={self.buckets})"


@final
class IRPEContextual(AttentionEncoding):
    """Adds to keys, queries or values a learned vector for the bucket of each offset.

    iRPE's contextual mode, `(q + p_Q) . k + q . p_K` and `v + p_V`. The paper's best on keys alone
    is the default; with queries and values it is a little better, and slower: acting on values
    makes attention form its weights.

    Args:
        head_dim: width of a head.
        heads: how many heads, each with vectors of its own; by default all heads share them,
            however many, which in the paper costs nothing.
        buckets: which offsets share a vector; `ProductBuckets()` by default.
        on_queries, on_keys, on_values: what the vectors are added to; values are then as wide as
            the keys.

    Attributes:
        query_table, key_table, value_table: `heads buckets head_dim`, or None; from zero as the
            authors' do: at first the layer changes nothing.

    Raises:
        ValueError: if `head_dim` or `heads` is below 1, or the vectors are added to nothing.

    >>> IRPEContextual(8).key_table.shape
    torch.Size([1, 49, 8])
    """

    def __init__(
        self,
        head_dim: int,
        *,
        heads: int | None = None,
        buckets: Buckets | None = None,
        on_queries: bool = False,
        on_keys: bool = True,
        on_values: bool = False,
    ) -> None:
        super().__init__()
        require_positive("head_dim", head_dim)
        if heads is not None:
            require_positive("heads", heads)
        if not (on_queries or on_keys or on_values):
            raise ValueError(
                "One of `on_queries`, `on_keys` and `on_values` must be true, but none is."
            )
        self.heads = heads
        self.head_dim: int = head_dim
        buckets = ProductBuckets() if buckets is None else buckets
        self.buckets = buckets
        self.acts_on_values = on_values
        self.query_table = new_table(heads, buckets, head_dim) if on_queries else None
        self.key_table = new_table(heads, buckets, head_dim) if on_keys else None
        self.value_table = new_table(heads, buckets, head_dim) if on_values else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The vectors as they start: zero."""
        for table in self.parameters():
            nn.init.zeros_(table)

    @override
    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"] | None:
        """`scale * (q . p_K + p_Q . k)`: what the vectors added to keys and queries give."""
        places, key_places = places.to(q.device), key_places.to(q.device)
        bias: Tensor | None = None
        if self.key_table is not None:
            bias = contextual_bias(q, scale * self.key_table, self.buckets, places, key_places)
        if self.query_table is not None:
            term = contextual_query_bias(
                k, scale * self.query_table, self.buckets, places, key_places
            )
            bias = term if bias is None else bias + term
        return bias

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
        added = (self.query_table, self.key_table, self.value_table)
        q, k, v = (table is not None for table in added)
        return (
            f"IRPEContextual({self.head_dim}, heads={self.heads}, buckets={self.buckets}, "
            f"on_queries={q}, on_keys={k}, on_values={v})"
        )
