"""Rotary encoding by learned rotations of many channels: LieRE, arXiv 2406.10322.

The rotation at a place is `exp(y A_y + x A_x)`, `A` learned skew-symmetric matrices of `block`
channels a side. Blocks of 2 are RoPE-Mixed; from 3 on the matrices need not commute, and then a
product of query and key depends on both places, not on their difference alone. The
image counts as [0, 1] from edge to edge, at every size or, with `unit`, at that of training; the
released code does the latter, from the first cell's centre to the last's.
"""

from collections.abc import Callable
from typing import Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from typing_extensions import override

from visionpe.encodings._skew_exp import skew_exp
from visionpe.encodings.attention import AttentionEncoding, placed
from visionpe.encodings.precision import exactly, kept_precise, wide_dtype
from visionpe.encodings.rotary_waves import exact_places
from visionpe.grids import require_pair
from visionpe.places import Places

Init = Literal["zero", "uniform"]


def skew_symmetric(upper: Float[Tensor, "*b entries"], block: int) -> Float[Tensor, "*b s s"]:
    """The skew-symmetric matrix that has these entries above its diagonal, row by row.

    >>> skew_symmetric(torch.tensor([1.0, 2.0, 3.0]), 3).tolist()
    [[0.0, 1.0, 2.0], [-1.0, 0.0, 3.0], [-2.0, -3.0, 0.0]]
    """
    i = torch.arange(block, device=upper.device)
    first, last = torch.minimum(i[:, None], i), torch.maximum(i[:, None], i)
    entry = first * (2 * block - first - 1) // 2 + last - first - 1  # s s; any on the diagonal
    sign = torch.sign(i - i[:, None]).to(upper.dtype)
    entries: Tensor = upper.index_select(-1, entry.clamp(min=0).flatten())
    square: Tensor = entries.unflatten(-1, (block, block))
    return square * sign


def liere_rotations(
    points: Float[Tensor, "*b n 2"], generators: Float[Tensor, "2 heads blocks s s"]
) -> Float[Tensor, "*b heads n blocks s s"]:
    """The rotation matrices `exp(y A_y + x A_x)` of all heads and blocks at each place.

    Args:
        points: places `(y, x)`.
        generators: `A_y` and `A_x`, skew-symmetric.

    Returns:
        The matrices in the generators' dtype, computed in float32 or better.

    >>> quarter = torch.pi / 2 * skew_symmetric(torch.tensor([[1.0], [0.0]]), 2)
    >>> liere_rotations(torch.tensor([[1.0, 5.0]]), quarter[:, None, None]).round().abs().tolist()
    [[[[[0.0, 1.0], [1.0, 0.0]]]]]
    """
    precise = wide_dtype(generators)
    at = points.to(precise)[..., None, :, :, None, None, None]  # *b 1 n 2 1 1 1
    y, x = generators.to(precise)[:, :, None]  # heads 1 blocks s s
    with exactly(generators.device):
        rotations = skew_exp(at[..., 0, :, :, :] * y + at[..., 1, :, :, :] * x)
    return rotations.to(generators.dtype)


