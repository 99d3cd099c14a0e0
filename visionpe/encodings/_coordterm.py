"""What coordinate channels add to a convolution, cheaply.

The term has no batch axis. On a whole image it also separates: the y channel is constant along a
row, so apart from the border columns all columns of its convolution are the same. It is computed on
a plane a few columns wide (the x channel's on one a few rows high) and added in place. That saves
the map, which for one image is as large as the result; for a large batch the map is small and one
pass over the result is better than two.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings._cache import cached_numbers, parts
from visionpe.encodings._convolve import Geometry, convolve
from visionpe.encodings._unwatched import transformed
from visionpe.encodings.precision import exactly


class Strip(NamedTuple):
    """A map whose columns are all the same but for a few at either end.

    Attributes:
        values: `o h n`: the first columns, one for the middle, the last columns.
        first: how many first columns.
    """

    values: Float[Tensor, "o h n"]
    first: int

    def parts(self, view: Tensor) -> "list[tuple[Tensor, Tensor]]":
        """The slices of maps `... o h w` beside the columns that belong to them."""
        ends = [self.first, view.shape[-1] - self.values.shape[-1] + self.first + 1]
        columns = self.values.tensor_split([self.first, self.first + 1], -1)
        return list(zip(view.tensor_split(ends, -1), columns, strict=True))

    def laid(self, layout: torch.memory_format) -> "Strip":
        """The same, each column in the memory order of maps of this layout."""
        if layout is torch.contiguous_format:
            columns = self.values.permute(2, 0, 1).contiguous()  # n o h
            return Strip(columns.permute(1, 2, 0), self.first)
        columns = self.values.permute(2, 1, 0).contiguous()  # n h o
        return Strip(columns.permute(2, 1, 0), self.first)

    def between(self, places: slice, length: int) -> Float[Tensor, "o h m"]:
        """These columns of `length`; one stands for all where they are the same."""
        size = self.values.shape[-1]
        end = length - size + self.first + 1
        if self.first <= places.start and places.stop <= end:
            return self.values[..., self.first : self.first + 1]
        i = torch.arange(places.start, places.stop, device=self.values.device)
        return self.values[..., torch.where(i < end, i.clamp(max=self.first), i - length + size)]


def separates(shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether strips are the cheaper form for a result `b o h w`, and exact in its dtype."""
    if transformed() or dtype not in (torch.float32, torch.float64):
        return False
    few = 0 < shape[0] < 32  # beyond, a map is less than 3 % of the result
    return few and math.prod(shape[1:]) > 2**19  # below, it is cheap whatever its share


