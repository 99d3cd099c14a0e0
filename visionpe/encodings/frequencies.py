"""Matrices of frequencies for Fourier features: arXiv 2006.10739 (random, log-axis), 2003.08934.

A row is a wave vector `(y, x)`, in cycles a side of the image: the papers' own numbers, which
2006.10739 gives for coordinates in [0, 1], and 2003.08934, as `2^k pi p`, in [-1, 1].
"""

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings.precision import default_dtype


def gaussian_frequencies(
    bands: int, *, sigma: float, generator: torch.Generator | None = None
) -> Float[Tensor, "bands 2"]:
    """Wave vectors drawn from a normal distribution, arXiv 2006.10739.

    Args:
        bands: number of wave vectors.
        sigma: standard deviation, in cycles a side of the image: 10 for natural images there.
        generator: a CPU generator of the numbers; torch's own if left out.

    Raises:
        ValueError: if `bands` is below 1, or `sigma` not positive.

    >>> gaussian_frequencies(3, sigma=10.0).shape
    torch.Size([3, 2])
    """
    require_gaussian(bands, sigma)
    # Drawn on the CPU: one seed, one matrix on every device.
    dtype = default_dtype()
    return sigma * torch.randn(bands, 2, generator=generator, device="cpu", dtype=dtype)


def octave_frequencies(
    octaves: int, *, device: torch.device | str | None = None
) -> Float[Tensor, "bands 2"]:
    """`2^0, 2^1, ... 2^(octaves - 1)` cycles a side, along y, then along x: arXiv 2003.08934.

    Raises:
        ValueError: if `octaves` is below 1.

    >>> octave_frequencies(2).tolist()
    [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 2.0]]
    """
    require_bands("octaves", octaves)
    return _on_both_axes(octave_scale(octaves, device=device))


def log_axis_frequencies(
    bands: int, *, octaves: float, device: torch.device | str | None = None
) -> Float[Tensor, "bands 2"]:
    """`2^s - 1` cycles a side, `s` in even steps from 0 to `octaves`: 2006.10739's "log-axis" code.

    Args:
        bands: number of wave vectors, half of them along y and then half along x; even.
        octaves: the largest `s`, not necessarily whole: 6 for natural images there.

    Raises:
        ValueError: if `bands` is odd or below 2, or `octaves` not positive.

    >>> log_axis_frequencies(4, octaves=3).tolist()
    [[0.0, 0.0], [7.0, 0.0], [0.0, 0.0], [0.0, 7.0]]
    """
    require_log_axis(bands, octaves)
    return _on_both_axes(log_axis_scale(bands // 2, octaves=octaves, device=device))


def octave_scale(octaves: int, *, device: torch.device | str | None) -> Float[Tensor, " octaves"]:
    """`octave_frequencies` along one axis."""
    return torch.arange(octaves, device=device).float().exp2()


def log_axis_scale(
    bands: int, *, octaves: float, device: torch.device | str | None
) -> Float[Tensor, " bands"]:
    """`log_axis_frequencies` along one axis."""
    steps = torch.arange(bands, device=device).float() / max(bands - 1, 1)
    return (steps * octaves).exp2() - 1


def require_bands(name: str, value: int) -> None:
    """Refuses an empty matrix of frequencies, and part of one."""
    if isinstance(value, float):
        raise TypeError(f"`{name}` must be a whole number, but is {value}.")
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1, but is {value}.")


def require_gaussian(bands: int, sigma: float) -> None:
    """Refuses what no matrix can be drawn from."""
    require_bands("bands", bands)
    if not sigma > 0:
        raise ValueError(f"`sigma` must be positive, but is {sigma}.")


def require_log_axis(bands: int, octaves: float) -> None:
    """Refuses bands that two axes cannot share, and steps that go nowhere."""
    if bands < 2 or bands % 2:
        raise ValueError(f"`bands` must be an even number of at least 2, but is {bands}.")
    if not octaves > 0:
        raise ValueError(f"`octaves` must be positive, but is {octaves}.")


@torch.no_grad()
def redraw(matrix: Float[Tensor, "bands 2"], sigma: float, seed: int | None) -> None:
    """Fills a matrix with `gaussian_frequencies`, the same ones for the same seed."""
    generator = None if seed is None else torch.Generator("cpu").manual_seed(seed)
    matrix.copy_(gaussian_frequencies(matrix.shape[0], sigma=sigma, generator=generator))


def _on_both_axes(frequency: Tensor) -> Tensor:
    zero = torch.zeros_like(frequency)
    return torch.stack([torch.cat([frequency, zero]), torch.cat([zero, frequency])], -1)
