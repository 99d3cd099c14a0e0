"""A learned bias for each offset of a query from a key: Swin, arXiv 2103.14030.

Three more numbers a head for tokens without a place are BEiT's, arXiv 2106.08254.
"""

from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._offsets import (
    heads_second,
    look_up,
    misfits,
    require_fit,
    require_positive,
    require_std,
    require_window,
    start,
    whole_steps,
)
from visionpe.encodings.attention import AttentionEncoding
from visionpe.places import Places

_RESIZE = "Resize the table: resize_relative_bias(table, {old}, {new})."


def relative_index(
    places: Places, key_places: Places, window: tuple[int, int]
) -> Int[Tensor, "*b n m"]:
    """Where each placed query and key find their bias: `(dy + h - 1) * (2w - 1) + dx + w - 1`.

    The offset `(dy, dx)` is the query's place minus the key's, in whole cells, counted from the
    first query's place; halves round up.

    Args:
        places, key_places: where queries and keys sit.
        window: `(h, w)`: the table holds offsets of less than `h` rows and `w` columns.

    Raises:
        ValueError: if the places are further apart than that.

    >>> relative_index(Places.of(1, 2), Places.of(1, 2), (1, 2)).tolist()
    [[1, 0], [2, 1]]
    """
    require_window(window)
    require_fit(window, places, key_places, _RESIZE)
    h, w = window
    stride = 2 * w - 1
    # An offset's index is a difference of two numbers: one of the query's, one of the key's.
    q, k = (steps[..., 0] * stride + steps[..., 1] for steps in whole_steps(places, key_places))
    return (q + ((h - 1) * stride + w - 1))[..., :, None] - k[..., None, :]


def relative_bias(
    table: Float[Tensor, "heads t"], places: Places, key_places: Places, window: tuple[int, int]
) -> Float[Tensor, "#b heads n m"]:
    """The bias of every query and key, read from a table of offsets.

    Takes `8 n m` bytes for the index and `heads n m` numbers for the bias, once for all samples
    that share their places.

    Args:
        table: one row a head of `(2h - 1) * (2w - 1)` numbers, row by row of offsets; behind them
            none, or three: from a token without a place to one with, from one with to one without,
            and between two without. With none, those have no bias.
        places, key_places: where queries and keys sit.
        window: `(h, w)` of the table.

    Raises:
        ValueError: if the table does not belong to the window, or an offset lies outside it.

    >>> relative_bias(torch.tensor([[1.0, 2.0, 3.0]]), Places.of(1, 2), Places.of(1, 2), (1, 2))
    tensor([[[[2., 1.],
              [3., 2.]]]])
    """
    index = relative_index(places, key_places, window)
    offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
    if table.shape[1] not in (offsets, offsets + 3):
        raise ValueError(
            f"`table` must hold {offsets} numbers a head for window {tuple(window)}, or "
            f"{offsets + 3} with those of tokens without a place, but holds {table.shape[1]}."
        )
    if places.prefix or places.suffix or key_places.prefix or key_places.suffix:
        if table.shape[1] == offsets:
            table = F.pad(table, (0, 1))
            out, into, between = offsets, offsets, offsets
        else:
            out, into, between = offsets, offsets + 1, offsets + 2
        sides = (key_places.prefix, key_places.suffix)
        row = F.pad(index.new_full((index.shape[-1],), out), sides, value=between)
        batch, width = index.shape[:-2], row.shape[0]
        index = torch.cat(
            [
                row.expand(*batch, places.prefix, width),
                F.pad(index, sides, value=into),
                row.expand(*batch, places.suffix, width),
            ],
            -2,
        )
    return heads_second(look_up(table, index))


@final
class RelativeBias(AttentionEncoding):
    """Adds to the logits a learned number for each head and offset of query and key.

    Swin's relative position bias, for any window and different numbers of queries and keys, in
    whole cells: crops, flips and tiles of a map have the biases of the map. `heads (2h-1) (2w-1)`
    parameters; memory as of `relative_bias`. A table for another window is made by
    `resize_relative_bias`. Libraries that store it heads last: `table.mT`.

    Args:
        heads: number of heads.
        window: `(h, w)`: the largest map whose queries and keys find their offsets.
        prefix_bias: learn three more numbers a head, as BEiT does: for pairs of which the query,
            the key or both have no place. Without them such pairs have no bias.
        std: of the truncated normal distribution that the table starts from; by default it is zero
            and the layer changes nothing. The paper's is 0.02.

    Raises:
        ValueError: if `heads`, `window` or `std` is too small; at the call, if the places are
            further apart than the window.

    >>> RelativeBias(2, (2, 3)).table.shape
    torch.Size([2, 15])
    """

    def __init__(
        self, heads: int, window: tuple[int, int], *, prefix_bias: bool = False, std: float = 0.0
    ) -> None:
        super().__init__()
        require_positive("heads", heads)
        require_window(window)
        require_std(std)
        self.heads: int = heads
        self.window = (window[0], window[1])
        self.prefix_bias = prefix_bias
        self.std = std
        offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.table = nn.Parameter(torch.empty(heads, offsets + 3 * prefix_bias))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The table as it starts."""
        start(self.table, self.std)

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
        return relative_bias(self.table.to(q.dtype), places, key_places, self.window)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        remedy = f"resize_relative_bias(table, old_window, {self.window})"
        wrong = misfits(self, state_dict, prefix, {"table": remedy})
        rest[-1].extend(wrong)
        if not wrong:
            super()._load_from_state_dict(state_dict, prefix, *rest)

    def __repr__(self) -> str:
        return (
            f"RelativeBias({self.heads}, {self.window}, "
            f"prefix_bias={self.prefix_bias}, std={self.std})"
        )
