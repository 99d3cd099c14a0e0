"""Offsets between the places of queries and keys, in whole cells, by which tables are read.

Whole numbers are counted from the first query's place, so that a crop which starts at half a cell
has the same offsets as the image. Halves round up. Crops, flips and tiles of a map have whole
offsets at its own cell size; those of rotated or rescaled ones are rounded.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from visionpe.encodings._stored import stored
from visionpe.encodings.precision import wide_dtype
from visionpe.places import Places


def whole_steps(
    places: Places, key_places: Places
) -> tuple[Int[Tensor, "*b n 2"], Int[Tensor, "*#b m 2"]]:
    """The places of queries and of keys in whole cells from the first query's."""
    # The sum is the first place itself, and zero where there is none: a class token alone may ask.
    origin = places.positions[..., :1, :].sum(-2, keepdim=True)
    q = _steps(places.positions, origin)
    same = places.positions is key_places.positions
    return q, q if same else _steps(key_places.positions, origin)


def axis_offsets(
    places: Places, key_places: Places
) -> tuple[Int[Tensor, "*b p q"], Int[Tensor, "*b r s"]]:
    """The offsets, query minus key, along y and along x.

    Of rows from rows and columns from columns (`hq hk` and `wq wk`) between `lattices`, else of
    each query from each key (`*b n m`).
    """
    both = lattices(places, key_places)
    if both and places.shape is not None and places.positions is key_places.positions:
        # A lattice and itself: its cells are one apart, wherever it is.
        rows, columns = (torch.arange(n, device=places.positions.device) for n in places.shape)
        return rows[:, None] - rows, columns[:, None] - columns
    q, k = whole_steps(places, key_places)
    if both and places.shape is not None and key_places.shape is not None:
        q, k = q.unflatten(-2, places.shape), k.unflatten(-2, key_places.shape)  # h w 2
        rows = q[:, 0, 0, None] - k[None, :, 0, 0]
        return rows, q[0, :, 1, None] - k[0, None, :, 1]
    return tuple(q[..., :, None, axis] - k[..., None, :, axis] for axis in (0, 1))  # type: ignore[return-value]


def lattices(places: Places, key_places: Places) -> bool:
    """Whether the offsets are those of rows from rows and of columns from columns, for all samples.

    So they are between two lattices, unless samples have lattices at places of their own; between
    a lattice and itself they are the same wherever it is.
    """
    if places.shape is None or key_places.shape is None:
        return False
    same = places.positions is key_places.positions
    return same or places.positions.dim() == key_places.positions.dim() == 2


def own_lattice(places: Places, key_places: Places) -> tuple[int, int] | None:
    """`(h, w)` if queries and keys are the cells of one lattice; None in a graph of open sizes."""
    same = places.positions is key_places.positions
    return places.shape if same and not torch.compiler.is_compiling() else None


def look_up(table: Float[Tensor, "heads t"], index: Int[Tensor, "*s"]) -> Float[Tensor, "heads *s"]:
    """`table[:, index]`, by `index_select`: advanced indexing has a far slower backward pass."""
    found = stored(table).index_select(1, stored(index.flatten()))
    return found.reshape(table.shape[0], *index.shape)


def heads_second(bias: Float[Tensor, "heads *b n m"]) -> Float[Tensor, "#b heads n m"]:
    """The bias as attention takes it: the samples, or one for all, before the heads."""
    return bias[None] if bias.dim() == 3 else bias.movedim(0, -3)


def distinct_samples(
    q: Float[Tensor, "*b n 2"], k: Float[Tensor, "*c m 2"]
) -> tuple[Float[Tensor, "*d n 2"], Float[Tensor, "*e m 2"], Int[Tensor, " samples"] | None]:
    """The samples whose offsets differ, and which of these each sample is as.

    Windows of one size have the same offsets wherever they lie in their images. Looks at the
    numbers: where it cannot, the samples are as they were, and there is no index.
    """
    batched = q.dim() == 3 and k.dim() == 3 and len(q) == len(k) > 1 and q.shape[1] > 0
    unseen = q.is_meta or q.requires_grad or k.requires_grad or torch.compiler.is_compiling()
    if not batched or unseen:
        return q, k, None
    offsets = (torch.cat([q, k], 1) - q[:, :1]).flatten(1)
    kinds, index = torch.unique(offsets, dim=0, return_inverse=True)
    if len(kinds) == len(q):
        return q, k, None
    rows = torch.arange(len(q), device=q.device)
    first = rows.new_full((len(kinds),), len(q)).scatter_reduce(0, index, rows, "amin")
    return q[first], k[first], index


