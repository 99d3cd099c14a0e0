"""Rotary encoding of DINOv3, arXiv 2508.10104: axial, on coordinates in [-1, 1].

Angles are `2 pi coordinate / base ** (k / (d/4))`: the first half of the pairs turns with y, the
second with x, in the half layout. As the image is 2 wide at every resolution, an image of more
cells turns less from cell to cell. In training, coordinates may be shifted and scaled at random,
once a call for all samples, queries and keys.
"""

import math
from collections.abc import Callable
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.rotary import axial_waves
from visionpe.encodings.rotary_waves import require_layout, rotate_by_waves
from visionpe.encodings.rotate import Layout
from visionpe.places import Places

Unit = Literal["separate", "min", "max"]


def dinov3_waves(
    head_dim: int, *, base: float = 100.0, device: torch.device | str | None = None
) -> Float[Tensor, "2 pairs"]:
    """The wave vectors `(y, x)` of DINOv3, in radians a unit of its coordinates.

    >>> (dinov3_waves(8) / torch.pi).tolist()
    [[2.0, 0.2, 0.0, 0.0], [0.0, 0.0, 2.0, 0.2]]
    """
    return axial_waves(head_dim, theta=base, order="yx", device=device) * (2 * torch.pi)


def augment_coordinates(
    *,
    shift: float | None = None,
    jitter: float | None = None,
    rescale: float | None = None,
    device: torch.device | str | None = None,
) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"]]:
    """Draws `(scale, offset)` for coordinates `scale * c + offset`, as DINOv3's training does.

    Args:
        shift: a uniform offset of either axis in `[-shift, shift]`, before scaling.
        jitter: a log-uniform factor of either axis in `[1 / jitter, jitter]`.
        rescale: a log-uniform factor of both axes in `[1 / rescale, rescale]`.

    >>> scale, offset = augment_coordinates(rescale=2)
    >>> bool((scale[0] == scale[1]) & (0.5 <= scale[0]) & (scale[0] <= 2)), offset.tolist()
    (True, [0.0, 0.0])
    """
    offset = torch.zeros(2, device=device)
    scale = torch.ones(2, device=device)
    if shift is not None:
        offset = (torch.rand(2, device=device) * 2 - 1) * shift
    if jitter is not None:
        scale = ((torch.rand(2, device=device) * 2 - 1) * math.log(jitter)).exp()
    if rescale is not None:
        scale = scale * ((torch.rand(1, device=device) * 2 - 1) * math.log(rescale)).exp()
    return scale, scale * offset


@final
class RotaryDINOv3(AttentionEncoding):
    """Turns queries and keys by their coordinates in the image, as DINOv3 does.

    Args:
        base: the slowest pair turns almost `base` times as slowly as the fastest, which makes two
            full turns across the image.
        normalize: what counts as 2 units of a coordinate: either axis' own extent ("separate"),
            or, for both, the shorter ("min") or the longer one ("max").
        shift, jitter, rescale: as of `augment_coordinates`, in training mode only. DINOv3 trains
            with `rescale=2`.
        layout: which channels are pairs: see `visionpe.rotate_half` and `visionpe.rotate`.

    Raises:
        ValueError: if an option is out of range; at the call, if the width of the heads is not a
            multiple of 4.

    >>> q = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])  # half layout: the pairs (1, 0), (1, 0)
    >>> places = Places.at(torch.tensor([[1.0, 0.5]]), (2, 2))  # y = 0.5, x = 0
    >>> RotaryDINOv3().rotate(q, q, places, places)[0].round().tolist()  # y turns by pi
    [[[[-1.0, 1.0, 0.0, 0.0]]]]
    """

    def __init__(
        self,
        *,
        base: float = 100.0,
        normalize: Unit = "separate",
        shift: float | None = None,
        jitter: float | None = None,
        rescale: float | None = None,
        layout: Layout = "half",
    ) -> None:
        super().__init__()
        if not base > 0:
            raise ValueError(f"`base` must be positive, but is {base}.")
        if normalize not in ("separate", "min", "max"):
            raise ValueError(
                f'`normalize` must be "separate", "min" or "max", but is "{normalize}".'
            )
        if shift is not None and not 0 <= shift < math.inf:
            raise ValueError(f"`shift` must be at least 0 and finite, but is {shift}.")
        for name, factor in (("jitter", jitter), ("rescale", rescale)):
            if factor is not None and not 1 <= factor < math.inf:
                raise ValueError(
                    f"`{name}` must be a factor of at least 1 and finite, but is {factor}."
                )
        require_layout(layout)
        self.base = base
        self.normalize: Unit = normalize
        self.shift = shift
        self.jitter = jitter
        self.rescale = rescale
        self.layout: Layout = layout

    def points(self, places: Places) -> Float[Tensor, "*b n 2"]:
        """The coordinates of placed tokens, as in evaluation."""
        extent = places.extent
        if self.normalize == "min":
            extent = extent.amin(-1, keepdim=True)
        elif self.normalize == "max":
            extent = extent.amax(-1, keepdim=True)
        extent = extent[..., None, :]
        return (2 * places.positions + (1 - extent)) / extent

    @override
    def rotate(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads m d"]]:
        waves = dinov3_waves(q.shape[-1], base=self.base, device=q.device)[:, None]
        points_of: Callable[[Places], Tensor] = self.points
        if self.training and not (self.shift is self.jitter is self.rescale is None):
            scale, offset = augment_coordinates(
                shift=self.shift, jitter=self.jitter, rescale=self.rescale, device=q.device
            )
            points_of = lambda at: self.points(at) * scale + offset  # noqa: E731 - one draw for both

        return rotate_by_waves(q, k, waves, places, key_places, points_of, self.layout)

    def __repr__(self) -> str:
        return (
            f"RotaryDINOv3(base={self.base}, normalize={self.normalize!r}, shift={self.shift}, "
            f"jitter={self.jitter}, rescale={self.rescale}, layout={self.layout!r})"
        )
