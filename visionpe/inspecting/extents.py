"""Rows, columns and tokens without a place, from the shapes of tables and indices."""

from math import isqrt
from typing import Any

from torch import nn

from visionpe.inspecting.hints import EXTENTS, HEADS, WIDTHS

Grid = tuple[int, int]
_PREFIXES = range(17)  # class, distillation and register tokens


def pair(value: Any) -> Grid | None:
    """Rows and columns, of an attribute that may hold anything.

    >>> pair(7), pair([2, 3]), pair("7x7")
    ((7, 7), (2, 3), None)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value) if value > 0 else None
    if isinstance(value, tuple | list) and len(value) == 2:
        h, w = value
        if isinstance(h, int) and isinstance(w, int) and min(h, w) > 0:
            return (h, w)
    return None


def made_for(*modules: nn.Module) -> list[Grid]:
    """The sizes that modules say they were made for."""
    found = (pair(getattr(m, name, None)) for m in modules for name in EXTENTS)
    return list(dict.fromkeys(grid for grid in found if grid))


def number(module: nn.Module, names: tuple[str, ...]) -> int | None:
    """The first of these attributes that the module has."""
    values = (getattr(module, name, None) for name in names)
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool)), None)


def heads_of(*modules: nn.Module) -> int | None:
    """How many heads one of the modules says it has."""
    return next((n for n in (number(m, HEADS) for m in modules) if n), None)


def widths(module: nn.Module) -> set[int]:
    """The widths that a module says it has."""
    values = (getattr(module, name, None) for name in WIDTHS)
    return {v for v in values if isinstance(v, int)}


def of_tokens(n: int, grids: list[Grid], prefix: int | None = None) -> tuple[Grid | None, int]:
    """The grid and the prefix that make `n` tokens.

    Args:
        n: rows of a table.
        grids: that the model was made for, the likeliest first.
        prefix: that the model says it has.

    >>> of_tokens(16, [(3, 5)]), of_tokens(18, []), of_tokens(7, [])
    (((3, 5), 1), ((4, 4), 2), ((2, 2), 3))
    """
    prefixes = [p for p in dict.fromkeys([prefix, *_PREFIXES]) if p is not None]
    for p in prefixes:
        for h, w in grids:
            if h * w == n - p:
                return (h, w), p
    for p in prefixes:
        if n - p > 1 and isqrt(n - p) ** 2 == n - p:
            return (isqrt(n - p), isqrt(n - p)), p
    return None, 0


def of_offsets(length: int, n: int, grids: list[Grid]) -> tuple[Grid | None, int]:
    """The window whose offsets a table of `length` rows counts, for `n` tokens.

    Offsets are signed, `(2h - 1)(2w - 1)`, with three more if a class token has rows of its own
    (BEiT), or absolute, `hw` (LeViT).

    >>> of_offsets(21, 8, [(2, 4)]), of_offsets(12, 5, []), of_offsets(6, 6, [(2, 3)])
    (((2, 4), 0), ((2, 2), 1), ((2, 3), 0))
    """
    for p in (0, 1):
        shapes = [g for g in grids if g[0] * g[1] == n - p]
        shapes += [(h, (n - p) // h) for h in range(isqrt(n - p), 0, -1) if (n - p) % h == 0]
        for h, w in shapes:
            if length == (2 * h - 1) * (2 * w - 1) + 3 * p:
                return (h, w), p
            if p == 0 and length == h * w:
                return (h, w), p
    return None, 0


def of_map(shape: tuple[int, ...], owner: set[int]) -> tuple[Grid | None, int]:
    """Grid and width of a table of four dimensions, channels first or last.

    >>> of_map((1, 96, 7, 7), set()), of_map((1, 3, 5, 8), {8})
    (((7, 7), 96), ((3, 5), 8))
    """
    _, a, b, c = shape
    channels_first = a in owner and c not in owner
    if c not in owner and not channels_first:
        channels_first = b == c or a > max(b, c)
    if channels_first:
        return (b, c), a
    if isqrt(a) ** 2 == a and isqrt(b) ** 2 == b and max(a, b) > 4 * min(a, b):
        return (isqrt(a) * isqrt(b),) * 2, c  # blocks x tokens of each (NesT)
    return (a, b), c