def require_fit(window: tuple[int, int], places: Places, key_places: Places, remedy: str) -> None:
    """Refuses places further apart than a table for `window` knows.

    Lattices are judged by their shape alone, which holds while a graph is captured. The offsets
    themselves are looked at only where the shape does not tell all, as it does of a lattice with
    itself, and where that costs no wait for a device, or nothing else is known.

    Args:
        remedy: what to do, with `{old}` and `{new}` for the windows.

    Raises:
        ValueError: if an offset lies outside the table.
    """
    shapes = [part.shape for part in (places, key_places) if part.shape is not None]
    if len(shapes) == 2 and any(h > window[0] or w > window[1] for h, w in shapes):
        _refuse(window, max(h for h, _ in shapes), max(w for _, w in shapes), remedy)
    same = places.positions is key_places.positions
    if torch.compiler.is_compiling() or (
        len(shapes) == 2 and (same or places.positions.device.type != "cpu")
    ):
        return
    q, k = whole_steps(places, key_places)
    if q.is_meta or not q.numel() or not k.numel():
        return
    apart = torch.maximum(q.amax(-2) - k.amin(-2), k.amax(-2) - q.amin(-2))  # *b 2
    h, w = (int(furthest) + 1 for furthest in apart.reshape(-1, 2).amax(0))
    if h > window[0] or w > window[1]:
        _refuse(window, h, w, remedy)


def require_window(window: tuple[int, int]) -> None:
    """Refuses a window that is no size."""
    if len(window) != 2 or min(window) < 1:
        raise ValueError(f"`window` must be (h, w), at least 1 cell each, but is {tuple(window)}.")


def require_positive(name: str, value: int) -> None:
    """Refuses a count below 1."""
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1, but is {value}.")


def start(table: nn.Parameter, std: float) -> None:
    """Zeros, or a normal distribution truncated at two standard deviations."""
    if std:
        nn.init.trunc_normal_(table, std=std, a=-2 * std, b=2 * std)
    else:
        nn.init.zeros_(table)


def require_std(std: float) -> None:
    """Refuses a standard deviation below 0."""
    if not std >= 0:
        raise ValueError(f"`std` must be at least 0, but is {std}.")


def misfits(
    module: nn.Module, state: dict[str, Any], prefix: str, remedies: dict[str, str]
) -> list[str]:
    """A message for each table in a state dict that was made for another window.

    Args:
        remedies: the call that resizes it, for each parameter's name.
    """
    messages = []
    for name, remedy in remedies.items():
        loaded, own = state.get(prefix + name), getattr(module, name)
        if loaded is not None and loaded.shape != own.shape:
            messages.append(
                f"`{prefix}{name}` must have shape {tuple(own.shape)}, but has shape "
                f"{tuple(loaded.shape)}. If it was made for another window, resize it before "
                f"loading: {remedy}."
            )
    return messages


def _steps(
    positions: Float[Tensor, "*#b n 2"], origin: Float[Tensor, "*#b 1 2"]
) -> Int[Tensor, "... n 2"]:
    # Beyond one half, so that halves round up whatever their rounding error.
    # 64 bits: torch selects by them twice as fast as by 32.
    return (positions.to(wide_dtype(positions)) - origin + 0.501).floor().to(torch.int64)


def _refuse(window: tuple[int, int], h: int, w: int, remedy: str) -> None:
    old, new = tuple(window), (max(h, window[0]), max(w, window[1]))
    raise ValueError(
        f"`window` must be at least {(h, w)} for these places, but is {old}. "
        f"{remedy.format(old=old, new=new)}"
    )
