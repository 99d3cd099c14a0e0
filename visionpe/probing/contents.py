"""Images and targets whose content has no place, or that have no content."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_PATCHES = range(8, 1, -1)  # how many along an axis: the most that divides the image


def permute_patches(images: Float[Tensor, "b c h w"], first: int = 0) -> Float[Tensor, "b c h w"]:
    """Images whose patches are permuted, each image in its own way: content without its place.

    There are as many patches along each axis as divide it, 8 at most; a side that none of 2 to 8
    divides keeps its last rows or columns in place.

    Args:
        images: to be permuted.
        first: number of the first image: image `i` is permuted in the same way in any batch.

    >>> permute_patches(torch.arange(4.0).reshape(1, 1, 2, 2)).unique().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    h, w = images.shape[2:]
    rows, columns = _count(h), _count(w)
    p, q = h // rows, w // columns
    inner = images[:, :, : rows * p, : columns * q]
    b, c = images.shape[:2]
    patches = inner.reshape(b, c, rows, p, columns, q).permute(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(b, rows * columns, c, p, q)
    order = torch.stack([_permutation(rows * columns, first + i) for i in range(b)])
    moved = patches[torch.arange(b)[:, None], order]
    moved = moved.reshape(b, rows, columns, c, p, q).permute(0, 3, 1, 4, 2, 5)
    result = images.clone()
    result[:, :, : rows * p, : columns * q] = moved.reshape(b, c, rows * p, columns * q)
    return result


def constant_images(
    low: Float[Tensor, " c"], high: Float[Tensor, " c"], h: int, w: int, *, noise: int = 8
) -> dict[str, Float[Tensor, "b c h w"]]:
    """Images without content: black, white, and independent uniform noise between the two.

    Args:
        low, high: of each channel: what is black and white after the images' normalisation.
        h, w: size of the images.
        noise: how many of noise; of the others there is one.

    >>> constant_images(torch.zeros(1), torch.ones(1), 1, 2)["white"].tolist()
    [[[[1.0, 1.0]]]]
    """
    low, high = low[None, :, None, None], high[None, :, None, None]
    generator = torch.Generator().manual_seed(0)
    between = torch.rand(noise, low.shape[1], h, w, generator=generator)
    return {
        "black": low.expand(1, -1, h, w).clone(),
        "white": high.expand(1, -1, h, w).clone(),
        "noise": low + (high - low) * between,
    }


def shuffled(truth: Float[Tensor, "*t h w"], seed: int) -> Float[Tensor, "*t h w"]:
    """Targets with their cells permuted, all by the same permutation.

    >>> shuffled(torch.tensor([[0.0, 1.0, 2.0]]), 0).sort().values.tolist()
    [[0.0, 1.0, 2.0]]
    """
    cells = math.prod(truth.shape[-2:])
    return truth.flatten(-2)[..., _permutation(cells, seed)].reshape(truth.shape)


def _permutation(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(0x5EED + seed))


def _count(side: int) -> int:
    return next((n for n in _PATCHES if side % n == 0), min(side, _PATCHES[0]))
