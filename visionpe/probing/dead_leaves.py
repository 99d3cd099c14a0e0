"""Images of nothing: discs that hide one another, with the statistics of photographs.

The dead-leaves model (Lee, Mumford & Huang 2001): discs of random place, size and colour fall on
one another until they cover everything. Edges, occlusion and the spectrum of natural images, and no
place of the image is like another: what position is read from such images is the network's own.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_SMALLEST, _LARGEST = 0.03, 0.5  # radii, of the image's longer side; density r^-3 between them
_COVERED = 1e-3  # share of pixels that one last leaf covers
_TESTS = 2**19  # of pixels against discs at a time


def dead_leaves(
    n: int, h: int, w: int, *, seed: int = 0, channels: int = 3, periodic: bool = False
) -> Float[Tensor, "n channels h w"]:
    """Images of discs, values in [0, 1]; stationary: no place is like another by more than chance.

    Image `i` depends on `seed` and `i` alone, so more images begin with the same ones.

    Args:
        n: how many.
        h, w: their size in pixels.
        seed: other images for each.
        channels: of the images, coloured independently.
        periodic: leaves that leave the image come back at the other side, so that circular padding
            meets no seam: then such a network cannot know where it is.

    Raises:
        ValueError: if a number is below 1.

    >>> dead_leaves(2, 4, 6).shape
    torch.Size([2, 3, 4, 6])
    """
    for name, value in (("n", n), ("h", h), ("w", w), ("channels", channels)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {value}.")
    images = [
        _leaf_image(h, w, channels, periodic, torch.Generator().manual_seed(seed * 1_000_003 + i))
        for i in range(n)
    ]
    return torch.stack(images)


def _leaf_image(
    h: int, w: int, channels: int, periodic: bool, generator: torch.Generator
) -> Tensor:
    """One image, from the uppermost disc downwards: a pixel keeps the first that covers it."""
    side = max(h, w)
    image = torch.empty(h * w, channels)
    free = torch.cartesian_prod(torch.arange(h) + 0.5, torch.arange(w) + 0.5)  # of pixels, y x
    where = torch.arange(h * w)
    # r^-3 between the smallest and the largest radius, by the inverse of its distribution
    most, least = (_SMALLEST * side) ** -2, (_LARGEST * side) ** -2
    # Centres as far beyond the edge as the largest disc reaches: the edge is no special place.
    reach = 0.0 if periodic else _LARGEST * side
    size = torch.tensor([float(h), float(w)])
    while len(where) > _COVERED * h * w:
        discs = min(512, max(32, _TESTS // len(where)))
        drawn = torch.rand(discs, 3, generator=generator)
        colours = torch.rand(discs, channels, generator=generator)
        centres = drawn[:, :2] * (size + 2 * reach) - reach
        squares = 1 / (least + drawn[:, 2] * (most - least))
        apart = [(free[:, axis, None] - centres[:, axis]).abs_() for axis in range(2)]
        if periodic:
            apart = [torch.minimum(a, length - a) for a, length in zip(apart, size, strict=True)]
        covers = apart[0].square_() + apart[1].square_() <= squares  # pixels discs
        hit = covers.any(1)
        image[where[hit]] = colours[covers[hit].to(torch.uint8).argmax(1)]
        free, where = free[~hit], where[~hit]
    image[where] = torch.rand(channels, generator=generator)
    return image.T.reshape(channels, h, w)
