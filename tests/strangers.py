"""Other libraries' position encodings, made as `visionpe.check` wants them."""

from typing import Any

from positional_encodings.torch_encodings import (
    PositionalEncoding1D,
    PositionalEncoding2D,
)
from rotary_embedding_torch import (
    RotaryEmbedding,
    apply_rotary_emb,
)
from torch import Tensor, nn


def positional_encoding_1d() -> nn.Module:
    module: nn.Module = PositionalEncoding1D(64)
    return module


def positional_encoding_2d() -> nn.Module:
    module: nn.Module = PositionalEncoding2D(64)
    return module


def rotary_embedding() -> nn.Module:
    module: nn.Module = RotaryEmbedding(64)
    return module


class AxialPixel(nn.Module):
    """RotaryEmbedding as its README has it for images: `get_axial_freqs` of a map `b h w d`."""

    def __init__(self) -> None:
        super().__init__()
        self.rotary = RotaryEmbedding(16, freqs_for="pixel", max_freq=256)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        out: Tensor = apply_rotary_emb(self.rotary.get_axial_freqs(h, w), x)
        return out


STRANGERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "PositionalEncoding1D": (positional_encoding_1d, {"layout": "bnc", "channels": 64}),
    "PositionalEncoding2D": (positional_encoding_2d, {"layout": "bhwc", "channels": 64}),
    "RotaryEmbedding": (
        rotary_embedding,
        {
            "layout": "q",
            "heads": 2,
            "head_dim": 64,
            "method": "rotate_queries_or_keys",
            "offset": lambda y, x: {"offset": x},
        },
    ),
    "RotaryEmbedding, axial pixel": (AxialPixel, {"layout": "bhwc", "channels": 32}),
}
