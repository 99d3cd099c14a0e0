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
    own_lattice,
    require_fit,
    require_positive,
    require_std,
    require_window,
    start,
    whole_steps,
)
from visionpe.encodings._stored import stored
from visionpe.encodings.attention import AttentionEncoding, pad_logits
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
    q, k = (
        stored(steps[..., 0] * stride + steps[..., 1]) for steps in whole_steps(places, key_places)
    )
    return (q + ((h - 1) * stride + w - 1))[..., :, None] - k[..., None, :]


def relative_bias(
    table: Float[Tensor, "heads t"], places: Places, key_places: Places, window: tuple[int, int]
) -> Float[Tensor, "#b heads n m"]:
    """The bias of every query and key, read from a table of offsets.

    Takes `heads n m` numbers for the bias, once for all samples that share their places, and, but
    for the pairs of one lattice outside of a graph, `8 n m` bytes for their index.

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
    require_window(window)
    require_fit(window, places, key_places, _RESIZE)
    offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
    if table.shape[1] not in (offsets, offsets + 3):
        raise ValueError(
            f"`table` must hold {offsets} numbers a head for window {tuple(window)}, or "
            f"{offsets + 3} with those of tokens without a place, but holds {table.shape[1]}."
        )
    lattice = own_lattice(places, key_places)
    if lattice is not None:
        (h, w), (rows, columns) = window, lattice
        near = table[:, :offsets].unflatten(1, (2 * h - 1, 2 * w - 1))
        near = near[:, h - rows : h + rows - 1, w - columns : w + columns - 1]
        bias = lattice_bias(near.flatten(1), rows, columns)
        return _beside(bias, table[:, offsets:], places, key_places)[None]
    index = relative_index(places, key_places, window)
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


def lattice_bias(table: Float[Tensor, "heads t"], h: int, w: int) -> Float[Tensor, "heads n n"]:
    """The bias of every pair of cells of an `h x w` lattice, from one number for each offset.

    Copies alone, without an index of all pairs: what the keys get from a row of queries is a piece
    of a small table. Looking the pairs up takes two to four times as long.

    >>> lattice_bias(torch.tensor([[1.0, 2.0, 3.0]]), 1, 2).tolist()
    [[[2.0, 1.0], [3.0, 2.0]]]
    """
    if torch.compiler.is_compiling():  # the sizes may be open
        lattice = Places.of(h, w, device=table.device)
        return look_up(table, relative_index(lattice, lattice, (h, w)))
    # Offsets, query minus key, fall as keys go on: so the table is turned.
    offsets = table.unflatten(1, (2 * h - 1, 2 * w - 1)).flip(1, 2)
    rows = torch.stack([offsets.narrow(2, w - 1 - x, w) for x in range(w)], 1)  # heads w 2h-1 w
    bias = torch.stack([rows.narrow(2, h - 1 - y, h) for y in range(h)], 1)  # heads h w h w
    return bias.view(-1, h * w, h * w)


def _beside(
    bias: Float[Tensor, "heads n m"],
    numbers: Float[Tensor, "heads k"],
    places: Places,
    key_places: Places,
) -> Float[Tensor, "heads t s"]:
    """The bias of placed tokens, and that of the others round it: BEiT's three numbers, or zero."""
    ends = (places.prefix, places.suffix, key_places.prefix, key_places.suffix)
    if not numbers.shape[1] or not any(ends):
        return pad_logits(bias, places, key_places)
    out, into, between = (number[:, None, None] for number in numbers.unbind(1))

    def sides(middle: Tensor, end: Tensor) -> Tensor:
        left, right = (end.expand(-1, middle.shape[1], count) for count in ends[2:])
        return torch.cat([left, middle, right], -1)

    row = sides(out.expand(-1, 1, bias.shape[-1]), between)
    above, below = (row.expand(-1, count, -1) for count in ends[:2])
    return torch.cat([above, sides(bias, into), below], 1)


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
