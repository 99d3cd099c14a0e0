"""The sinusoidal code of one number, arXiv 1706.03762.

In double precision, so that positions of 65,536 and more keep their code.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings.precision import widest_dtype


def sinusoid(
    position: Float[Tensor, "*s"],
    width: int,
    *,
    temperature: float = 10000.0,
    last_band_at_temperature: bool = False,
) -> Float[Tensor, "2 bands *s"]:
    """Sines and cosines of a position at `width / 2` frequencies `temperature ** -(k / bands)`.

    Args:
        position: positions in cells, of any shape.
        width: number of sines and cosines, an even number of at least 2.
        temperature: the longest wavelength, in units of 2 pi cells, above 0.
        last_band_at_temperature: divide `k` by `bands - 1` instead, so that the longest wavelength
            is reached (big_vision) rather than approached.

    Raises:
        ValueError: if `width` is odd or below 2, or `temperature` not positive.

    >>> sinusoid(torch.tensor(0.0), 4).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if width < 2 or width % 2:
        raise ValueError(f"`width` must be an even number of at least 2, but is {width}.")
    require_temperature(temperature)
    bands = width // 2
    # MPS has no float64; everywhere else the angles are exact to 65,536 cells and beyond.
    precise = widest_dtype(position.device)
    steps = torch.arange(bands, device=position.device, dtype=precise)
    last = max(bands - 1, 1) if last_band_at_temperature else bands
    frequency = torch.pow(temperature, steps / -last)
    angle = frequency.reshape(-1, *[1] * position.dim()) * position.to(precise)
    return torch.stack([angle.sin(), angle.cos()]).to(position.dtype)


def require_temperature(temperature: float) -> None:
    """Refuses a temperature that gives no decreasing frequencies."""
    if not temperature > 0:
        raise ValueError(f"`temperature` must be positive, but is {temperature}.")
