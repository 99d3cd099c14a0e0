"""A bias that the query chooses, one for rows and one for columns: MViTv2, arXiv 2112.01526.

`q . rows[dy] + q . columns[dx]`, added to the scaled logits with the query unscaled, as in MViTv2
and SAM (arXiv 2304.02643).
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._offsets import (
    axis_offsets,
    lattices,
    misfits,
    require_fit,
    require_positive,
    require_std,
    require_window,
    start,
)
from visionpe.encodings.attention import AttentionEncoding, pad_logits, placed
from visionpe.places import Places

_RESIZE = "Resize both tables: resize_relative_axis(table, old, new), from {old} to {new}."


def decomposed_bias(
    q: Float[Tensor, "b heads n d"],
    rows: Float[Tensor, "r d"],
    columns: Float[Tensor, "c d"],
    places: Places,
    key_places: Places,
) -> Float[Tensor, "b heads n m"]:
    """`q . rows[dy + h - 1] + q . columns[dx + w - 1]` for each placed query and key.

    Args:
        q: the queries that have a place, not scaled.
        rows, columns: a vector for each offset, `2h - 1` and `2w - 1` of them.
        places, key_places: where queries and keys sit; offsets in whole cells, as of
            `relative_index`.

    Raises:
        ValueError: if the places are further apart than the tables' window.

    >>> q = torch.tensor([[[[1.0], [2.0]]]])
    >>> rows, columns = torch.tensor([[5.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    >>> decomposed_bias(q, rows, columns, Places.of(1, 2), Places.of(1, 2)).tolist()
    [[[[6.0, 5.0], [14.0, 12.0]]]]
    """
    window = ((rows.shape[0] + 1) // 2, (columns.shape[0] + 1) // 2)
    require_fit(window, places, key_places, _RESIZE)
    dy, dx = axis_offsets(places, key_places)
    dy, dx = dy + (window[0] - 1), dx + (window[1] - 1)
    if places.shape is not None and lattices(places, key_places):
        q = q.unflatten(-2, places.shape)  # b heads hq wq d
        row = rows.index_select(0, dy.flatten()).reshape(*dy.shape, -1)  # hq hk d
        column = columns.index_select(0, dx.flatten()).reshape(*dx.shape, -1)  # wq wk d
        # Contiguous now, or their sum, far larger, would have to be copied when it is flattened.
        by_row = torch.einsum("bnywd,ykd->bnywk", q, row).contiguous()
        by_column = torch.einsum("bnyxd,xkd->bnyxk", q, column).contiguous()
        both = by_row[..., :, None] + by_column[..., None, :]  # b heads hq wq hk wk
        return both.flatten(-2).flatten(2, 3)
    shape = (*q.shape[:3], dy.shape[-1])
    # The query's product with every offset, of which each key takes its own.
    return _pick(q @ rows.mT, dy, shape) + _pick(q @ columns.mT, dx, shape)


@final
class DecomposedBias(AttentionEncoding):
    """Adds to the logits the query's product with a vector for the rows and one for the columns.

    For every sample and query there are `h + w` products on lattices, `2h + 2w - 2` elsewhere, and
    the bias itself, `b heads n m` numbers: it depends on the query. Elsewhere `8 n m` bytes an axis
    for indices, and twice the bias. Tables are shared by the heads: `2 (h + w - 1) head_dim`
    parameters, resized by `resize_relative_axis`. Tokens without a place have no bias. Keys pooled
    by 2 have the offsets that MViTv2 gives them if `key_places` count the queries' cells.

    Args:
        head_dim: width of a head.
        window: `(h, w)`: the largest map whose queries and keys find their offsets.
        std: of the truncated normal distribution that the tables start from (MViTv2: 0.02); by
            default they are zero, as SAM's, and the layer changes nothing.

    Raises:
        ValueError: if `head_dim`, `window` or `std` is too small; at the call, if the places are
            further apart than the window.

    >>> layer = DecomposedBias(16, (2, 3))
    >>> layer.rows.shape, layer.columns.shape
    (torch.Size([3, 16]), torch.Size([5, 16]))
    """

    def __init__(self, head_dim: int, window: tuple[int, int], *, std: float = 0.0) -> None:
        super().__init__()
        require_positive("head_dim", head_dim)
        require_window(window)
        require_std(std)
        self.head_dim: int = head_dim
        self.window = (window[0], window[1])
        self.std = std
        self.rows = nn.Parameter(torch.empty(2 * window[0] - 1, head_dim))
        self.columns = nn.Parameter(torch.empty(2 * window[1] - 1, head_dim))
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
    ) -> Float[Tensor, "b heads n m"]:
        """The bias, from the queries as they are and the places."""
        places, key_places = places.to(q.device), key_places.to(q.device)
        rows, columns = self.rows.to(q.dtype), self.columns.to(q.dtype)
        bias = decomposed_bias(placed(q, places), rows, columns, places, key_places)
        return pad_logits(bias.to(q.dtype), places, key_places)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        h, w = self.window
        remedies = {
            "rows": f"resize_relative_axis(rows, old_h, {h})",
            "columns": f"resize_relative_axis(columns, old_w, {w})",
        }
        wrong = misfits(self, state_dict, prefix, remedies)
        rest[-1].extend(wrong)
        if not wrong:
            super()._load_from_state_dict(state_dict, prefix, *rest)

    def __repr__(self) -> str:
        return f"DecomposedBias({self.head_dim}, {self.window}, std={self.std})"


def _pick(products: Tensor, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Of each query's products the one that belongs to each key, `b heads n m`."""
    return products.gather(-1, index[..., None, :, :].expand(shape))  # *b 1 n m -> b heads n m
