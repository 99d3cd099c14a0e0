"""The first block of StyleGAN's synthesis network, arXiv 1812.04948: from a constant, by styles.

What follows every layer there: noise, bias, leaky ReLU, and AdaIN. From the paper's text and
formulas; the paper's scaling of weights by their own size at run time is left out.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.encodings.constant import LearnedConstant


class NoiseInjection(nn.Module):
    """Adds one map of Gaussian noise to all channels, each with a learned strength, from zero.

    >>> NoiseInjection(2)(torch.ones(1, 2, 1, 1)).flatten().tolist()
    [1.0, 1.0]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the strengths to zero, as at construction."""
        nn.init.zeros_(self.strength)

    def forward(
        self, x: Float[Tensor, "b c h w"], noise: Float[Tensor, "#b 1 h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The noisy map; the noise is drawn anew at each call unless it is given."""
        noise = torch.randn_like(x[:, :1]) if noise is None else noise.to(x.dtype)
        return x + self.strength.to(x.dtype)[:, None, None] * noise


class AdaIN(nn.Module):
    """Normalises each channel of each sample over its cells, then scales and shifts it by style.

    `s (x - mean) / deviation + t`, `(s, t)` an affine function of the latent whose biases start at
    1 and 0, as in the paper.

    Args:
        channels: of the map.
        latent: width of the latent `w`.

    >>> style = AdaIN(1, 1)
    >>> style(torch.tensor([[[[1.0, 3.0]]]]), torch.zeros(1, 1)).flatten().round().tolist()
    [-1.0, 1.0]
    """

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.style = _Style(latent, 2 * channels)

    def forward(
        self, x: Float[Tensor, "b c h w"], latent: Float[Tensor, "b z"]
    ) -> Float[Tensor, "b c h w"]:
        """The map in the style of the latent."""
        scale, shift = self.style(latent)[:, :, None, None].chunk(2, 1)
        # In float32 or better: 1e-8 is nothing in half precision.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide - wide.mean((2, 3), keepdim=True)
        wide = wide * (wide.square().mean((2, 3), keepdim=True) + 1e-8).rsqrt()
        result: Tensor = scale.to(x.dtype) * wide.to(x.dtype) + shift.to(x.dtype)
        return result


class _Style(nn.Linear):
    """Scales, then shifts: the biases start at 1 and at 0, whoever resets them."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            rows = torch.arange(self.out_features, device=self.bias.device)
            self.bias.copy_(2 * rows < self.out_features)


class Styled(nn.Module):
    """What follows a layer: noise, bias, leaky ReLU of slope 0.2, AdaIN.

    >>> Styled(2, 3)(torch.randn(1, 2, 4, 5), torch.zeros(1, 3)).shape
    torch.Size([1, 2, 4, 5])
    """

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.noise = NoiseInjection(channels)
        self.bias = nn.Parameter(torch.empty(channels))
        self.adain = AdaIN(channels, latent)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the bias to zero, as at construction."""
        nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        latent: Float[Tensor, "b z"],
        noise: Float[Tensor, "#b 1 h w"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The map, noisy and in style."""
        x = self.noise(x, noise) + self.bias.to(x.dtype)[:, None, None]
        result: Tensor = self.adain(F.leaky_relu(x, 0.2), latent)
        return result


class FirstBlock(nn.Module):
    """The first block of the synthesis network: constant, style, 3x3 convolution, style.

    Args:
        channels, h, w: of the constant; the paper's are 512, 4, 4.
        latent: width of the latent `w`.

    >>> FirstBlock(4, latent=3)(torch.zeros(2, 3)).shape
    torch.Size([2, 4, 4, 4])
    """

    def __init__(self, channels: int = 512, h: int = 4, w: int = 4, *, latent: int = 512) -> None:
        super().__init__()
        self.constant = LearnedConstant(channels, h, w)
        self.styled1 = Styled(channels, latent)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)  # `Styled` has one
        self.styled2 = Styled(channels, latent)

    def forward(self, latent: Float[Tensor, "b z"]) -> Float[Tensor, "b c h w"]:
        """The map that the next block doubles."""
        x = self.styled1(self.constant(latent), latent)
        result: Tensor = self.styled2(self.conv(x), latent)
        return result
