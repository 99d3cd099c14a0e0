"""Rotary encoding along many directions: Spiral RoPE, arXiv 2602.03227.

The frequencies are the axial encoding's, `theta ** -(k / (d/4))`, each turning two pairs of
channels along two directions at right angles; from one frequency to the next the two go on, round
robin, over `directions` equally spaced ones (`pi / directions` apart), where the axial encoding
stays with x and y: with two directions it is `visionpe.Rotary`. Implemented: frequency `k` turns
pair `k` along `a = (k mod directions/2) pi / directions` and pair `k + d/4` along `a + pi/2`. The
number and the spacing of directions are the paper's; that frequencies are dealt one at a time is
our reading of "round robin" (a third party's port deals two neighbours at a time), and the order
of the pairs is ours.
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


def spiral_waves(
    head_dim: int,
    *,
    directions: int = 16,
    theta: float = 100.0,
    device: torch.device | str | None = None,
) -> Float[Tensor, "2 pairs"]:
    """Wave vectors `(y, x)` along `directions` equally spaced directions, radians a cell.

    Args:
        head_dim: width of a head, a multiple of `2 * directions`.
        directions: an even number; 2 are the axes.
        theta: the slowest pair turns almost `theta` times as slowly as the fastest.

    Raises:
        ValueError: if the directions do not share the pairs evenly, or `theta` is not positive.

    >>> (spiral_waves(8, directions=4, theta=1)[1]).mul(10).round().tolist()  # x: 0, 45, 90, 135
    [10.0, 7.0, 0.0, -7.0]
    """
    _require_directions(directions)
    require_theta(theta)
    if head_dim < 1 or head_dim % (2 * directions):
        raise ValueError(
            "`head_dim` (the width of a head) must be a multiple of 2 * `directions`, "
            f"{2 * directions}, but is {head_dim}. Every direction turns as many pairs of channels."
        )
    bands = frequencies(head_dim // 4, theta, device)
    turn = torch.arange(head_dim // 4, device=device) % (directions // 2)
    angle = turn.to(bands.dtype) * (torch.pi / directions)
    y, x = bands * angle.sin(), bands * angle.cos()
    zero = torch.zeros_like(y)
    return torch.stack([torch.cat([y, x]), torch.cat([x, zero - y])])  # then a quarter turn on


@final
class RotarySpiral(AttentionEncoding):
    """Turns queries and keys along many directions, diagonals among them, without parameters.

    Args:
        directions: an even number; the width of the heads is a multiple of twice as many.
        theta, cells, layout: as of `visionpe.Rotary`.

    Raises:
        ValueError: if an option is none of these; at the call, if the directions do not share the
            pairs of a head evenly.

    >>> q = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    >>> places = Places.at(torch.tensor([[0.0, torch.pi]]), (1, 4))  # two directions: axial
    >>> RotarySpiral(directions=2).rotate(q, q, places, places)[0].round().tolist()
    [[[[-1.0, -0.0, 1.0, 0.0]]]]
    """

    def __init__(
        self,
        *,
        directions: int = 16,
        theta: float = 100.0,
        cells: tuple[int, int] | None = None,
        layout: Layout = "interleaved",
    ) -> None:
        super().__init__()
        _require_directions(directions)
        require_theta(theta)
        require_cells(cells)
        require_layout(layout)
        self.directions = directions
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
        waves = spiral_waves(
            q.shape[-1], directions=self.directions, theta=self.theta, device=q.device
        )
        return rotate_by_waves(
            q,
            k,
            waves[:, None],
            places,
            key_places,
            lambda at: in_cells(at, self.cells),
            self.layout,
        )

    def __repr__(self) -> str:
        return (
            f"RotarySpiral(directions={self.directions}, theta={self.theta}, cells={self.cells}, "
            f"layout={self.layout!r})"
        )


def _require_directions(directions: int) -> None:
    if directions < 2 or directions % 2:
        raise ValueError(
            f"`directions` must be an even number of at least 2, but is {directions}. "
            "Directions come in pairs at right angles."
        )