@final
class LieRE(AttentionEncoding):
    """Turns blocks of channels of queries and keys by learned rotations of any plane.

    Costs a matrix exponential for each token, head and block, and keeps their rotations for the
    backward pass; samples share those of places that they have in common. They are products of
    matrices in float32 or better: `torch.set_float32_matmul_precision` moves them on a GPU.

    Args:
        heads: number of heads.
        head_dim: width of a head, a multiple of `block`.
        block: side of the rotations: 8 and 64 are the paper's LieRE_8 and LieRE_64.
        init: "zero" starts as the identity; "uniform" as in the paper, entries in [0, 2 pi).
        unit: `(rows, columns)` of cells that count as 1, at best those of the images in training:
            larger images then reach beyond 1, and two cells side by side turn alike in all, as in
            the paper's tests at other sizes. By default the whole image counts as 1 at every size.

    Attributes:
        upper: `2 heads blocks entries`; the generators' entries above the diagonal, for y and x.
            They stay in float32 or better when the model is cast to half precision.

    Raises:
        ValueError: if `head_dim` is no multiple of `block`, `block` is below 2, `heads` or one of
            `unit` below 1, or `init` unknown.

    >>> q = torch.randn(1, 2, 6, 8)
    >>> places = Places.of(2, 3)
    >>> bool((LieRE(2, 8).rotate(q, q, places, places)[0] == q).all())
    True
    """

    heads: int
    head_dim: int

    def __init__(
        self,
        heads: int,
        head_dim: int,
        *,
        block: int = 8,
        init: Init = "zero",
        unit: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"`heads` must be at least 1, but is {heads}.")
        if block < 2:
            raise ValueError(f"`block` must be at least 2 channels, but is {block}.")
        if head_dim < block or head_dim % block:
            raise ValueError(
                f"`head_dim` (the width of a head) must be a multiple of `block`, {block}, "
                f"but is {head_dim}."
            )
        if init not in ("zero", "uniform"):
            raise ValueError(f'`init` must be "zero" or "uniform", but is "{init}".')
        if unit is not None:
            require_pair("unit", unit)
        if unit is not None and min(unit) < 1:
            raise ValueError(f"`unit` must be at least 1 cell an axis, but is {tuple(unit)}.")
        self.heads = heads
        self.head_dim = head_dim
        self.block = block
        self.init: Init = init
        self.unit = unit
        entries = block * (block - 1) // 2
        self.upper = nn.Parameter(
            torch.empty(2, heads, head_dim // block, entries, dtype=torch.float32)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts again: with the identity, or with the paper's random rotations."""
        if self.init == "zero":
            nn.init.zeros_(self.upper)
        else:
            nn.init.uniform_(self.upper, 0, 2 * torch.pi)

    @override
    def rotate(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads m d"]]:
        with exactly(q.device):
            precise = torch.promote_types(q.dtype, self.upper.dtype)
            generators = skew_symmetric(self.upper.to(precise), self.block)
            rotations = _rotations(self._points(places, q), generators)
            turned = _turn(q, rotations, places)
            if key_places is not places:
                rotations = _rotations(self._points(key_places, q), generators)
            return turned, _turn(k, rotations, key_places)

    def _points(self, places: Places, x: Tensor) -> Float[Tensor, "*b n 2"]:
        """The places of tokens, in images or in units."""
        exact = exact_places(places, x)
        if self.unit is None:
            return (exact.coordinates() + 1) / 2
        unit = torch.tensor(self.unit, device=x.device, dtype=exact.positions.dtype)
        return (exact.positions + 0.5) / unit  # edges on edges

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LieRE":
        super()._apply(kept_precise(fn, self.upper), recurse)  # type: ignore[no-untyped-call]
        return self

    def __repr__(self) -> str:
        return (
            f"LieRE({self.heads}, {self.head_dim}, block={self.block}, init={self.init!r}, "
            f"unit={self.unit})"
        )


def _rotations(
    points: Float[Tensor, "*b n 2"], generators: Float[Tensor, "2 heads blocks s s"]
) -> Float[Tensor, "*b heads n blocks s s"]:
    """`liere_rotations`; of samples with places of their own, each place that they share once."""
    seen = not (points.is_meta or points.requires_grad or torch.compiler.is_compiling())
    if points.dim() == 2 or not seen:
        return liere_rotations(points, generators)
    distinct, index = _distinct(points.flatten(0, -2))
    rotations = liere_rotations(distinct, generators).index_select(1, index)
    each: Tensor = rotations.unflatten(1, points.shape[:-1]).movedim(1, 0)
    return each


def _distinct(points: Float[Tensor, "n 2"]) -> tuple[Float[Tensor, "m 2"], Int64[Tensor, " n"]]:
    """The different ones among the points, and which of them each is.

    >>> _distinct(torch.tensor([[1.0, 2.0], [1.0, 0.0], [1.0, 2.0]]))[1].tolist()
    [1, 0, 1]
    """
    # By axes: `torch.unique` of pairs compares them one by one, and takes twenty times as long.
    (ys, y), (xs, x) = (torch.unique(axis, return_inverse=True) for axis in points.unbind(-1))
    pairs, index = torch.unique(y * len(xs) + x, return_inverse=True)
    width = max(len(xs), 1)
    return torch.stack([ys[pairs // width], xs[pairs % width]], -1), index


def _turn(x: Tensor, rotations: Tensor, places: Places) -> Tensor:
    """The placed tokens, block by block, multiplied by their rotations."""
    blocks = placed(x, places).to(rotations.dtype).unflatten(-1, rotations.shape[-3:-1])
    # Rotations without a batch axis are not repeated: samples are the rows of one product.
    formula = "bhnks,hnkts->bhnkt" if rotations.dim() == 5 else "bhnks,bhnkts->bhnkt"
    if rotations.dim() == 6 and rotations.shape[0] == 1:
        formula, rotations = "bhnks,hnkts->bhnkt", rotations[0]
    turned = torch.einsum(formula, blocks, rotations).flatten(-2).to(x.dtype)
    if not places.prefix and not places.suffix:
        return turned
    end = x.shape[-2] - places.suffix
    return torch.cat([x[..., : places.prefix, :], turned, x[..., end:, :]], -2)
