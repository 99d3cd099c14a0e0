"""Two-dimensional sinusoids as functions of positions: arXiv 1706.03762, half the channels an axis.

Libraries disagree on the order of the channels and on the last frequency, so each convention is a
function of its own; those of other libraries refuse the widths that the libraries refuse. All take
positions in cells (`visionpe.positions`), whole or not.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visionpe.encodings.sinusoid import sinusoid


def sinusoidal2d(
    points: Float[Tensor, "*b 2 h w"] | Int[Tensor, "*b 2 h w"],
    width: int,
    *,
    temperature: float = 10000.0,
) -> Float[Tensor, "*b d h w"]:
    """The two-dimensional sinusoidal code, ordered `[sin y, cos y, sin x, cos x]`.

    timm's `build_sincos2d_pos_embed(..., interleave_sin_cos=True)`.

    Args:
        points: positions `(y, x)` in cells.
        width: number of channels, at least 2. If it is no multiple of 4, the code is that of the
            next multiple without its slowest wave's cosine of x, then of y, then sine of x.
        temperature: the longest wavelength, in units of 2 pi cells.

    Raises:
        ValueError: if `width` is below 2, or `temperature` not positive.

    >>> from visionpe import positions
    >>> sinusoidal2d(positions(1, 1), 4).flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    >>> sinusoidal2d(positions(1, 1), 3).flatten().tolist()  # no cosine of x
    [0.0, 1.0, 0.0]
    """
    counts = band_counts(width)
    y, x = _by_axis(points, 4 * counts[0], temperature)
    return torch.cat(
        [part.narrow(-3, 0, count) for part, count in zip((*y, *x), counts, strict=True)], -3
    )


def sinusoidal2d_timm(
    points: Float[Tensor, "*b 2 h w"] | Int[Tensor, "*b 2 h w"],
    width: int,
    *,
    temperature: float = 10000.0,
) -> Float[Tensor, "*b d h w"]:
    """timm's default order, `[sin y, sin x, cos y, cos x]`.

    Arguments as of `sinusoidal2d`, but `width` a multiple of 4, as of all the orders below.

    >>> from visionpe import positions
    >>> sinusoidal2d_timm(positions(1, 1), 4).flatten().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    y, x = _by_axis(points, width, temperature)
    return torch.cat([y[0], x[0], y[1], x[1]], -3)


def sinusoidal2d_mae(
    points: Float[Tensor, "*b 2 h w"] | Int[Tensor, "*b 2 h w"],
    width: int,
    *,
    temperature: float = 10000.0,
) -> Float[Tensor, "*b d h w"]:
    """The order of MAE (arXiv 2111.06377), width first: `[sin x, cos x, sin y, cos y]`.

    >>> from visionpe import positions
    >>> sinusoidal2d_mae(positions(1, 2), 4)[0, 0].tolist() == positions(1, 2)[1, 0].sin().tolist()
    True
    """
    y, x = _by_axis(points, width, temperature)
    return torch.cat([*x, *y], -3)


def sinusoidal2d_big_vision(
    points: Float[Tensor, "*b 2 h w"] | Int[Tensor, "*b 2 h w"],
    width: int,
    *,
    temperature: float = 10000.0,
) -> Float[Tensor, "*b d h w"]:
    """The form of big_vision and SimpleViT (arXiv 2205.01580): `[sin x, cos x, sin y, cos y]`.

    Its longest wavelength is the temperature: frequencies `temperature ** -(k / (width/4 - 1))`.

    >>> from visionpe import positions
    >>> code = sinusoidal2d_big_vision(positions(1, 2), 4)  # one band: no last one to move
    >>> bool((code == sinusoidal2d_mae(positions(1, 2), 4)).all())
    True
    """
    y, x = _by_axis(points, width, temperature, last_band_at_temperature=True)
    return torch.cat([*x, *y], -3)


def band_counts(width: int) -> tuple[int, int, int, int]:
    """How many waves the blocks sin y, cos y, sin x and cos x of `sinusoidal2d` have.

    Raises:
        ValueError: if `width` is below 2.
    """
    if width < 2:
        raise ValueError(
            f"`width` (the number of channels) must be at least 2, but is {width}. "
            "Each of two axes has a sine at least."
        )
    bands, short = (width + 3) // 4, -width % 4
    return bands, bands - int(short > 1), bands - int(short > 2), bands - int(short > 0)


def require_width(width: int) -> None:
    """Refuses a number of channels that two axes cannot share, a sine and a cosine each."""
    if width < 4 or width % 4:
        raise ValueError(
            f"`width` (the number of channels) must be a multiple of 4, but is {width}. "
            "Two axes have a sine and a cosine each."
        )


def _by_axis(
    points: Tensor, width: int, temperature: float, *, last_band_at_temperature: bool = False
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`(sin, cos)` of y and of x, each `*b width/4 h w`."""
    require_width(width)
    sin, cos = sinusoid(
        points,
        width // 2,
        temperature=temperature,
        last_band_at_temperature=last_band_at_temperature,
    ).movedim(1, -3)  # 2 bands *b 2 h w -> 2 *b 2 bands h w
    sin_y, sin_x = sin.unbind(-4)
    cos_y, cos_x = cos.unbind(-4)
    return (sin_y, cos_y), (sin_x, cos_x)
