"""Learned vectors for buckets of offsets, inside attention: never `n x m x d`.

What arXiv 1803.02155 (Shaw) and arXiv 2107.14222 (iRPE) share. A token meets the vector of every
bucket once, and the logits are then looked up for each pair; the weights of the keys of a bucket
are summed before they meet its vector. Memory is that of the logits and of one index.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.encodings._offsets import axis_offsets, lattices, whole_steps
from visionpe.encodings._stored import stored
from visionpe.encodings.attention import pad_logits, placed
from visionpe.encodings.base import pad_tokens
from visionpe.encodings.offset_buckets import Buckets
from visionpe.encodings.precision import wide_dtype
from visionpe.places import Places


def contextual_bias(
    q: Float[Tensor, "b heads n d"],
    table: Float[Tensor, "#heads buckets d"],
    buckets: Buckets,
    places: Places,
    key_places: Places,
) -> Float[Tensor, "b heads n m"]:
    """`q . table[bucket]`: the vectors as if added to the keys; 0 for tokens without a place.

    Args:
        q: queries.
        table: a vector for each bucket, for each head or for all.
        buckets: of the offsets, query minus key.
        places, key_places: where queries and keys sit.

    >>> from visionpe import ClippedBuckets
    >>> q, table = torch.ones(1, 1, 2, 1), torch.arange(9.0)[None, :, None]
    >>> two = Places.of(1, 2)
    >>> contextual_bias(q, table, ClippedBuckets(clip=1), two, two).tolist()
    [[[[4.0, 5.0], [3.0, 4.0]]]]
    """
    logits = _products(placed(q, places), table)
    bias: Tensor | None = None
    for index in bucket_index(buckets, places, key_places):
        part = _take(logits, index.flatten(-2)).unflatten(-1, index.shape[-2:])
        bias = part if bias is None else bias + part
    assert bias is not None
    bias = bias.expand(*logits.shape[:-1], *key_grid(key_places)).flatten(-2)
    return pad_logits(bias.to(q.dtype), places, key_places)


def contextual_query_bias(
    k: Float[Tensor, "b heads m d"],
    table: Float[Tensor, "#heads buckets d"],
    buckets: Buckets,
    places: Places,
    key_places: Places,
) -> Float[Tensor, "b heads n m"]:
    """`k . table[bucket]`: the vectors as if added to the queries; see `contextual_bias`.

    >>> from visionpe import ClippedBuckets
    >>> k, table = torch.tensor([[[[1.0], [2.0]]]]), torch.arange(9.0)[None, :, None]
    >>> two = Places.of(1, 2)
    >>> contextual_query_bias(k, table, ClippedBuckets(clip=1), two, two).tolist()
    [[[[4.0, 10.0], [3.0, 8.0]]]]
    """
    logits = _products(placed(k, key_places), table)
    n, grid = places.positions.shape[-2], key_grid(key_places)
    bias: Tensor | None = None
    for index in bucket_index(buckets, places, key_places):
        part = _take(logits, index.expand(-1, n, *grid).flatten(-2).mT)  # b n r c -> b m n
        bias = part if bias is None else bias + part
    assert bias is not None
    return pad_logits(bias.mT.to(k.dtype), places, key_places)


def contextual_values(
    weights: Float[Tensor, "b heads n m"],
    table: Float[Tensor, "#heads buckets d"],
    buckets: Buckets,
    places: Places,
    key_places: Places,
) -> Float[Tensor, "b heads n d"]:
    """`sum over keys of weights * table[bucket]`: the vectors as if added to the values.

    >>> from visionpe import ClippedBuckets
    >>> weights, table = torch.tensor([[[[0.25, 0.75]]]]), torch.arange(9.0)[None, :, None]
    >>> one, two = Places.of(1, 1), Places.of(1, 2)
    >>> contextual_values(weights, table, ClippedBuckets(clip=1), one, two).tolist()  # of 4 and 5
    [[[[4.75]]]]
    """
    # Small weights of many keys in one sum: half precision would lose most of them.
    precise = wide_dtype(weights)
    shares = placed(placed(weights, places).mT, key_places).mT.to(precise)
    spread = shares.unflatten(-1, key_grid(key_places))  # b heads n m -> b heads n r c
    sums = shares.new_zeros(*shares.shape[:-1], buckets.count)
    for index in bucket_index(buckets, places, key_places):
        share = spread.sum_to_size(*shares.shape[:-1], *index.shape[-2:]).flatten(-2)
        sums = sums.scatter_add(-1, _wide(index, sums), share)
    return pad_tokens(sums.to(weights.dtype) @ table.to(weights.dtype), places)


def bucket_index(
    buckets: Buckets, places: Places, key_places: Places
) -> list[Int[Tensor, "#b n #r #c"]]:
    """The buckets of the offsets, query minus key; `r x c` broadcast to the grid of the keys.

    >>> from visionpe import AxialClippedBuckets
    >>> index = bucket_index(AxialClippedBuckets(clip=2), Places.of(1, 1), Places.of(2, 3))
    >>> [part.flatten().tolist() for part in index]  # rows' 2 and 3 down, columns' from 7 across
    [[2, 3], [7, 8, 9]]
    """
    if places.shape is None or not lattices(places, key_places):
        return list(buckets.index(*_offsets(places, key_places)))
    # Rows with rows and columns with columns: `buckets` works on a few numbers.
    y, x = axis_offsets(places, key_places)
    index = buckets.index(y[:, None, :, None], x[None, :, None, :])
    return [part.expand(*places.shape, -1, -1).flatten(0, 1)[None] for part in index]


def _offsets(
    places: Places, key_places: Places
) -> tuple[Int[Tensor, "#b n #r #c"], Int[Tensor, "#b n #r #c"]]:
    here, there = whole_steps(places, key_places)
    y, x = (part[..., None, None] for part in _batched(here).unbind(-1))  # b n 1 1
    keys = _batched(there).unflatten(-2, key_grid(key_places))[:, None]  # b 1 r c 2
    if key_places.shape is not None:  # y is the same along a row, x down a column
        return y - keys[..., :1, 0], x - keys[..., :1, :, 1]
    return y - keys[..., 0], x - keys[..., 1]


def key_grid(key_places: Places) -> tuple[int, int]:
    """Rows and columns of the placed keys: `h x w` of a lattice, else all in one column."""
    return key_places.shape or (key_places.positions.shape[-2], 1)


def new_table(heads: int | None, buckets: Buckets, head_dim: int) -> nn.Parameter:
    """Vectors for each head, or for all, uninitialised: `heads buckets head_dim`."""
    return nn.Parameter(torch.empty(heads or 1, buckets.count, head_dim))


def _products(
    x: Float[Tensor, "b heads n d"], table: Float[Tensor, "#heads buckets d"]
) -> Float[Tensor, "b heads n buckets"]:
    table = table.to(x.dtype)
    return x @ (table[0].mT if table.shape[0] == 1 else table.mT)  # one matrix for all is faster


def _take(
    products: Float[Tensor, "b heads n buckets"], index: Int[Tensor, "#b n m"]
) -> Float[Tensor, "b heads n m"]:
    """Of each token's products those with the vectors of its pairs."""
    return products.gather(-1, stored(index)[:, None].expand(*products.shape[:-1], -1))


def _wide(index: Tensor, per_query: Tensor) -> Tensor:
    """The buckets of all keys in a row, for every sample and head: `b heads n r*c`."""
    return stored(index.flatten(-2))[:, None].expand(*per_query.shape[:-1], -1)


def _batched(steps: Tensor) -> Tensor:
    return steps if steps.dim() > 2 else steps[None]
