"""A penalty on distance, another slope for each head: ALiBi, arXiv 2108.12409, in two dimensions.

The distance is Euclidean, in cells, as in CROMA, arXiv 2311.00566.
"""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._offsets import heads_second, require_positive
from visionpe.encodings.attention import AttentionEncoding, pad_logits
from visionpe.encodings.precision import wide_dtype
from visionpe.places import Places


def alibi_slopes(
    heads: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " heads"]:
    """ALiBi's slopes: `2^(-8/heads)`, and its powers up to `2^-8`.

    If the number of heads is no power of two, as in the released code: those of the next lower
    power `p`, then every other one of those of `2p`, from the first on.

    Raises:
        ValueError: if `heads` is below 1.

    >>> alibi_slopes(8).tolist()
    [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]
    >>> alibi_slopes(3).tolist()
    [0.0625, 0.00390625, 0.25]
    """
    require_positive("heads", heads)
    power = 2 ** math.floor(math.log2(heads))
    exponents = [8 * i / power for i in range(1, power + 1)]
    exponents += [8 * i / (2 * power) for i in range(1, 2 * (heads - power), 2)]
    return torch.tensor([2.0**-exponent for exponent in exponents], device=device, dtype=dtype)


def alibi_bias(
    slopes: Float[Tensor, " heads"], places: Places, key_places: Places
) -> Float[Tensor, "#b heads n m"]:
    """`-slope * distance` for placed queries and keys, in the precision of the slopes.

    >>> slopes = torch.tensor([0.5])
    >>> alibi_bias(slopes, Places.of(1, 1), Places.at(torch.tensor([[3.0, 4.0]]), (4, 5)))
    tensor([[[[-2.5000]]]])
    """
    q, k = (part.positions.to(slopes.dtype) for part in (places, key_places))
    dy, dx = (q[..., :, None, axis] - k[..., None, :, axis] for axis in (0, 1))
    distance = (dy.square() + dx.square()).sqrt()  # *b n m; no `hypot`: it has no ONNX form
    return heads_second(-slopes.reshape(-1, *[1] * distance.dim()) * distance)


@final
class Alibi2d(AttentionEncoding):
    """Takes from the logits the distance between query and key, times the slope of the head.

    For places of any kind and number. Not the identity at the start: it has no parameters, or,
    learned, starts from the fixed slopes. Memory: `12 n m` bytes for distances and
    `heads n m` numbers, in float32 until the last step. Tokens without a place have no bias, and so
    count as near.

    Args:
        heads: number of heads.
        learned: make the slopes parameters, one a head.

    Raises:
        ValueError: if `heads` is below 1.

    >>> q = torch.ones(1, 1, 2, 4)
    >>> Alibi2d(1).bias(q, q, Places.of(1, 2), Places.of(1, 2), 0.5)[0, 0, 0].tolist()
    [-0.0, -0.00390625]
    """

    def __init__(self, heads: int, *, learned: bool = False) -> None:
        super().__init__()
        require_positive("heads", heads)
        self.heads: int = heads
        self.learned = learned
        if learned:
            self.slopes = nn.Parameter(torch.empty(heads))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """The slopes as they start."""
        if self.learned:
            with torch.no_grad():
                self.slopes.copy_(alibi_slopes(self.heads))

    @override
    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"]:
        """The bias; it looks at the places alone."""
        places, key_places = places.to(q.device), key_places.to(q.device)
        precise = wide_dtype(q)
        slopes = (
            self.slopes.to(precise)
            if self.learned
            else alibi_slopes(self.heads, device=q.device, dtype=precise)
        )
        bias = alibi_bias(slopes, places, key_places).to(q.dtype)
        return pad_logits(bias, places, key_places)

    def __repr__(self) -> str:
        return f"Alibi2d({self.heads}, learned={self.learned})"
