"""What convolutions that keep a map's size share: padding, its limits, and tokens as a map."""

import torch
from torch import Tensor

from visionpe.encodings._convolve import _MODES, Geometry
from visionpe.encodings.base import require_tokens
from visionpe.places import Places


def same_size(kernel: tuple[int, ...], mode: str) -> Geometry:
    """The geometry of a kernel that keeps the size, an even one looking back one cell more."""
    ones = (1,) * len(kernel)
    before, after = tuple(k // 2 for k in kernel), tuple((k - 1) // 2 for k in kernel)
    return Geometry(ones, ones, before, after, mode)


def require_mode(mode: str) -> None:
    """Refuses a padding mode that `nn.Conv` does not know.

    Raises:
        ValueError: if it is another word.
    """
    if mode not in _MODES:
        raise ValueError(f"`padding_mode` must be one of {_MODES}, but is {mode!r}.")


def require_room(x: Tensor, geometry: Geometry) -> None:
    """Refuses a map too small to be padded with its own cells.

    Raises:
        ValueError: if an axis has too few cells for 'reflect' or 'circular' padding.
    """
    if geometry.mode not in ("reflect", "circular") or torch.compiler.is_compiling():
        return
    sizes = tuple(x.shape[2:])
    spare = geometry.mode == "reflect"  # a reflection does not repeat the edge
    if any(n < pad + spare for n, pad in zip(sizes, geometry.before, strict=True)):
        raise ValueError(
            f"`padding_mode` must be 'zeros' or 'replicate' for a kernel that reaches "
            f"{geometry.before} cells beyond a map of {sizes}, but is {geometry.mode!r}."
        )


def as_map(x: Tensor, places: Places) -> Tensor:
    """The placed tokens of `x`, `b n c`, as the map `b c h w` that they are.

    Raises:
        ValueError: if they are no whole lattice, or `places` describe another number of tokens.
    """
    require_tokens("x", x, places)
    if places.shape is None:
        raise ValueError(
            "`places` must be a whole lattice, row by row, for a convolution to run over it, "
            "but `places.shape` is None. `Places.of(h, w)` has one."
        )
    placed = x[:, places.prefix : x.shape[1] - places.suffix]
    fmap: Tensor = placed.mT.unflatten(-1, places.shape)
    return fmap


def as_tokens(y: Tensor, x: Tensor, places: Places) -> Tensor:
    """The map `y` as tokens again, among those tokens of `x` that have no place."""
    parts = [x[:, : places.prefix], y.flatten(2).mT, x[:, x.shape[1] - places.suffix :]]
    return torch.cat(parts, 1) if places.prefix or places.suffix else parts[1]
