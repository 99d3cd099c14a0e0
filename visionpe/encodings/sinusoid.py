"""The sinusoidal code of one number, arXiv 1706.03762.

In double precision, so that positions of 65,536 and more keep their code.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visionpe.encodings._stored import stored
from visionpe.encodings.precision import code_dtype, widest_dtype


def sinusoid(
    position: Float[Tensor, "*s"] | Int[Tensor, "*s"],
    width: int,
    *,
    temperature: float = 10000.0,
    last_band_at_temperature: bool = False,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "2 bands *s"]:
    """Sines and cosines of a position at `width / 2` frequencies `temperature ** -(k / bands)`.

    Args:
        position: positions in cells, of any shape.
        width: number of sines and cosines, an even number of at least 2.
        temperature: the longest wavelength, in units of 2 pi cells, above 0.
        last_band_at_temperature: divide `k` by `bands - 1` instead, so that the longest wavelength
            is reached (big_vision) rather than approached.
        dtype: of the result; by default the positions', or of whole numbers torch's default.

    Raises:
        ValueError: if `width` is odd or below 2, or `temperature` not positive.

    >>> sinusoid(torch.tensor(0.0), 4).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if width < 2 or width % 2:
        raise ValueError(f"`width` must be an even number of at least 2, but is {width}.")
    require_temperature(temperature)
    bands = width // 2
    last = max(bands - 1, 1) if last_band_at_temperature else bands
    frequency = _frequencies(bands, last, temperature, position.device)
    angle = frequency.reshape(-1, *[1] * position.dim()) * position.to(frequency.dtype)
    dtype = dtype or code_dtype(position)
    if torch.compiler.is_compiling():
        return stored(torch.stack([angle.sin(), angle.cos()]).to(dtype))
    # Each cast on its way into the result: a stack of both in double precision costs a pass more.
    waves = angle.new_empty(2, *angle.shape, dtype=dtype)
    waves[0], waves[1] = angle.sin(), angle.cos()
    return waves


def sinusoid_last(
    position: Float[Tensor, "*s"], width: int, *, temperature: float, dtype: torch.dtype
) -> Float[Tensor, "*s width"]:
    """`sinusoid` with the channels last, sines before cosines, of few positions; same arguments.

    >>> sinusoid_last(torch.zeros(1), 4, temperature=10.0, dtype=torch.float32).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    bands = width // 2
    frequency = _frequencies(bands, bands, temperature, position.device)
    angle = position.to(frequency.dtype)[..., None] * frequency
    return stored(torch.cat([angle.sin(), angle.cos()], -1).to(dtype))


def require_temperature(temperature: float) -> None:
    """Refuses a temperature that gives no decreasing frequencies."""
    if not temperature > 0:
        raise ValueError(f"`temperature` must be positive, but is {temperature}.")


def _frequencies(bands: int, last: int, temperature: float, device: torch.device) -> Tensor:
    # MPS has no float64; everywhere else the angles are exact to 65,536 cells and beyond.
    return torch.logspace(
        0,
        (1 - bands) / last,
        bands,
        base=temperature,
        dtype=widest_dtype(device),
        device=device,
    )
