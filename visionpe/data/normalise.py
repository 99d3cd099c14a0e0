"""Images with mean 0 and deviation 1 over their data set."""

from typing import final

import torch
from jaxtyping import Float32, Shaped
from torch import Tensor


@final
class Normalise:
    """Makes images float32, with the mean and deviation of each channel taken out.

    Args:
        mean, std: of each channel, for values in [0, 1].

    Raises:
        ValueError: if they differ in number, or a deviation is not positive.

    >>> Normalise((0.5,), (0.5,))(torch.tensor([[[0, 255]]], dtype=torch.uint8)).tolist()
    [[[-1.0, 1.0]]]
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if len(mean) != len(std) or not all(each > 0 for each in std):
            raise ValueError(
                f"`mean` and `std` must be one number a channel, `std` positive, but are {mean} "
                f"and {std}."
            )
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def __call__(self, images: Shaped[Tensor, "*b c h w"]) -> Float32[Tensor, "*b c h w"]:
        """Of uint8, or floats in [0, 1]."""
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        scale = (1 / (self.std * unit)).to(images.device)
        shift = (-self.mean / self.std).to(images.device)
        # A product of bytes and floats would convert them one by one.
        values = images.float() if images.dtype == torch.uint8 else images.clone()
        return values.mul_(scale).add_(shift)
