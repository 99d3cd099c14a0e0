"""How many cells a map has in a call, and how it is said that it cannot be told."""

import itertools
import math
from functools import partial

import torch

from visionpe.attaching.calling import Call
from visionpe.attaching.errors import AttachError
from visionpe.tracing.lattices import Lattice
from visionpe.tracing.sites import Scattered

Size = tuple[int, int]


def cells_at(module: str, lattice: Lattice, n: int, size: Size, call: Call) -> tuple[int, int]:
    """Rows and columns of a map of `n` cells, at the size of a call.

    Without a cache: from the lattice's spacing in pixels, or its own numbers where the model makes
    the same of every size.

    Args:
        lattice: of the map for images of `size`.

    Raises:
        AttachError: if no such map has `n` cells.
    """
    known = (lattice.h, lattice.w)
    if call.size is None or same(call.size, size):
        if n == math.prod(known):
            return known
    elif _is_open(call.size):
        h, w = _open_cells(lattice, size, call.size)
        torch._check(h * w == n)
        return h, w
    else:
        exact = [s / c for s, c in zip(call.size, lattice.spacing, strict=True)]
        counts = [
            sorted({math.floor(e), math.ceil(e)} - {0}, key=partial(_distance, e)) for e in exact
        ]
        # Or as at the other size, in both axes: half of the tokens may have as many as one alone.
        for h, w in (*itertools.product(*counts), known):
            if h * w == n:
                return h, w
    raise AttachError(
        f"`{module}` was traced with a map of {in_words(known)} cells, for images of "
        f"{in_words(size)} pixels, but has {n} cells. {remedy(call.size, size)}"
    )


def scattered_at(module: str, scattered: Scattered, size: Size, call: Call) -> Size:
    """Rows and columns of cells in another order, which is known for images of one size.

    Raises:
        AttachError: if the images have another one.
    """
    if call.size is not None and not same(call.size, size):
        raise AttachError(
            f"`{module}` holds its cells in an order that is known for images of {in_words(size)} "
            f"pixels only, but these have {in_words(call.size)}. {remedy(call.size)}"
        )
    return scattered.lattice.h, scattered.lattice.w


def _is_open(size: Size) -> bool:
    """Whether a graph is captured for images of any size."""
    return any(isinstance(n, torch.SymInt) for n in size)


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are the same; an open one is none in particular."""
    return not _is_open(a) and a == b


def _open_cells(lattice: Lattice, traced: Size, size: Size) -> tuple[int, int]:
    """Rows and columns at an open size, rounded as they were at the traced one."""
    counts = []
    for n, known, before, step in zip(
        size, (lattice.h, lattice.w), traced, lattice.spacing, strict=True
    ):
        cell = round(step)
        counts.append(n // cell if known == before // cell else -(-n // cell))
    return counts[0], counts[1]


def _distance(a: float, b: float) -> float:
    return abs(a - b)


def in_words(size: Size | None) -> str:
    """A size in words."""
    if size is None:
        return "another number of"
    return "an open size" if _is_open(size) else f"{size[0]} x {size[1]}"


def remedy(size: Size | None, traced: Size | None = None) -> str:
    """What to do about images of another size, or of the traced one but with other tokens."""
    if size is not None and size == traced:
        return "Encodings cannot tell which tokens were dropped or merged: turn that off."
    if size is None:
        return "Call the model itself, not a part of it, or attach with `size=` of these images."
    if _is_open(size):
        return "Capture the graph with height and width fixed to those it was attached for."
    return f"Detach, and attach again with `size=({size[0]}, {size[1]})`."
