"""Fourier features as the source of a map: the input of StyleGAN3, arXiv 2106.12423.

An infinite map of random sinusoids, sampled where it is looked at, so that it can be moved and
turned exactly: what a constant of 4 x 4 cells cannot. From the paper's text and formulas. In its
released code the learned translation is divided by the norm of the learned rotation; here it is
not, so that a translation is what it says it is. Coordinates are `(y, x)`.
"""

import math
from collections.abc import Callable
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._start import zero
from visionpe.encodings.base import require_batch
from visionpe.encodings.constant import require_count
from visionpe.encodings.precision import default_dtype, exactly, kept_precise
from visionpe.frame import Frame
from visionpe.grids import grid


def band_limited(
    points: Float[Tensor, "*b 2 h w"],
    frequencies: Float[Tensor, "c 2"],
    phases: Float[Tensor, " c"],
    *,
    sampling_rate: float,
    bandwidth: float,
    transform: Float[Tensor, "*t 2 3"] | None = None,
) -> Float[Tensor, "*bt c h w"]:
    """`a sin(2 pi (f . T p + phase))`, faded out where the transform makes it too fast to sample.

    The amplitude `a` is 1 up to `bandwidth` and falls linearly to 0 at half the sampling rate.

    Args:
        points: `(y, x)` in units: `sampling_rate` cells are one unit.
        frequencies: `(y, x)` in cycles a unit.
        phases: in cycles.
        transform: `T`, from a point of the map to the point of the signal seen there.

    >>> points = torch.tensor([0.0, 0.25]).expand(2, 1, 2)  # y too: it does not matter
    >>> f = torch.tensor([[0.0, 1.0]])
    >>> band_limited(points, f, torch.zeros(1), sampling_rate=8, bandwidth=2).tolist()
    [[[0.0, 1.0]]]
    """
    f = frequencies
    if transform is not None:
        # f . (A p + t) = (A' f) . p + f . t. Sums written out: matmuls may round more.
        phases = phases + (f * transform[..., None, :, 2]).sum(-1)  # *t c
        f = (f[:, :, None] * transform[..., None, :, :2]).sum(-2)  # *t c 2
    speed = torch.linalg.vector_norm(f, dim=-1)
    fade = (1 - (speed - bandwidth) / (sampling_rate / 2 - bandwidth)).clamp(0, 1)
    y, x = points[..., 0, None, :, :], points[..., 1, None, :, :]  # *b 1 h w
    fy, fx, start, fade = (part[..., None, None] for part in (*f.unbind(-1), phases, fade))
    cycles = fy * y + fx * x + start
    signal: Tensor = fade * (2 * math.pi * (cycles - cycles.round())).sin()
    return signal


