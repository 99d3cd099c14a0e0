"""What an encoding of feature maps is."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from visionpe.frame import Frame


class MapEncoding(nn.Module, ABC):
    """Acts on a feature map, given where the map sits in its image.

    An encoding appends channels, adds to them or scales them; it takes its coordinates from
    `visionpe.grids` alone, for any `h x w`, on the map's device, and returns the map's dtype. It
    holds no table that depends on a size unless the table is learned.
    """

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
        return in_channels


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
