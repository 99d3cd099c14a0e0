"""The pre-norm transformer block of arXiv 2010.11929, its position encodings given at the call."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor, nn

from visionpe.encodings.attention import AttentionEncoding, attend
from visionpe.places import Places


class Attention(nn.Module):
    """Multi-head self-attention, with whatever encodings are given at the call.

    >>> import torch
    >>> Attention(8, 2)(torch.zeros(1, 6, 8), Places.of(2, 3)).shape
    torch.Size([1, 6, 8])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        places: Places,
        encodings: Sequence[AttentionEncoding] = (),
        mask: Bool[Tensor, "b 1 1 n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """The attended tokens."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = attend(q, k, v, encodings, places, mask=mask)  # b heads n d
        result: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`.

    >>> import torch
    >>> Block(8, 2)(torch.zeros(1, 6, 8), Places.of(2, 3)).shape
    torch.Size([1, 6, 8])
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        places: Places,
        encodings: Sequence[AttentionEncoding] = (),
        mask: Bool[Tensor, "b 1 1 n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """The tokens, one block further."""
        x = x + self.attn(self.norm1(x), places, encodings, mask)
        result: Tensor = x + self.mlp(self.norm2(x))
        return result
