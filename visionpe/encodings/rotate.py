"""Rotation of pairs of channels by angles, arXiv 2104.09864 (RoFormer), in both layouts of pairs.

`interleaved` pairs neighbours, `(0, 1), (2, 3), ...`, as RoFormer and RoPE-ViT do; `half` pairs a
channel with the one half a head further, as DINOv3 does. `visionpe.encodings.rotary_layout`
converts weights from one to the other. Rotations are made in float32 or better, and returned in
the input's dtype: by one complex product, or in real numbers where a graph is captured, as
exporters know no complex numbers.
"""

from typing import Any, Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from visionpe.encodings._unwatched import unwatched
from visionpe.encodings.precision import wide_dtype

Layout = Literal["interleaved", "half"]


def rotate(
    x: Float[Tensor, "*b n d"], angles: Float[Tensor, "*#b n pairs"]
) -> Float[Tensor, "*b n d"]:
    """Turns channels `2i` and `2i + 1` by angle `i`: `(a, b)` to `(a cos - b sin, b cos + a sin)`.

    Args:
        x: queries or keys, of an even width.
        angles: in radians, one for each pair of channels; axes before `n` may be left out or 1.

    Raises:
        ValueError: if `x` has no two channels for each angle.

    >>> rotate(torch.tensor([[1.0, 0.0]]), torch.tensor([[torch.pi / 2]])).round().tolist()
    [[-0.0, 1.0]]
    """
    _require_pairs(x, angles)
    if torch.compiler.is_compiling():
        return turn_in_reals(x, angles.cos(), angles.sin(), "interleaved")
    return turn(x, torch.polar(torch.ones_like(angles), angles))


def rotate_half(
    x: Float[Tensor, "*b n d"], angles: Float[Tensor, "*#b n pairs"]
) -> Float[Tensor, "*b n d"]:
    """Turns channels `i` and `i + d/2` by angle `i`; arguments as of `rotate`.

    >>> x = torch.tensor([[1.0, 2.0, 0.0, 0.0]])  # the pairs (1, 0) and (2, 0)
    >>> rotate_half(x, torch.tensor([[0.0, torch.pi]])).round().tolist()
    [[1.0, -2.0, 0.0, -0.0]]
    """
    _require_pairs(x, angles)
    return turn_in_reals(x, angles.cos(), angles.sin(), "half")


def turn(
    x: Float[Tensor, "*b n d"], phases: Complex[Tensor, "*#b n pairs"]
) -> Float[Tensor, "*b n d"]:
    """`rotate` by numbers on the unit circle, whose angles are the turns."""
    precise = wide_dtype(x)
    wide = x.to(precise)
    if (
        any(step % 2 for step in (*wide.stride()[:-1], wide.storage_offset()))
        or wide.stride(-1) != 1
    ):
        wide = wide.clone(memory_format=torch.contiguous_format)  # no pair may straddle numbers
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))  # *b n d -> *b n pairs
    return torch.view_as_real(pairs * phases.to(precise.to_complex())).flatten(-2).to(x.dtype)


def turn_in_reals(
    x: Float[Tensor, "*b n d"],
    cos: Float[Tensor, "*#b n pairs"],
    sin: Float[Tensor, "*#b n pairs"],
    layout: Layout,
) -> Float[Tensor, "*b n d"]:
    """`rotate`, or `rotate_half`, by cosines and sines of the turns: no complex numbers."""
    precise = wide_dtype(x)
    cos, sin = cos.to(precise), sin.to(precise)
    if layout == "half":
        if unwatched(cos, sin) and type(x) in (Tensor, nn.Parameter):
            turned: Tensor = _TurnHalves.apply(x, cos, sin)
            return turned
        a, b = x.to(precise).chunk(2, -1)
        halves = torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)
        return torch.cat(halves, -1).to(x.dtype)
    a, b = x.to(precise).unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2).to(x.dtype)


class _TurnHalves(torch.autograd.Function):
    """Turns by angles that learn nothing: the gradient is turned back, and `x` is not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.save_for_forward(cos, sin)
        wide = x.to(cos.dtype)
        a, b = wide.chunk(2, -1)
        out = wide * torch.cat([cos, cos], -1)
        first, second = out.chunk(2, -1)
        first.addcmul_(b, sin, value=-1)
        second.addcmul_(a, sin)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turn_in_reals(grad, cos, -sin, "half"), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *constant: Tensor | None) -> Tensor:
        cos, sin = ctx.saved_tensors
        return turn_in_reals(tangent, cos, sin, "half")


def _require_pairs(x: Tensor, angles: Tensor) -> None:
    if x.shape[-1] != 2 * angles.shape[-1]:
        raise ValueError(
            f"`x` must have two channels for each of the {angles.shape[-1]} angles, "
            f"but has {x.shape[-1]}."
        )
