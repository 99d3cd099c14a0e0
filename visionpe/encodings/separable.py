"""A learned bias for each offset of rows plus one for each offset of columns.

The table of Swin (arXiv 2103.14030), restricted to sums of a function of `dy` and one of `dx`:
the axis-decomposed position of MViTv2 (arXiv 2112.01526) without its dependence on the query.
"""

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._offsets import (
    axis_offsets,
    heads_second,
    lattices,
    look_up,
    misfits,
    require_fit,
    require_positive,
    require_std,
    require_window,
    start,
)
from visionpe.encodings._stored import stored
from visionpe.encodings.attention import AttentionEncoding, pad_logits
from visionpe.places import Places

_RESIZE = "Resize both tables: resize_relative_axis(table.mT, old, new).mT, from {old} to {new}."


def axis_bias(
    rows: Float[Tensor, "heads r"],
    columns: Float[Tensor, "heads c"],
    row_index: Int[Tensor, "*b p q"],
    column_index: Int[Tensor, "*b s t"],
    *,
    lattices: bool,
) -> Float[Tensor, "#b heads n m"]:
    """`rows[row_index] + columns[column_index]`, for each query and key.

    Args:
        rows, columns: a number for each head and index.
        row_index, column_index: of pairs of rows (`hq hk`) and of columns (`wq wk`) if queries and
            keys are both lattices, else of pairs of tokens (`*b n m`).
        lattices: whether they are.

    >>> index = torch.tensor([[0, 1], [1, 0]])
    >>> table = torch.tensor([[1.0, 2.0]])
    >>> axis_bias(table, 10 * table, index, index[:1, :1], lattices=True).tolist()
    [[[[11.0, 12.0], [12.0, 11.0]]]]
    """
    by_row, by_column = look_up(rows, row_index), look_up(columns, column_index)
    if not lattices:
        return heads_second(by_row + by_column)
    by_row, by_column = stored(by_row), stored(by_column)
    both = by_row[:, :, None, :, None] + by_column[:, None, :, None, :]  # heads hq wq hk wk
    return stored(both.flatten(3, 4).flatten(1, 2))[None]


@final
class AxisBias(AttentionEncoding):
    """Adds to the logits a learned number for the rows and one for the columns between two tokens.

    `2 heads (h + w - 1)` parameters instead of the `heads (2h-1) (2w-1)` of `RelativeBias`, and no
    index of all pairs on lattices: `heads (h^2 + w^2)` numbers besides the bias itself
    (`heads n m`). Places elsewhere: `16 n m` bytes for indices and three times the bias. Offsets in
    whole cells, as of `relative_index`; tokens without a place have no bias. A constant can move
    from one table to the other without any effect.

    Args:
        heads: number of heads.
        window: `(h, w)`: the largest map whose queries and keys find their offsets.
        std: of the truncated normal distribution that the tables start from; by default they are
            zero and the layer changes nothing.

    Raises:
        ValueError: if `heads`, `window` or `std` is too small; at the call, if the places are
            further apart than the window.

    >>> layer = AxisBias(2, (2, 3))
    >>> layer.rows.shape, layer.columns.shape
    (torch.Size([2, 3]), torch.Size([2, 5]))
    """

    def __init__(self, heads: int, window: tuple[int, int], *, std: float = 0.0) -> None:
        super().__init__()
        require_positive("heads", heads)
        require_window(window)
        require_std(std)
        self.heads: int = heads
        self.window = (window[0], window[1])
        self.std = std
        self.rows = nn.Parameter(torch.empty(heads, 2 * window[0] - 1))
        self.columns = nn.Parameter(torch.empty(heads, 2 * window[1] - 1))
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
        require_fit(self.window, places, key_places, _RESIZE)
        dy, dx = axis_offsets(places, key_places)
        bias = axis_bias(
            self.rows.to(q.dtype),
            self.columns.to(q.dtype),
            dy + (self.window[0] - 1),
            dx + (self.window[1] - 1),
            lattices=lattices(places, key_places),
        )
        return pad_logits(bias, places, key_places)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        h, w = self.window
        remedies = {
            "rows": f"resize_relative_axis(rows.mT, old_h, {h}).mT",
            "columns": f"resize_relative_axis(columns.mT, old_w, {w}).mT",
        }
        wrong = misfits(self, state_dict, prefix, remedies)
        rest[-1].extend(wrong)
        if not wrong:
            super()._load_from_state_dict(state_dict, prefix, *rest)

    def __repr__(self) -> str:
        return f"AxisBias({self.heads}, {self.window}, std={self.std})"
