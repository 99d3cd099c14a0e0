"""Mixed rotary encoding of RoPE-ViT, arXiv 2403.13298: learned wave vectors, one set for each head.

Tokens without a place (the class token) are not turned. The rotation is not the identity at the
start, as it is not in the paper: adding it to a trained model changes the model's outputs.
"""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.precision import kept_precise
from visionpe.encodings.rotary import frequencies
from visionpe.encodings.rotary_waves import (
    in_cells,
    require_cells,
    require_layout,
    require_multiple,
    require_theta,
    rotate_by_waves,
)
from visionpe.encodings.rotate import Layout
from visionpe.places import Places


def mixed_waves(
    heads: int,
    head_dim: int,
    *,
    theta: float = 10.0,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "2 heads pairs"]:
    """Wave vectors as RoPE-Mixed starts with: the axial ones, turned at random for each head.

    Args:
        heads: number of heads, at least 1.
        head_dim: width of a head, a multiple of 4.
        theta: the slowest pair turns almost `theta` times as slowly as the fastest.
        generator: draws one angle a head.

    Returns:
        `(y, x)` in radians a cell, in float32.

    Raises:
        ValueError: if `head_dim` is not a multiple of 4, or `heads` or `theta` not positive.

    >>> mixed_waves(3, 8).norm(dim=0)[0]  # lengths as of the axial ones
    tensor([1.0000, 0.3162, 1.0000, 0.3162])
    """
    _require_heads(heads, head_dim, theta)
    angle = torch.rand(heads, 1, generator=generator, device=device, dtype=torch.float32)
    angle = angle * (2 * torch.pi)
    bands = frequencies(head_dim // 4, theta, device).to(torch.float32)
    y, x = bands * angle.sin(), bands * angle.cos()  # heads bands
    return torch.stack([torch.cat([y, x], -1), torch.cat([x, -y], -1)])  # then a quarter turn on


@final
class RotaryMixed(AttentionEncoding):
    """Turns queries and keys by learned wave vectors, which see diagonals as axial ones cannot.

    The wave vectors stay in float32 or better when the model is cast to half precision. Each start
    is a draw: of copies, which `attach` and `ViT` make of a module for many layers, all begin with
    the same. The paper draws for each layer; give a function that makes one.

    Args:
        heads: number of heads.
        head_dim: width of a head, a multiple of 4.
        theta, cells, layout: as of `visionpe.Rotary`; `theta` is 10 in the paper.

    Attributes:
        waves: `2 heads pairs`; `(y, x)` in radians a cell.

    Raises:
        ValueError: if `head_dim` is not a multiple of 4 or another option is none of these.

    >>> mixed = RotaryMixed(2, 8).bfloat16()
    >>> mixed.waves.shape, mixed.waves.dtype
    (torch.Size([2, 2, 4]), torch.float32)
    """

    heads: int
    head_dim: int

    def __init__(
        self,
        heads: int,
        head_dim: int,
        *,
        theta: float = 10.0,
        cells: tuple[int, int] | None = None,
        layout: Layout = "interleaved",
    ) -> None:
        super().__init__()
        _require_heads(heads, head_dim, theta)
        require_cells(cells)
        require_layout(layout)
        self.heads = heads
        self.head_dim = head_dim
        self.theta = theta
        self.cells = cells
        self.layout: Layout = layout
        self.waves = nn.Parameter(torch.empty(2, heads, head_dim // 2, dtype=torch.float32))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws the paper's start: axial wave vectors turned by one random angle a head."""
        with torch.no_grad():
            self.waves.copy_(
                mixed_waves(
                    self.heads,
                    self.head_dim,
                    theta=self.theta,
                    generator=generator,
                    device=self.waves.device,
                )
            )

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
            self.waves,
            places,
            key_places,
            lambda at: in_cells(at, self.cells),
            self.layout,
        )

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RotaryMixed":
        super()._apply(kept_precise(fn, self.waves), recurse)  # type: ignore[no-untyped-call]
        return self

    def __repr__(self) -> str:
        return (
            f"RotaryMixed({self.heads}, {self.head_dim}, theta={self.theta}, "
            f"cells={self.cells}, layout={self.layout!r})"
        )


def _require_heads(heads: int, head_dim: int, theta: float) -> None:
    if heads < 1:
        raise ValueError(f"`heads` must be at least 1, but is {heads}.")
    require_multiple(head_dim, 4, "Wave vectors come in pairs at right angles.")
    require_theta(theta)
