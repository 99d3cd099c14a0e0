"""The relative attention of Transformer-XL on maps, arXiv 1901.02860.

`(q + u) . k + (q + v) . W R`, where `R` is the sinusoidal code of the offset of query from key;
here of both its axes, half the channels each, as `sinusoidal2d` orders them. A sine of a difference
is two products of sines of the places, and the axes are separate sums: `R` is never formed, and
places need be neither whole nor on a lattice.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._offsets import require_positive, require_std, start
from visionpe.encodings._unwatched import transformed
from visionpe.encodings.attention import AttentionEncoding, pad_logits, placed
from visionpe.encodings.precision import exactly, wide_dtype
from visionpe.encodings.sinusoid import require_temperature, sinusoid
from visionpe.encodings.sinusoidal_orders import require_width
from visionpe.places import Places


def transformer_xl_bias(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    weight: Float[Tensor, "heads d width"],
    content_bias: Float[Tensor, "heads d"],
    position_bias: Float[Tensor, "heads d"],
    places: Places,
    key_places: Places,
    *,
    scale: float,
    temperature: float = 10000.0,
) -> Float[Tensor, "b heads n m"]:
    """What the paper adds to `scale * q . k`: `scale * (u . k + (q + v) . W R)`.

    `n width` products for each query, and on a lattice of keys `(h + w) width / 2` more.

    Args:
        q, k: queries and keys, with those that have no place; their terms are 0.
        weight: `W`, from the code to a head.
        content_bias, position_bias: `u` and `v`.
        places, key_places: where queries and keys sit.
        scale: of the logits.
        temperature: the longest wavelength of the code, in units of 2 pi cells.

    >>> zero = torch.zeros(1, 1)
    >>> cosines = torch.tensor([[[0.0, 1.0, 0.0, 1.0]]])  # of the row offset and the column offset
    >>> q, two = torch.ones(1, 1, 2, 1), Places.of(1, 2)
    >>> transformer_xl_bias(q, q, cosines, zero, zero, two, two, scale=1.0)
    tensor([[[[2.0000, 1.5403],
              [1.5403, 2.0000]]]])
    """
    q, k = placed(q, places), placed(k, key_places)
    weight, u = (scale * weight).to(q.dtype), (scale * content_bias).to(q.dtype)
    content = k @ u[..., None]  # b heads m 1
    coded = (q + position_bias.to(q.dtype)[:, None]) @ weight  # b heads n width
    grid = key_places.shape or (k.shape[-2], 1)
    precise = wide_dtype(q)
    here, there = (_batched(part.positions).to(precise) for part in (places, key_places))
    rows, columns = there.unbind(-1)  # b m
    if key_places.shape is not None:  # y is the same along a row, x down a column
        rows, columns = rows.unflatten(-1, grid)[..., 0], columns.unflatten(-1, grid)[:, 0]
    with exactly(q.device):
        by_row, by_column = (
            _axis_logits(part, here[..., axis], keys, temperature)
            for axis, (part, keys) in enumerate(
                zip(coded.to(precise).chunk(2, -1), (rows, columns), strict=True)
            )
        )
        # b heads n h 1 and b heads n 1 w of a lattice, else both b heads n m 1
        across = by_column[..., None] if key_places.shape is None else by_column[..., None, :]
        position = by_row[..., None] + across
        content = content.to(precise).mT.unflatten(-1, grid)  # b heads 1 r c
        # A fresh sum: in place is one pass over memory less, but `vmap` over the keys refuses it.
        bias = (position + content if transformed() else position.add_(content)).flatten(-2)
    return pad_logits(bias.to(q.dtype), places, key_places)


@final
class TransformerXL(AttentionEncoding):
    """Adds the position terms of Transformer-XL to the logits, for offsets of two axes.

    `heads head_dim (width + 2)` parameters, for maps of any size. Tokens without a place take no
    part, in the content term `u . k` neither.

    Args:
        heads: number of heads.
        head_dim: width of a head.
        width: of the code of offsets, a multiple of 4; `head_dim` by default. The paper's is the
            width of the model.
        temperature: the longest wavelength of the code, in units of 2 pi cells.
        std: of the truncated normal distribution that the parameters start from; by default they
            are zero and the layer changes nothing. 0.02 is the authors'.

    Attributes:
        weight: `W`, `heads head_dim width`.
        content_bias, position_bias: `u` and `v`, `heads head_dim`. While `weight` is zero, the
            gradient of `v` is zero: with `std=0` it starts to learn in the second step.

    Raises:
        ValueError: if `heads` or `head_dim` is below 1, `width` is not a multiple of 4,
            `temperature` not positive or `std` negative.

    >>> TransformerXL(2, 8).weight.shape
    torch.Size([2, 8, 8])
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        *,
        width: int | None = None,
        temperature: float = 10000.0,
        std: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive("heads", heads)
        require_positive("head_dim", head_dim)
        width = head_dim if width is None else width
        require_width(width)
        require_temperature(temperature)
        require_std(std)
        self.heads: int = heads
        self.head_dim: int = head_dim
        self.width = width
        self.temperature = temperature
        self.std = std
        self.weight = nn.Parameter(torch.empty(heads, head_dim, width))
        self.content_bias = nn.Parameter(torch.empty(heads, head_dim))
        self.position_bias = nn.Parameter(torch.empty(heads, head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The parameters as they start."""
        for parameter in self.parameters():
            start(parameter, self.std)

    @override
    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"]:
        """All terms but `scale * q . k`."""
        return transformer_xl_bias(
            q,
            k,
            self.weight,
            self.content_bias,
            self.position_bias,
            places.to(q.device),
            key_places.to(q.device),
            scale=scale,
            temperature=self.temperature,
        )

    def __repr__(self) -> str:
        return (
            f"TransformerXL({self.heads}, {self.head_dim}, width={self.width}, "
            f"temperature={self.temperature}, std={self.std})"
        )


def _axis_logits(
    coded: Float[Tensor, "b heads n d"],
    here: Float[Tensor, "#b n"],
    keys: Float[Tensor, "#b r"],
    temperature: float,
) -> Float[Tensor, "b heads n r"]:
    """`coded . [sin(w (here - keys)), cos(w (here - keys))]`, by the sines of the places."""
    width = coded.shape[-1]
    q_sin, q_cos = sinusoid(here, width, temperature=temperature).movedim(1, -1)[:, :, None]
    k_sin, k_cos = sinusoid(keys, width, temperature=temperature).movedim(1, -1)[:, :, None]
    of_sin, of_cos = coded.chunk(2, -1)  # b heads n bands
    turned = torch.cat([of_cos * q_sin - of_sin * q_cos, of_cos * q_cos + of_sin * q_sin], -1)
    return turned @ torch.cat([k_sin, k_cos], -1).mT


def _batched(positions: Tensor) -> Tensor:
    return positions if positions.dim() > 2 else positions[None]
