"""Conversion of rotary checkpoints between the layouts of pairs, `interleaved` and `half`.

Attention sees queries and keys through products only, so the rows of both projections can be put in
another order together: a model trained with one layout then runs with the other, unchanged.
"""

from jaxtyping import Shaped
from torch import Tensor


def half_to_interleaved(rows: Shaped[Tensor, "rows *c"], heads: int) -> Shaped[Tensor, "rows *c"]:
    """Reorders the rows of a query or key projection from the `half` layout to `interleaved`.

    Args:
        rows: weight (`heads * head_dim` rows) or bias of the projection of queries or of keys, or
            the scale of a norm of heads, with `heads=1`. Split a joint qkv projection first, and
            leave its values' rows alone.
        heads: number of heads.

    Raises:
        ValueError: if the rows are no whole number of pairs a head.

    >>> import torch
    >>> half_to_interleaved(torch.arange(8.0), heads=2).tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    _require_rows(rows, heads)
    pairs = rows.shape[0] // heads // 2
    split: Tensor = rows.unflatten(0, (heads, 2, pairs))
    return split.transpose(1, 2).flatten(0, 2)


def interleaved_to_half(rows: Shaped[Tensor, "rows *c"], heads: int) -> Shaped[Tensor, "rows *c"]:
    """The inverse of `half_to_interleaved`.

    >>> import torch
    >>> interleaved_to_half(torch.arange(4.0), heads=1).tolist()
    [0.0, 2.0, 1.0, 3.0]
    """
    _require_rows(rows, heads)
    pairs = rows.shape[0] // heads // 2
    split: Tensor = rows.unflatten(0, (heads, pairs, 2))
    return split.transpose(1, 2).flatten(0, 2)


def _require_rows(rows: Tensor, heads: int) -> None:
    if heads < 1:
        raise ValueError(f"`heads` must be at least 1, but is {heads}.")
    if rows.dim() == 0 or rows.shape[0] == 0 or rows.shape[0] % (2 * heads):
        raise ValueError(
            f"`rows` must be a multiple of 2 * {heads} (pairs of channels in each of the heads), "
            f"but has shape {tuple(rows.shape)}."
        )
