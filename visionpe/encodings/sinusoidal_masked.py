"""DETR's sinusoids, which count the cells that are not padding: arXiv 2005.12872.

Images of different sizes are padded to one size and come with a mask; positions run from the first
valid cell to the last, whatever the padding. The frame of a padded image knows the mask:
`visionpe.inside(h, w, frame)` is True where a cell lies in the image. (DETR's own masks are the
opposite: True on padding.)
"""

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from visionpe.encodings.base import MapEncoding, require_batch, require_floating
from visionpe.encodings.precision import widest_dtype
from visionpe.encodings.sinusoid import require_temperature, sinusoid
from visionpe.encodings.sinusoidal_orders import require_width
from visionpe.frame import Frame
from visionpe.grids import inside

_EPSILON = 1e-6  # DETR's, in the denominator: a line of padding alone is divided by it


def sinusoidal2d_detr(
    mask: Bool[Tensor, "*b h w"],
    width: int,
    *,
    temperature: float = 10000.0,
    offset: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*b d h w"]:
    """DETR's code of a masked map: `2 pi (count + offset) / (last + 1e-6)`, in sines and cosines.

    `count` is 1 at the first valid cell of a column (for y) or row (for x), `last` what it comes
    to. Channels are y's, then x's, sine and cosine of one wave side by side.

    Args:
        mask: True where a cell is in the image, False on padding, as `visionpe.inside` gives it.
        width: number of channels, a multiple of 4.
        temperature: the wavelength that the waves approach, in units of the image's own.
        offset: added to the count: 0 in DETR, DAB-DETR and DN-DETR, where the last valid cell is
            at 2 pi; -0.5 in Deformable DETR, where cells are at their centres.
        dtype: of the result.

    Padding behind the image takes its last valid cell's code, and a line of padding alone that of
    `offset / 1e-6`: what follows should mask it.

    Raises:
        ValueError: if `width` is not a multiple of 4, or `temperature` not positive.

    >>> mask = torch.tensor([[True, True, False]])
    >>> code = sinusoidal2d_detr(mask, 4)
    >>> [[round(value, 4) + 0.0 for value in row] for row in code[2:, 0].tolist()]  # pi, 2 pi
    [[0.0, 0.0, 0.0], [-1.0, 1.0, 1.0]]
    """
    require_width(width)
    precise = widest_dtype(mask.device)
    halves = []
    for axis in (-2, -1):
        count = mask.cumsum(axis).to(precise)
        last = count.narrow(axis, mask.shape[axis] - 1, 1)
        angle = (count + offset) / (last + _EPSILON) * (2 * math.pi)
        waves = sinusoid(angle, width // 2, temperature=temperature)  # 2 bands *b h w
        halves.append(waves.transpose(0, 1).flatten(0, 1).movedim(0, -3))  # *b (bands 2) h w
    return torch.cat(halves, -3).to(dtype)


@final
class MaskedSinusoidal2d(MapEncoding):
    """Adds DETR's code to a map whose padding is known from its frame, or from a mask.

    The code belongs to the valid part of the view, not to the original image: a crop counts from
    its own first cell. For a code that survives crops, use `Sinusoidal2d`, which the frame's
    padding does not move either.

    Args:
        temperature: the wavelength that the waves approach, in units of the image's own.
        offset: added to the count; -0.5 for Deformable DETR.

    Raises:
        ValueError: if `temperature` is not positive; at the call, if the map's channels are not a
            multiple of 4.

    >>> padded = Frame.identity(1, 2).pad(right=1)
    >>> code = MaskedSinusoidal2d()(torch.zeros(1, 4, 1, 3), padded)[0, 3, 0]
    >>> [round(value, 4) for value in code.tolist()]
    [-1.0, 1.0, 1.0]
    """

    def __init__(self, *, temperature: float = 10000.0, offset: float = 0.0) -> None:
        super().__init__()
        require_temperature(temperature)
        self.temperature = temperature
        self.offset = offset

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        frame: Frame | None = None,
        *,
        mask: Bool[Tensor, "#b h w"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The map with the code added, in the map's dtype.

        Args:
            x: a feature map.
            frame: where the map sits in its image; cells outside the image are padding.
            mask: cells that are not padding; with a frame, those that are valid by both count.
        """
        require_batch(frame, x.shape[0])
        require_floating("x", x)
        h, w = x.shape[-2:]
        valid = mask
        if frame is not None:
            seen = inside(h, w, frame).to(x.device)
            valid = seen if valid is None else seen & valid
        if valid is None:
            valid = torch.ones(h, w, dtype=torch.bool, device=x.device)
        return x + sinusoidal2d_detr(
            valid, x.shape[1], temperature=self.temperature, offset=self.offset, dtype=x.dtype
        )

    @override
    def out_channels(self, in_channels: int) -> int:
        require_width(in_channels)
        return in_channels

    def __repr__(self) -> str:
        return f"MaskedSinusoidal2d(temperature={self.temperature}, offset={self.offset})"
