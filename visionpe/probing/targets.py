"""What a probe asks for: maps of position in [0, 1], as arXiv:2001.08248 publishes them, and more.

Each target is a function of the map's size, min-max scaled. The paper's five exist as 8-bit images
of 256 x 256 too (`published`): its code resizes these, so reproductions start from them.
"""

import math
from collections.abc import Callable
from difflib import get_close_matches

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Target = Callable[[int, int], Float[Tensor, "h w"]]

_PERIODS = 2.5  # of the stripes, counted in the released images
_SIDE = 256  # of the released images
_ROUNDING = 1e-9  # stripes on 5 rows are constant
_WAVES = 3  # of `smooth_noise`, half periods along an axis: as fast as G, slower than HS


def horizontal(h: int, w: int) -> Float[Tensor, "h w"]:
    """H: 0 in the first column to 1 in the last.

    >>> horizontal(1, 3).tolist()
    [[0.0, 0.5, 1.0]]
    """
    return _scaled(torch.arange(float(w)).expand(_sized(h, w)))


def vertical(h: int, w: int) -> Float[Tensor, "h w"]:
    """V: 0 in the first row to 1 in the last.

    >>> vertical(2, 1).tolist()
    [[0.0], [1.0]]
    """
    return horizontal(w, h).T.contiguous()


def gaussian(h: int, w: int) -> Float[Tensor, "h w"]:
    """G: a Gaussian about the centre, its standard deviation half the side, along each axis.

    >>> gaussian(3, 3)[1].tolist()[1]
    1.0
    """
    y, x = _axes(h, w)
    return _scaled(torch.exp(-(y**2 + x**2) / 2))


def horizontal_stripes(h: int, w: int) -> Float[Tensor, "h w"]:
    """HS: rows of one value, a cosine of 2.5 periods along y.

    >>> horizontal_stripes(10, 1).round().T.tolist()
    [[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]]
    """
    y, _ = _axes(h, w)
    return _scaled(torch.cos(math.pi * _PERIODS * (y + 1)).expand(h, w))


def vertical_stripes(h: int, w: int) -> Float[Tensor, "h w"]:
    """VS: columns of one value, a cosine of 2.5 periods along x.

    >>> vertical_stripes(1, 10).round().tolist()
    [[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]]
    """
    return horizontal_stripes(w, h).T.contiguous()


def radius(h: int, w: int) -> Float[Tensor, "h w"]:
    """The distance from the centre, in half sides along each axis: 0 there, 1 in the corners.

    >>> radius(1, 3).tolist()
    [[1.0, 0.0, 1.0]]
    """
    y, x = _axes(h, w)
    return _scaled((y**2 + x**2).sqrt())


def quadrant(h: int, w: int) -> Float[Tensor, "h w"]:
    """Which quarter of the map: 0 upper left, 1/3 upper right, 2/3 lower left, 1 lower right.

    A middle row or column counts as lower or right.

    >>> (3 * quadrant(2, 2)).round().tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    y, x = _axes(h, w)
    return _scaled(2.0 * (y >= 0) + 1.0 * (x >= 0))


def smooth_noise(h: int, w: int, *, seed: int = 0) -> Float[Tensor, "h w"]:
    """A random smooth map: as easy to draw as the others, and without meaning.

    A control for targets that a read-out fits because they are smooth. It is the same function of
    the image at every size: cosines of up to 3 half periods along each axis, normal amplitudes.

    Args:
        h, w: size of the map.
        seed: another one for each.

    >>> bool((smooth_noise(4, 6) == smooth_noise(4, 6, seed=0)).all())
    True
    """
    y, x = _axes(h, w)
    amplitude = torch.randn(
        _WAVES + 1, _WAVES + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    waves = math.pi / 2 * torch.arange(_WAVES + 1, dtype=torch.float64)
    amplitude[0, 0] = 0
    along_y, along_x = (torch.cos((axis.reshape(-1, 1) + 1) * waves) for axis in (y, x))
    return _scaled(along_y @ amplitude @ along_x.T)


TARGETS: dict[str, Target] = {
    "H": horizontal,
    "V": vertical,
    "G": gaussian,
    "HS": horizontal_stripes,
    "VS": vertical_stripes,
    "radius": radius,
    "quadrant": quadrant,
    "smooth noise": smooth_noise,
}


def target(name: str) -> Target:
    """The target of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in TARGETS:
        near = get_close_matches(name, TARGETS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        options = ", ".join(map(repr, TARGETS))
        raise ValueError(f"`targets` must be among {options}, but has {name!r}.{hint}")
    return TARGETS[name]


def published(name: str, h: int = 224, w: int = 224) -> Float[Tensor, "h w"]:
    """H, V, G, HS or VS from the 8-bit image of 256 x 256 pixels that the paper's code resizes.

    Resized with antialiasing, rounded to 8 bits, min-max scaled: what the released code trains on.
    The images of H, V and G are the released ones, bit for bit (their Gaussian is centred at pixel
    128, half a pixel off); the stripes differ by one grey level where the released files do not
    quite follow a cosine, and by up to 3 in their outermost two lines.

    Raises:
        ValueError: if the name is none of the five.

    >>> published("H", 256, 256)[0, :3].mul(255).round().tolist()
    [0.0, 1.0, 2.0]
    """
    if name not in _RELEASED:
        raise ValueError(f"`name` must be one of {', '.join(_RELEASED)}, but is {name!r}.")
    h, w = _sized(h, w)
    image = _RELEASED[name]().float()
    if (h, w) != (_SIDE, _SIDE):
        image = F.interpolate(image[None, None], (h, w), mode="bilinear", antialias=True)[0, 0]
    return _scaled(image.round())


def _released_h() -> Tensor:
    return torch.arange(float(_SIDE)).expand(_SIDE, _SIDE)


def _released_g() -> Tensor:
    line = (torch.arange(_SIDE, dtype=torch.float64) - _SIDE / 2) / (_SIDE / 2)
    bell = torch.exp(-(line[:, None] ** 2 + line**2) / 2)
    return ((bell - bell.min()) / (bell.max() - bell.min()) * 255).floor()


def _released_hs() -> Tensor:
    line = (torch.arange(_SIDE, dtype=torch.float64) + 0.5) / _SIDE
    return (127 * (1 + torch.cos(2 * math.pi * _PERIODS * line))).round()[:, None].expand(_SIDE, -1)


_RELEASED: dict[str, Callable[[], Tensor]] = {
    "H": _released_h,
    "V": lambda: _released_h().T,
    "G": _released_g,
    "HS": lambda: _released_hs().expand(_SIDE, _SIDE),
    "VS": lambda: _released_hs().expand(_SIDE, _SIDE).T,
}


def _axes(h: int, w: int) -> tuple[Float[Tensor, "h 1"], Float[Tensor, " w"]]:
    """Centres of the cells in [-1, 1], in float64."""
    h, w = _sized(h, w)
    y, x = ((2 * torch.arange(n, dtype=torch.float64) + 1 - n) / n for n in (h, w))
    return y[:, None], x


def _scaled(values: Tensor) -> Float[Tensor, "h w"]:
    """Min-max scaled to [0, 1]; a map that is constant but for rounding is all 0."""
    low, high = values.min(), values.max()
    if high - low < _ROUNDING:
        return torch.zeros_like(values, dtype=torch.float32)
    return ((values - low) / (high - low)).float()


def _sized(h: int, w: int) -> tuple[int, int]:
    for name, value in (("h", h), ("w", w)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {value}.")
    return h, w
