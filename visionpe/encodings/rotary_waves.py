"""Rotary encodings as sets of plane waves: every pair of channels turns at a rate along y and x.

The angle of a pair at a place is the place times the pair's wave vector (radians a cell, `(y, x)`).
The rotary encodings differ in their wave vectors and in the unit of a place only; what is here is
common to them. Angles are made in double precision: positions of 65,536 and more keep theirs.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from visionpe.encodings._stored import stored
from visionpe.encodings.base import pad_tokens
from visionpe.encodings.precision import wide_dtype, widest_dtype
from visionpe.encodings.rotate import Layout, turn, turn_in_reals
from visionpe.grids import require_pair
from visionpe.places import Places

Waves = Float[Tensor, "2 #heads pairs"]


def wave_angles(
    points: Float[Tensor, "*b n 2"], waves: Waves
) -> Float[Tensor, "*b #heads n pairs"]:
    """The angle by which each pair of channels turns at each place, in double precision.

    Args:
        points: places `(y, x)`.
        waves: the wave vector of each pair, radians a unit of place along y and along x, one set
            for all heads or one for each.

    >>> waves = torch.tensor([[[0.5, 0.0]], [[0.0, 2.0]]])  # y turns pair 0, x turns pair 1
    >>> wave_angles(torch.tensor([[1.0, 10.0]]), waves).tolist()
    [[[0.5, 20.0]]]
    """
    points, waves = _double(points)[..., None, :, :], _double(waves)[..., None, :]
    # Products written out: a matmul rounds to the dtype of autocast. *b 1 n 1 * heads 1 pairs
    return points[..., :1] * waves[0] + points[..., 1:] * waves[1]


def rotate_by_waves(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    waves: Waves,
    places: Places,
    key_places: Places,
    points_of: Callable[[Places], Float[Tensor, "*b n 2"]],
    layout: Layout,
) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads m d"]]:
    """Queries and keys, turned by plane waves; tokens without a place are not.

    Args:
        q, k: queries and keys.
        waves: as of `wave_angles`.
        places, key_places: where they sit; the same object, if they sit at the same places.
        points_of: gives places in the unit of the waves.
        layout: which channels are pairs.
    """
    turn_q = _turn_at(places, waves, points_of, layout, q)
    turn_k = turn_q if key_places is places else _turn_at(key_places, waves, points_of, layout, k)
    return turn_q(q), turn_k(k)


def in_cells(places: Places, cells: tuple[int, int] | None) -> Float[Tensor, "*b n 2"]:
    """Positions in cells; with `cells`, the whole image counts as so many cells at every scale."""
    if cells is None:
        return places.positions
    count = torch.tensor(cells, device=places.positions.device, dtype=places.positions.dtype)
    extent = places.extent[..., None, :]
    return (places.positions + 0.5) * (count / extent) - 0.5  # edges on edges


def require_cells(cells: tuple[int, int] | None) -> None:
    """Refuses an image of no cells."""
    if cells is not None:
        require_pair("cells", cells)
    if cells is not None and min(cells) < 1:
        raise ValueError(f"`cells` must be at least 1 cell an axis, but is {tuple(cells)}.")


def require_layout(layout: str) -> None:
    """Refuses a layout of pairs that has no name."""
    if layout not in ("interleaved", "half"):
        raise ValueError(f'`layout` must be "interleaved" or "half", but is "{layout}".')


def require_theta(theta: float) -> None:
    """Refuses a base that gives no frequencies."""
    if not theta > 0:
        raise ValueError(f"`theta` must be positive, but is {theta}.")


def require_multiple(head_dim: int, of: int, reason: str) -> None:
    """Refuses a width of heads that the pairs do not fill."""
    if head_dim < of or head_dim % of:
        raise ValueError(
            f"`head_dim` (the width of a head) must be a multiple of {of}, but is {head_dim}. "
            f"{reason}"
        )


def _turn_at(
    places: Places,
    waves: Waves,
    points_of: Callable[[Places], Float[Tensor, "*b n 2"]],
    layout: Layout,
    x: Float[Tensor, "b heads t d"],
) -> Callable[[Tensor], Tensor]:
    """What turns tokens like `x` at these places, its cosines and sines made already."""
    places = exact_places(places, x)
    points, precise = points_of(places), wide_dtype(x)
    if torch.compiler.is_compiling():
        cos, sin = _waves_at(points, waves, places)
    else:
        phases = _phases(points, waves, places)
        if layout == "interleaved":
            return partial(turn, phases=phases.to(precise.to_complex()))
        cos, sin = phases.real, phases.imag  # every other number: to be laid out side by side
    cos, sin = (stored(part.to(precise).contiguous()) for part in (cos, sin))
    return partial(turn_in_reals, cos=cos, sin=sin, layout=layout)


def _phases(points: Tensor, waves: Tensor, places: Places) -> Complex[Tensor, "*b #heads t pairs"]:
    """The turns as numbers on the unit circle, 1 for tokens without a place."""
    if places.shape is None:
        angles = wave_angles(points, waves)
        return pad_phases(torch.polar(torch.ones_like(angles), angles), places)
    down, along = _lattice_angles(points, waves, places.shape)
    rows = torch.polar(torch.ones_like(down), down)
    columns = torch.polar(torch.ones_like(along), along)
    product = rows[..., :, None, :] * columns[..., None, :, :]  # *b heads h w pairs
    return pad_phases(product.flatten(-3, -2), places)


def _waves_at(points: Tensor, waves: Waves, places: Places) -> tuple[Tensor, Tensor]:
    """The cosines and the sines of the turns, in real numbers, as a graph needs them."""
    if places.shape is None:
        angles = pad_tokens(wave_angles(points, waves), places)
        return angles.cos(), angles.sin()
    down, along = _lattice_angles(points, waves, places.shape)
    cos_y, sin_y = (stored(part)[..., :, None, :] for part in (down.cos(), down.sin()))
    cos_x, sin_x = (stored(part)[..., None, :, :] for part in (along.cos(), along.sin()))
    cos = (cos_y * cos_x - sin_y * sin_x).flatten(-3, -2)  # *b heads h w pairs -> *b heads n pairs
    sin = (sin_y * cos_x + cos_y * sin_x).flatten(-3, -2)
    ends = (0, 0, places.prefix, places.suffix)  # 1 and 0: no turn
    return F.pad(cos, ends, value=1.0), F.pad(sin, ends)


def _lattice_angles(points: Tensor, waves: Waves, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The angles down and along a lattice, `*b heads h pairs` and `*b heads w pairs`.

    Turns down and along are a product, so `h + w` sines make `h w` of them.
    """
    lattice = _double(points).unflatten(-2, shape)  # *b n 2 -> *b h w 2
    waves = _double(waves)[..., None, :]
    down = lattice[..., :, 0, :1].unsqueeze(-3) * waves[0]
    along = lattice[..., 0, :, 1:].unsqueeze(-3) * waves[1]
    return down, along


def pad_phases(
    phases: Complex[Tensor, "*b n pairs"], places: Places
) -> Complex[Tensor, "*b t pairs"]:
    """The turns of placed tokens with no turn for those without a place before and behind."""
    if not places.prefix and not places.suffix:
        return phases
    size = list(phases.shape)
    ends = [phases.new_ones([*size[:-2], m, size[-1]]) for m in (places.prefix, places.suffix)]
    return torch.cat([ends[0], phases, ends[1]], -2)


def exact_places(places: Places, x: Tensor) -> Places:
    """The places in double precision, on the device of `x`."""
    return places.to(x.device, widest_dtype(x.device))


def _double(x: Tensor) -> Tensor:
    return x.to(widest_dtype(x.device))
