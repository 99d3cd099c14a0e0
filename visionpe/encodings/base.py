"""What an encoding of feature maps is, and one whose code is a function of the place alone."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.encodings._stored import stored
from visionpe.frame import Frame
from visionpe.places import Places, token_count


class MapEncoding(nn.Module, ABC):
    """Acts on a feature map, given where the map sits in its image.

    An encoding appends channels, adds to them or scales them; it takes its coordinates from
    `visionpe.grids` alone, for any `h x w`, on the map's device, and returns the map's dtype. It
    holds no table that depends on a size unless the table is learned.

    Attributes:
        channels: of the maps that it is made for; None: any.
    """

    channels: int | None = None

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d h w"]:
        """The encoded map.

        Args:
            x: a feature map.
            frame: where the map sits in its original image, with batch shape `b` or none; without
                it, the map is the whole image.
        """

    def out_channels(self, in_channels: int) -> int:
        """How many channels a map of `in_channels` has after the encoding.

        Raises:
            ValueError: if the encoding cannot act on so many channels.
        """
        require_channels(self, self.channels, in_channels)
        return in_channels


class PointEncoding(MapEncoding):
    """A map encoding that treats every cell by its own place, so that it acts on tokens as well.

    What it does to a cell depends on the cell's place and channels, not on its neighbours, their
    number or their order.
    """

    @abstractmethod
    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n d"]:
        """The encoded tokens; those without a place (`places.prefix`, `.suffix`) keep their value.

        An encoding that appends channels appends zeros to tokens without a place.

        Args:
            x: tokens, in any order and number.
            places: where they sit, with batch shape `b` or none.
        """


def require_channels(encoding: nn.Module, wanted: int | None, channels: int) -> None:
    """Refuses a map, or tokens, of other channels than the encoding is made for.

    Raises:
        ValueError: if they differ, and `wanted` is not None.
    """
    if wanted is not None and wanted != channels:
        raise ValueError(
            f"`x` must have the {wanted} channels that {type(encoding).__name__} is made for, "
            f"but has {channels}."
        )


def require_floating(name: str, x: Tensor) -> None:
    """Refuses a map, or tokens, of whole numbers, to which a code would be rounded.

    Raises:
        TypeError: if they are not floating point numbers.
    """
    if not x.is_floating_point():
        raise TypeError(
            f"`{name}` must hold floating point numbers, but holds {x.dtype}. "
            f"Convert it first: `{name}.float()`."
        )


def require_batch(frame: Frame | None, batch: int) -> None:
    """Refuses a frame that belongs to another number of samples.

    Raises:
        ValueError: if the frame has a batch axis, and neither 1 nor `batch` samples along it.
    """
    if frame is not None and frame.view.dim() > 1 and frame.view.shape[:-1] not in ((1,), (batch,)):
        raise ValueError(
            f"`frame` must hold one place for all or one for each of the {batch} samples, "
            f"but holds {frame.view.shape[:-1].numel()}."
        )


def require_tokens(name: str, x: Tensor, places: Places) -> None:
    """Refuses tokens that `places` do not describe: another number of them, or of samples.

    Args:
        name: of the argument, for the message.
        x: `b ... n d`.
        places: where the `n` tokens sit.

    Raises:
        TypeError: if the tokens are not floating point numbers.
        ValueError: if the numbers differ.
    """
    require_floating(name, x)
    if x.shape[-2] != token_count(places):
        raise ValueError(
            f"`{name}` must hold as many tokens as `places`, {places.tokens} "
            f"({places.prefix} + {places.positions.shape[-2]} + {places.suffix}), "
            f"but holds {x.shape[-2]}."
        )
    batch = places.positions.shape[:-2]
    if batch and batch not in ((1,), (x.shape[0],)):
        raise ValueError(
            f"`places` must hold one set for all or one for each of the {x.shape[0]} samples "
            f"of `{name}`, but holds {batch.numel()}."
        )


def pad_tokens(code: Float[Tensor, "*b n d"], places: Places) -> Float[Tensor, "*b m d"]:
    """The code of the placed tokens with zeros for those without a place before and behind."""
    if not places.prefix and not places.suffix:
        return code
    return nn.functional.pad(code, (0, 0, places.prefix, places.suffix))


def append_code(x: Float[Tensor, "b c h w"], code: Float[Tensor, "*b d h w"]) -> Tensor:
    """A map with a code behind it, in the map's dtype: `b c+d h w`."""
    return torch.cat([x, stored(code.to(x.dtype)).expand(x.shape[0], *code.shape[-3:])], 1)


def append_token_code(x: Float[Tensor, "b n c"], code: Float[Tensor, "*b n d"]) -> Tensor:
    """Tokens with a code behind them, in the tokens' dtype: `b n c+d`."""
    return torch.cat([x, stored(code.to(x.dtype)).expand(x.shape[0], *code.shape[-2:])], -1)
