"""Codes of a lattice whose first channels are a row's and whose last are a column's."""

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings._unwatched import unwatched
from visionpe.encodings.base import pad_tokens
from visionpe.places import Places

BLOCK = 2**20  # bytes of a code that are made at a time: they stay in a core's cache


def crossed(
    rows: Float[Tensor, "*b h dy"], columns: Float[Tensor, "*b w dx"]
) -> Float[Tensor, "*b n d"]:
    """The code of all cells, row by row, `dy + dx` channels each.

    >>> crossed(torch.tensor([[1.0], [2.0]]), torch.tensor([[5.0], [6.0]])).tolist()
    [[1.0, 5.0], [1.0, 6.0], [2.0, 5.0], [2.0, 6.0]]
    """
    size = *rows.shape[:-1], columns.shape[-2], -1  # *b h w of any d
    both = rows[..., :, None, :].expand(size), columns[..., None, :, :].expand(size)
    return torch.cat(both, -1).flatten(-3, -2)


def add_crossed(
    x: Float[Tensor, "b n d"],
    rows: Float[Tensor, "*b h dy"],
    columns: Float[Tensor, "*b w dx"],
    places: Places,
) -> Float[Tensor, "b n d"]:
    """`x + crossed(rows, columns)`; tokens without a place keep their value.

    Where nothing watches, without a large code in memory: writing it and reading it again can cost
    as much as the sum.

    >>> x, line = torch.zeros(1, 2, 2), torch.ones(1, 1)
    >>> add_crossed(x, line, 2 * torch.ones(2, 1), Places.of(1, 2)).tolist()
    [[[1.0, 2.0], [1.0, 2.0]]]
    """
    h, w = rows.shape[-2], columns.shape[-2]
    if x.device.type == "cpu" and rows.dim() == 2 and unwatched(x, rows, columns):
        block = max(1, BLOCK // (w * x.shape[-1] * x.element_size()))  # rows
        if h > 2 * block:
            return _add_in_blocks(x, rows, columns, places, block)
    return x + pad_tokens(crossed(rows, columns), places)


def _add_in_blocks(x: Tensor, rows: Tensor, columns: Tensor, places: Places, block: int) -> Tensor:
    (h, dy), w = rows.shape, columns.shape[0]
    out = torch.empty_like(x)
    first, last = places.prefix, places.prefix + h * w
    out[:, :first], out[:, last:] = x[:, :first], x[:, last:]
    lattice, there = (t[:, first:last].unflatten(1, (h, w)) for t in (x, out))
    code = torch.empty(block, w, x.shape[-1], dtype=x.dtype)
    code[..., dy:] = columns
    for top in range(0, h, block):
        some = rows[top : top + block]
        part = code[: len(some)]
        part[..., :dy] = some[:, None]
        torch.add(lattice[:, top : top + block], part, out=there[:, top : top + block])
    return out
