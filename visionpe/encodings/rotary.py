"""Axial rotary encoding of RoPE-ViT, arXiv 2403.13298: one half of a head turns with x, one with y.

Frequencies `theta ** -(k / (d/4))` radians a cell. RoPE-ViT gives the first half of the pairs to x,
as here by default; timm's `RotaryEmbeddingCat` (EVA) gives it to y, `order="yx"`.
"""

from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.precision import widest_dtype
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

Order = Literal["xy", "yx"]


def axial_waves(
    head_dim: int,
    *,
    theta: float = 100.0,
    order: Order = "xy",
    device: torch.device | str | None = None,
) -> Float[Tensor, "2 pairs"]:
    """The wave vectors `(y, x)` of axial rotation, radians a cell: half of them along either axis.

    Args:
        head_dim: width of a head, a multiple of 4.
        theta: the slowest pair turns almost `theta` times as slowly as the fastest.
        order: which axis has the first half of the pairs.

    Raises:
        ValueError: if `head_dim` is not a multiple of 4, `theta` not positive or `order` unknown.

    >>> axial_waves(8).tolist()
    [[0.0, 0.0, 1.0, 0.1], [1.0, 0.1, 0.0, 0.0]]
    """
    require_multiple(head_dim, 4, "Both axes turn as many pairs of channels.")
    require_theta(theta)
    require_order(order)
    bands = frequencies(head_dim // 4, theta, device)
    still = torch.zeros_like(bands)
    first, second = torch.cat([bands, still]), torch.cat([still, bands])
    return torch.stack([second, first] if order == "xy" else [first, second])


@final
class Rotary(AttentionEncoding):
    """Turns queries and keys by their places, so that their products depend on differences alone.

    Positions are counted in cells at the resolution of the tokens ("index" coordinates). With
    `cells`, the whole image counts as so many cells at every resolution: position interpolation
    (arXiv 2306.15595), timm's `ref_feat_shape`. Where position 0 lies makes no difference to
    attention. Like every fixed rotation it changes the outputs of a model that it is added to.

    Args:
        theta: the slowest pair turns almost `theta` times as slowly as the fastest.
        cells: `(rows, columns)` that the whole image counts as.
        order: which axis has the first half of the pairs.
        layout: which channels are pairs: see `visionpe.rotate` and `visionpe.rotate_half`.

    Raises:
        ValueError: if an option is none of these; at the call, if the width of the heads is not a
            multiple of 4.

    >>> q = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    >>> places = Places.at(torch.tensor([[0.0, torch.pi]]), (1, 4))  # y = 0, x = pi
    >>> Rotary().rotate(q, q, places, places)[0].round().tolist()
    [[[[-1.0, -0.0, 1.0, 0.0]]]]
    """

    def __init__(
        self,
        *,
        theta: float = 100.0,
        cells: tuple[int, int] | None = None,
        order: Order = "xy",
        layout: Layout = "interleaved",
    ) -> None:
        super().__init__()
        require_theta(theta)
        require_cells(cells)
        require_order(order)
        require_layout(layout)
        self.theta = theta
        self.cells = cells
        self.order: Order = order
        self.layout: Layout = layout

    @override
    def rotate(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads m d"]]:
        waves = axial_waves(q.shape[-1], theta=self.theta, order=self.order, device=q.device)
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
            f"Rotary(theta={self.theta}, cells={self.cells}, order={self.order!r}, "
            f"layout={self.layout!r})"
        )


def frequencies(
    bands: int, theta: float, device: torch.device | str | None
) -> Float[Tensor, " bands"]:
    """`theta ** -(k / bands)`, in double precision where there is one."""
    steps = torch.arange(bands, device=device)
    return torch.pow(theta, -steps.to(widest_dtype(steps.device)) / bands)


def require_order(order: str) -> None:
    """Refuses an order of the axes that there is not."""
    if order not in ("xy", "yx"):
        raise ValueError(f'`order` must be "xy" or "yx", but is "{order}".')
