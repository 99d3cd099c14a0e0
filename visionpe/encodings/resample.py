"""Learned position tables resampled to another grid, as others do it, each recipe by its name.

Tables of pretrained ViTs (arXiv 2010.11929) are resized by libraries in ways that differ by 20 % of
the table, so each recipe is a function of its own. Grids are compared by shape, never by their
number of cells, and the grid of a table of tokens is given, never guessed.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings.precision import wide_dtype


def resample_table(table: Float[Tensor, "*b d rows columns"], h: int, w: int) -> Tensor:
    """A table resampled to `h x w` by bicubic interpolation with antialiasing: timm's recipe.

    timm's `resample_abs_pos_embed` as its models call it. Between grids of one shape, the identity
    to the last bit.

    Args:
        table: a learned table, rows and columns last.
        h, w: rows and columns wanted.

    Returns:
        The table, `*b d h w`, in its own dtype; computed in float32 or better.

    Raises:
        ValueError: if `h` or `w` is below 1.

    >>> resample_table(torch.ones(1, 2, 8), 4, 4).shape  # as many cells, another shape
    torch.Size([1, 4, 4])
    """
    return _resample(table, h, w, antialias=True, align_corners=False)


def resample_table_dinov2(table: Float[Tensor, "*b d rows columns"], h: int, w: int) -> Tensor:
    """The recipe of DINOv2 and Hugging Face transformers: bicubic without antialiasing.

    What `Learned2d` does at a map of another size. Arguments as of `resample_table`.

    >>> resample_table_dinov2(torch.tensor([[[0.0], [2.0]]]), 2, 1).flatten().tolist()
    [0.0, 2.0]
    """
    return _resample(table, h, w, antialias=False, align_corners=False)


def resample_table_torchvision(table: Float[Tensor, "*b d rows columns"], h: int, w: int) -> Tensor:
    """torchvision's recipe (`interpolate_embeddings`): bicubic, first and last cell kept in place.

    Cells keep no place in the image: those of the new grid lie on the *centres* of the old one's
    corner cells (`align_corners=True`). Arguments as of `resample_table`.

    >>> resample_table_torchvision(torch.tensor([[[0.0], [2.0]]]), 3, 1).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    return _resample(table, h, w, antialias=False, align_corners=True)


def resample_axis_table(table: Float[Tensor, "*b d entries"], n: int) -> Tensor:
    """A table of one axis resampled linearly to `n` entries, edges on edges; `*b d n`.

    Raises:
        ValueError: if `n` is below 1.

    >>> resample_axis_table(torch.tensor([[0.0, 4.0]]), 4).tolist()
    [[0.0, 1.0, 3.0, 4.0]]
    """
    _require_cells("n", n)
    flat = table.reshape(1, math.prod(table.shape[:-1]), table.shape[-1])
    precise = wide_dtype(table)
    new = F.interpolate(flat.to(precise), size=n, mode="linear", align_corners=False)
    return new.reshape(*table.shape[:-1], n).to(table.dtype)


def split_tokens(
    tokens: Float[Tensor, "*b n d"], h: int, w: int, *, prefix: int
) -> tuple[Float[Tensor, "*b prefix d"], Float[Tensor, "*b d h w"]]:
    """A table of tokens, as checkpoints hold it, parted into its prefix and a table on a grid.

    Args:
        tokens: `prefix` tokens without a place (class, registers), then a grid's, row by row.
        h, w: rows and columns of the grid.
        prefix: number of tokens without a place.

    Raises:
        ValueError: if there are not `prefix + h * w` tokens, or `prefix` is negative.

    >>> first, table = split_tokens(torch.arange(7.0)[:, None], 2, 3, prefix=1)
    >>> first.tolist(), table.tolist()
    ([[0.0]], [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    """
    _require_cells("h", h)
    _require_cells("w", w)
    if prefix < 0:
        raise ValueError(f"`prefix` must be at least 0 tokens, but is {prefix}.")
    if tokens.shape[-2] != prefix + h * w:
        raise ValueError(
            f"`tokens` must hold prefix + h * w = {prefix} + {h} * {w} = {prefix + h * w} tokens, "
            f"but hold {tokens.shape[-2]}. Give the table's own grid and prefix."
        )
    return tokens[..., :prefix, :], tokens[..., prefix:, :].mT.unflatten(-1, (h, w))


def join_tokens(
    prefix: Float[Tensor, "*b prefix d"], table: Float[Tensor, "*b d h w"]
) -> Float[Tensor, "*b n d"]:
    """The table of tokens that `split_tokens` parts: the prefix, then the grid row by row.

    >>> join_tokens(torch.zeros(1, 1), torch.ones(1, 1, 2)).flatten().tolist()
    [0.0, 1.0, 1.0]
    """
    return torch.cat([prefix, table.flatten(-2).mT], -2)


def _resample(table: Tensor, h: int, w: int, *, antialias: bool, align_corners: bool) -> Tensor:
    _require_cells("h", h)
    _require_cells("w", w)
    if table.dim() < 3:
        raise ValueError(
            f"`table` must be `*b d rows columns`, but has shape {tuple(table.shape)}. "
            "A table of tokens is put on its grid by `split_tokens`."
        )
    # Sizes, not a scale factor: a rounded factor misses some of them by one.
    flat = table.reshape(1, math.prod(table.shape[:-2]), *table.shape[-2:])
    new = F.interpolate(
        flat.to(wide_dtype(table)),
        size=(h, w),
        mode="bicubic",
        antialias=antialias,
        align_corners=align_corners,
    )
    return new.reshape(*table.shape[:-2], h, w).to(table.dtype)


def _require_cells(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1 cell, but is {value}.")
