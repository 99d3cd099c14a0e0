"""Rotary encoding with simplex wave vectors: nD-RoPE, arXiv 2606.12146, in two dimensions.

A regular simplex in the plane is a triangle: at every scale three pairs of channels turn along
directions 120 degrees apart, so that no direction is favoured up to the fifth order of a distance
(the axial cross favours its axes at the fourth). Implemented: with `s = (d/2) // 3` scales, wave
vectors `theta ** -(j/s) (cos a, sin a)` in `(x, y)`, `a` = 0, 120, 240 degrees, ordered direction
by direction; the 0 to 2 pairs left over are not turned. The directions are the paper's; its base,
the orientation of the triangle and what it does with left-over pairs are not known to us: `theta`
is the axial encoding's.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.rotary import frequencies
from visionpe.encodings.rotary_waves import (
    in_cells,
    require_cells,
    require_layout,
    require_theta,
    rotate_by_waves,
)
from visionpe.encodings.rotate import Layout
from visionpe.places import Places


def simplex_waves(
    head_dim: int, *, theta: float = 100.0, device: torch.device | str | None = None
) -> Float[Tensor, "2 pairs"]:
    """Wave vectors `(y, x)` at 0, 120 and 240 degrees, radians a cell.

    Args:
        head_dim: width of a head, an even number of at least 6.
        theta: the slowest pair turns almost `theta` times as slowly as the fastest.

    Raises:
        ValueError: if `head_dim` is odd or below 6, or `theta` not positive.

    >>> (simplex_waves(8)[1] * 2).round().tolist()  # x; the fourth pair does not turn
    [2.0, -1.0, -1.0, 0.0]
    """
    if head_dim < 6 or head_dim % 2:
        raise ValueError(
            "`head_dim` (the width of a head) must be an even number of at least 6, "
            f"but is {head_dim}. A scale has three pairs of channels."
        )
    require_theta(theta)
    pairs = head_dim // 2
    scales, left_over = pairs // 3, pairs % 3
    bands = frequencies(scales, theta, device)
    angle = torch.arange(3, device=device).to(bands.dtype) * (2 * torch.pi / 3)
    directions = torch.stack([angle.sin(), angle.cos()])
    waves = (directions[..., None] * bands).flatten(1)  # 2 directions scales -> 2 pairs
    return torch.nn.functional.pad(waves, (0, left_over))


@final
class RotarySimplex(AttentionEncoding):
    """Turns queries and keys along three directions 120 degrees apart.

    Args:
        theta, cells, layout: as of `visionpe.Rotary`.

    Raises:
        ValueError: if an option is none of these; at the call, if the width of the heads is odd or
            below 6.

    >>> q = torch.tensor([[[[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]]]])
    >>> places = Places.at(torch.tensor([[0.0, 2 * torch.pi]]), (1, 8))  # full, half, half turn
    >>> RotarySimplex().rotate(q, q, places, places)[0].round().abs().tolist()
    [[[[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]]]]
    """

    def __init__(
        self,
        *,
        theta: float = 100.0,
        cells: tuple[int, int] | None = None,
        layout: Layout = "interleaved",
    ) -> None:
        super().__init__()
        require_theta(theta)
        require_cells(cells)
        require_layout(layout)
        self.theta = theta
        self.cells = cells
        self.layout: Layout = layout

    @override
    def rotate(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads m d"]]:
        return rotate_by_waves(
            q,
            k,
            simplex_waves(q.shape[-1], theta=self.theta, device=q.device)[:, None],
            places,
            key_places,
            lambda at: in_cells(at, self.cells),
            self.layout,
        )

    def __repr__(self) -> str:
        return f"RotarySimplex(theta={self.theta}, cells={self.cells}, layout={self.layout!r})"
