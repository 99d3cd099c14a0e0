"""A softmax over the cells of a canvas, estimated from a few of them.

The partition sum is estimated without bias: each sampled logit is lowered by the logarithm of how
often its cell is drawn (importance sampling; arXiv 1412.2007). Half of the draws fall near the
target, where a nearly trained net puts its mass.
"""

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor


@final
class CellSampler:
    """Draws the cells of a step: the target and its eight neighbours, some near, some anywhere.

    Args:
        near: cells drawn from a rounded normal law around the target.
        sigma: its standard deviation in cells.
        anywhere: cells drawn uniformly from the canvas.

    Raises:
        ValueError: if a number is negative, none is drawn anywhere, or `sigma` is not positive.

    >>> cells, log_rate = CellSampler(near=2, anywhere=3)(torch.tensor([[5.0, 7.0]]), 64, 64)
    >>> cells.shape, int(cells[0, 0])  # the target comes first: 5 * 64 + 7
    (torch.Size([1, 14]), 327)
    """

    def __init__(self, *, near: int = 16, sigma: float = 6.0, anywhere: int = 32) -> None:
        if near < 0:
            raise ValueError(f"`near` must be at least 0 cells, but is {near}.")
        if anywhere < 1:
            raise ValueError(
                f"`anywhere` must be at least 1 cell, but is {anywhere}; "
                "otherwise far cells never count."
            )
        if not sigma > 0:
            raise ValueError(f"`sigma` must be positive, but is {sigma}.")
        self.near = near
        self.sigma = sigma
        self.anywhere = anywhere

    def __call__(
        self, points: Float[Tensor, "b 2"], h: int, w: int
    ) -> tuple[Int[Tensor, "b k"], Float[Tensor, "b k"]]:
        """Cells and the logarithms of their rates.

        Args:
            points: the targets `(y, x)`, whole cells of the canvas.
            h, w: size of the canvas in cells.

        Returns:
            Numbers of the cells in reading order, the target's first; and how often each is drawn,
            as a logarithm to subtract from its logit: 0 for the nine cells that always are, and
            infinite for draws that do not count, off the canvas or one of the nine.
        """
        b, device = points.shape[0], points.device
        block = torch.tensor([0, -1, 1], device=device)
        always = torch.cartesian_prod(block, block).expand(b, -1, -1)  # the target is the first
        local = (torch.randn(b, self.near, 2, device=device) * self.sigma).round().long()
        target = points.long()[:, None]
        size = torch.tensor([h, w], device=device)
        far = (torch.rand(b, self.anywhere, 2, device=device) * size).long() - target
        offset = torch.cat([always, local, far], 1)  # b k 2
        drawn = offset[:, 9:]
        # The rate of an offset: the normal mass of its cell for the near draws, plus the uniform.
        reach = self.sigma * math.sqrt(2)
        mass = (((drawn + 0.5) / reach).erf() - ((drawn - 0.5) / reach).erf()).prod(-1) / 4
        log_rate = (self.near * mass + self.anywhere / (h * w)).log()
        log_rate = torch.cat([log_rate.new_zeros(b, 9), log_rate], 1)
        place = target + offset
        counted = ((place >= 0) & (place < size)).all(-1)
        counted[:, 9:] &= drawn.abs().amax(-1) > 1
        place = torch.minimum(place.clamp(min=0), size - 1)
        return place[..., 0] * w + place[..., 1], log_rate.masked_fill(~counted, math.inf)

    def __repr__(self) -> str:
        return f"CellSampler(near={self.near}, sigma={self.sigma}, anywhere={self.anywhere})"