@final
class FourierInput(nn.Module):
    """A map of random sinusoids, mixed by a learned matrix: the source of StyleGAN3.

    With a latent, each sample's map is turned and moved as an affine function of the latent says;
    that function starts as the identity.

    Args:
        channels: of the map.
        h, w: rows and columns of the whole map, margins included.
        sampling_rate: cells a unit; frequencies are in cycles a unit.
        bandwidth: the largest frequency drawn; below half the sampling rate.
        latent: width of the latent that moves the map; None: nothing moves it.

    Attributes:
        frequencies, phases: `c 2` and `c`; drawn at construction, uniform in the disc of radius
            `bandwidth` and in half a cycle either way. Saved; never below float32.
        weight: `c c`.

    Raises:
        ValueError: if `channels`, `h`, `w` or `latent` is below 1, or `bandwidth` not between 0
            and half of `sampling_rate`.

    >>> FourierInput(8, 5, 7, latent=16)(torch.zeros(2, 16)).shape
    torch.Size([2, 8, 5, 7])
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(
        self,
        channels: int = 512,
        h: int = 36,
        w: int = 36,
        *,
        sampling_rate: float = 16.0,
        bandwidth: float = 2.0,
        latent: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("h", h), ("w", w), ("latent", latent)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if not 0 < bandwidth < sampling_rate / 2:
            raise ValueError(
                f"`bandwidth` must be positive and below half of `sampling_rate`, "
                f"{sampling_rate / 2}, but is {bandwidth}."
            )
        self.channels, self.size, self.latent = channels, (h, w), latent
        self.sampling_rate, self.bandwidth = sampling_rate, bandwidth
        dtype = default_dtype()
        self.register_buffer("frequencies", torch.empty(channels, 2, dtype=dtype))
        self.register_buffer("phases", torch.empty(channels, dtype=dtype))
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.affine = None if latent is None else _Motion(latent)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws frequencies, phases and weights anew, and the learned motion back to none."""
        radius = torch.rand_like(self.phases).sqrt() * self.bandwidth  # uniform in area
        angle = torch.rand_like(self.phases) * (2 * math.pi)
        self.frequencies.copy_(torch.stack([radius * angle.sin(), radius * angle.cos()], -1))
        nn.init.uniform_(self.phases, -0.5, 0.5)
        nn.init.normal_(self.weight)
        if self.affine is not None:
            self.affine.stop()

    def forward(
        self,
        z: int | Float[Tensor, "b ..."] | Int[Tensor, "b ..."],
        frame: Frame | None = None,
        *,
        transform: Float[Tensor, "*#b 2 3"] | None = None,
        h: int | None = None,
        w: int | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The map of each sample, in the dtype of `z` if that is a tensor of floating point.

        Args:
            z: `b latent`; without a latent, how many samples, or any tensor with as many.
            frame: which part of the whole map to make, and how finely: a cell's value is that of
                its point, whatever the view, so that a view coarser than the image can alias.
            transform: from a point of the map to the point seen there, `(y, x)` in units, about
                the map's centre. Applied first, before the learned one.
            h, w: another number of rows and columns of the map; with a frame, of the view.

        Raises:
            ValueError: if `z` is not `b latent`, or a batch does not match.
        """
        batch = self._require(z, frame)
        h, w = (own if n is None else n for n, own in zip((h, w), self.size, strict=True))
        device, dtype = self.frequencies.device, self.frequencies.dtype
        with exactly(device):
            points = grid(h, w, frame, device=device, dtype=dtype)
            if frame is None:
                extent = torch.stack(
                    [torch.full((), n, device=device, dtype=dtype) for n in (h, w)]
                )
            else:
                extent = frame.extent.to(points)
            points = points * (extent / (2 * self.sampling_rate))[..., None, None]
            signal = band_limited(
                points,
                self.frequencies,
                self.phases,
                sampling_rate=self.sampling_rate,
                bandwidth=self.bandwidth,
                transform=self._transform(z, transform),
            )
            signal = signal if signal.dim() == 4 else signal[None]
            like = z if isinstance(z, Tensor) and z.is_floating_point() else self.weight
            weight = self.weight.to(like.dtype)[:, :, None, None] / self.channels**0.5
            mixed = F.conv2d(signal.to(like.dtype), weight)
        return mixed.expand(batch, -1, -1, -1)

    def _transform(
        self, z: int | Tensor, given: Float[Tensor, "*t 2 3"] | None
    ) -> Float[Tensor, "*b 2 3"] | None:
        """`p -> R (G p - t)`: the given transform `G`, then the learned motion."""
        dtype = self.frequencies.dtype
        given = None if given is None else given.to(self.frequencies)
        if self.affine is None or not isinstance(z, Tensor):
            return given
        moved = F.linear(z.to(dtype), self.affine.weight.to(dtype), self.affine.bias.to(dtype))
        cos, sin = F.normalize(moved[:, :2], dim=-1).unbind(-1)
        turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        if given is None:
            given = torch.eye(2, 3, device=moved.device, dtype=dtype)
        shift = F.pad(moved[:, 2:, None], (2, 0))  # b 2 1 -> b 2 3
        return (turn[:, :, :, None] * (given - shift)[:, None]).sum(2)

    def _require(self, z: int | Tensor, frame: Frame | None) -> int:
        shape = z.shape if isinstance(z, Tensor) else None
        if self.latent is not None and (shape is None or shape[1:] != (self.latent,)):
            raise ValueError(
                f"`z` must be `b latent` with a latent of {self.latent}, "
                f"but is {z if shape is None else tuple(shape)}."
            )
        if not isinstance(z, Tensor):
            require_count(z)
        batch = z.shape[0] if isinstance(z, Tensor) else z
        require_batch(frame, batch)
        return batch

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        precisely = kept_precise(fn, self.frequencies, self.phases)
        return super()._apply(precisely, recurse)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return (
            f"FourierInput({self.channels}, {self.size[0]}, {self.size[1]}, "
            f"sampling_rate={self.sampling_rate}, bandwidth={self.bandwidth}, "
            f"latent={self.latent})"
        )


@final
class _Motion(nn.Linear):
    """The learned motion, `(cos, sin, y, x)` of a latent: none at first, whoever resets it."""

    def __init__(self, latent: int) -> None:
        super().__init__(latent, 4)

    def reset_parameters(self) -> None:
        super().reset_parameters()  # what is drawn after it stays what it was
        self.stop()

    @torch.no_grad()
    def stop(self) -> None:
        """Sets the motion to none, without drawing."""
        zero(self)
        self.bias[0] = 1.0
