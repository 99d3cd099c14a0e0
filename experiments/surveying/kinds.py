"""What the census tries: an encoding of each kind, made for the site that it is put at."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from visionpe import (
    AttentionEncoding,
    CoordConv,
    DecomposedBias,
    HeightAttention,
    Learned2d,
    LieRE,
    MapEncoding,
    RelativeBias,
    Site,
    Trace,
)


class Kind(NamedTuple):
    """A way of giving position to a model.

    Attributes:
        title: for people.
        encoding: as `visionpe.attach` takes it.
        at: the same.
        exact: whether outputs must stay equal to the bit; else to 1e-5 of the largest.
        has: the sites of a trace that it is made for; none: it has no meaning for the model.
    """

    title: str
    encoding: Any
    at: str
    exact: bool
    has: Callable[[Trace], list[Site]]


def pairs(found: Trace) -> list[Site]:
    """Attention between places: image queries and image keys."""
    return [s for s in found.attention if s.queries is not None and s.keys is not None]


def _window(site: Site) -> tuple[int, int]:
    """So many rows and columns that every offset between its places is found."""
    assert site.queries is not None
    assert site.keys is not None
    both = torch.cat([p.positions.flatten(0, -2) for p in (site.queries, site.keys)])
    y, x = (math.ceil(n) + 1 for n in (both.amax(0) - both.amin(0)).tolist())
    return y, x


def _cells(site: Site) -> tuple[int, int]:
    assert site.lattice is not None
    return site.lattice.h, site.lattice.w


def _channels(site: Site) -> int:
    return site.shape[1] if site.layout in ("NCHW", "NCL") else site.shape[-1]


def table(site: Site) -> AttentionEncoding:
    """One number for each head and offset (Swin)."""
    return RelativeBias(site.heads or 1, _window(site))


def contextual(site: Site) -> AttentionEncoding:
    """A query times a row for each vertical and horizontal offset (MViTv2)."""
    return DecomposedBias(site.head_dim or 1, _window(site))


def rotary(site: Site) -> AttentionEncoding:
    """Rotations by learned angles that start at zero, in planes where the width allows it."""
    width = site.head_dim or 2
    block = next(n for n in range(2, width + 1) if width % n == 0)
    return LieRE(site.heads or 1, width, block=block)


def learned(site: Site) -> MapEncoding:
    """A table of a code for each cell, added."""
    return Learned2d(_channels(site), _cells(site))


def height(site: Site) -> MapEncoding:
    """HANet's gate, which starts at 1."""
    return HeightAttention(_channels(site), identity=True)


KINDS = {
    "table bias": Kind("table bias in pair attention", table, "all", False, pairs),
    "contextual bias": Kind("contextual bias in pair attention", contextual, "all", False, pairs),
    "rotary": Kind("rotary in pair attention", rotary, "all", False, pairs),
    "coordconv first": Kind(
        "CoordConv at the first convolution", CoordConv(), "first", True, lambda t: t.convs
    ),
    "coordconv all": Kind(
        "CoordConv at all convolutions", CoordConv(), "all", True, lambda t: t.convs
    ),
    "absolute": Kind(
        "absolute table at the token or stem site", learned, "first", True, lambda t: t.outputs
    ),
}
PADDINGS = ("replicate", "reflect", "circular", "none")
HEIGHT = "hanet"
TITLES = {
    **{name: kind.title for name, kind in KINDS.items()},
    HEIGHT: "HANet between the stages of a `features_only` model",
    **{f"padding {mode}": f"padding swapped for `{mode}`, shapes kept" for mode in PADDINGS},
    "time": "seconds of trace and plan",
}