def strip(
    column: Float[Tensor, " h"],
    width: int,
    weight: Float[Tensor, "o 1 kh kw"],
    geometry: Geometry,
) -> Strip:
    """The convolution of a plane `h x width` all of whose columns are `column`."""
    stride, before, after = geometry.stride[1], geometry.before[1], geometry.after[1]
    kernel = geometry.dilation[1] * (weight.shape[-1] - 1) + 1
    first = -(-before // stride)  # the first output column that no padding reaches
    narrow = (first + 1) * stride + kernel + max(before, after)  # one column clear of both ends
    narrow = min(width, narrow + (width - narrow) % stride)  # the last window ends as it would
    plane = column[None, None, :, None].expand(1, 1, -1, narrow)
    values = _exact(plane, weight, geometry)[0]
    return Strip(values, min(first, values.shape[-1] - 1))


def coordinate_map(
    code: Float[Tensor, "*bds"], weight: Float[Tensor, "o d *k"], geometry: Geometry
) -> Float[Tensor, "b o *m"]:
    """The convolution of the coordinate channels `d *s` or `b d *s`, of one sample or of each."""
    if code.dim() < weight.dim():
        code = _batched(code) if torch.compiler.is_compiling() else code[None]
    return _exact(code, weight, geometry)


def tile(down: Strip, across: Strip, rows: slice, height: int) -> Float[Tensor, "o h w"]:
    """The sum of one strip and another, transposed, at some rows of a map of this height."""
    base = across.between(rows, height).mT
    here = Strip(down.values[:, rows], down.first)
    total = base + here.values[..., here.first : here.first + 1]
    (left, first), _, (right, last) = here.parts(total)
    (of_left, _), _, (of_right, _) = here.parts(base)
    left.copy_(of_left + first)
    right.copy_(of_right + last)
    return total


def add_map(y: Float[Tensor, "b o *s"], term: Float[Tensor, "d o *s"]) -> Tensor:
    """`y` plus a map of each sample or of all; `y` must be a fresh result, to change in place."""
    term = term.to(y.dtype)
    if transformed():
        return y + term
    if not torch.is_grad_enabled():
        return _add_map(y, term)
    result: Tensor = _AddMap.apply(y, term)
    return result


def add_strips(y: Float[Tensor, "b o h w"], rows: Strip, columns: Strip) -> Tensor:
    """Adds `rows` and, transposed, `columns` to `y` in place; `y` must be a fresh result."""
    result: Tensor = _AddStrips.apply(y, rows.values, columns.values, rows.first, columns.first)
    return result


def _batched(code: Tensor) -> Tensor:
    """`code[None]`, but no view: torch 2.10 keeps none with open sizes for the gradient."""
    return torch.cat([channel[None, None] for channel in code.unbind(0)], 1)


def _exact(code: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution of coordinates in their own dtype, whatever the weights' or autocast's."""
    with exactly(code.device):
        return convolve(code, weight.to(code.dtype), None, geometry)


class _AddMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, term: Tensor) -> Tensor:
        ctx.mark_dirty(y)
        ctx.shared = term.shape[0] == 1
        return _add_map(y, term)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        if not ctx.needs_input_grad[1]:
            return grad, None
        return grad, _batch_sum(grad)[None] if ctx.shared else grad

    @staticmethod
    def jvp(ctx: Any, y: Tensor, term: Tensor) -> Tensor:
        return y.add_(term)


class _AddStrips(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, rows: Tensor, columns: Tensor, left: int, top: int) -> Tensor:
        ctx.mark_dirty(y)
        ctx.left, ctx.top, ctx.sizes = left, top, (rows.shape[-1], columns.shape[-1])
        return _add_strips(y, rows, columns, left, top)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not any(ctx.needs_input_grad[1:3]):
            return grad, None, None, None, None
        total = _batch_sum(grad)
        rows = _collapse(total, ctx.left, ctx.sizes[0])
        columns = _collapse(total.mT, ctx.top, ctx.sizes[1])
        return grad, rows, columns, None, None

    @staticmethod
    def jvp(ctx: Any, y: Tensor, rows: Tensor, columns: Tensor, left: None, top: None) -> Tensor:
        return _add_strips(y, rows, columns, ctx.left, ctx.top)


def _add_map(y: Tensor, term: Tensor) -> Tensor:
    return y.add_(term if y.dim() != 4 else term.contiguous(memory_format=_format(y)))


def _add_strips(y: Tensor, rows: Tensor, columns: Tensor, left: int, top: int) -> Tensor:
    down, across = Strip(rows, left).laid(_format(y)), Strip(columns, top).laid(_format(y))
    batch, o, _, w = y.shape
    if batch > 1:
        for view, part in (*down.parts(y), *across.parts(y.mT)):
            view.add_(part)
        return y
    start = 0
    for turned, line in across.parts(y.mT):  # the first rows, those that are alike, the last
        view, of_rows = turned.mT, line.mT  # 1 o m w, o m w or o 1 w
        alike = of_rows.shape[1] == 1
        for some in parts(view.shape[2], cached_numbers() // (o * w)):
            block = view[:, :, some]  # stays in the cache until both are added
            block += of_rows if alike else of_rows[:, some]
            here = down.values[:, start + some.start : start + some.stop]
            for piece, column in Strip(here, down.first).parts(block):
                piece += column
        start += view.shape[2]
    return y


def _collapse(total: Tensor, first: int, size: int) -> Tensor:
    """The transpose of adding a strip: the middle columns summed into one."""
    left, middle, right = total.tensor_split([first, total.shape[-1] - size + first + 1], -1)
    # Summed in the order it lies in memory: in another it takes twenty times as long.
    if total.stride(0) == 1:
        middle = middle.permute(1, 2, 0).sum(1).mT[..., None]  # o h w -> h w o -> h o -> o h 1
    else:
        middle = middle.sum(-1, keepdim=True)
    return torch.cat([left, middle, right], -1)


def _batch_sum(grad: Float[Tensor, "b o *s"]) -> Float[Tensor, "o *s"]:
    """`grad.sum(0)` as a matrix product: many times faster where channels come last."""
    b = grad.shape[0]
    if b == 1:
        return grad[0]
    ones = grad.new_ones(b)
    if grad.dim() == 4 and _format(grad) is torch.channels_last:
        rows = grad.permute(0, 2, 3, 1)  # b o h w -> b h w o, a view
        return (ones @ rows.flatten(1)).view(rows.shape[1:]).permute(2, 0, 1)
    return (ones @ grad.flatten(1)).view(grad.shape[1:])


def _format(y: Tensor) -> torch.memory_format:
    last = y.is_contiguous(memory_format=torch.channels_last) and not y.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
