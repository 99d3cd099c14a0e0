"""A stem's convolution with its coordinate term, in one pass over the result.

The result of a stem is many times as large as its image, and to move it costs about as much as to
compute it: the convolution writes it, a sum would read it and write it again. So, without
gradients, it is taken block by block, which stay in the cache until the sum is written; and where
channels are last in memory, oneDNN adds the convolution to the term that is there already. The
numbers are those of the plain sum but for the last bit, where torch takes another kernel for a
block.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visionpe.encodings._cache import cached_numbers, keep_pages, parts
from visionpe.encodings._convolve import Geometry, convolve, padded
from visionpe.encodings._coordterm import Strip, tile
from visionpe.encodings._unwatched import unwatched

_STEM = 4  # input channels at most: with more of them the arithmetic is what costs


class Stem:
    """A convolution that is computed when something is added to it; arguments as of `convolve`.

    Attributes:
        shape: `b o h w`, of the result.
        dtype: of the result.
    """

    def __init__(
        self,
        x: Float[Tensor, "b c h w"],
        weight: Float[Tensor, "o i kh kw"],
        bias: Float[Tensor, " o"] | None,
        geometry: Geometry,
        groups: int,
    ) -> None:
        self.x, self.weight, self.bias = x, weight, bias
        self.geometry, self.groups = geometry, groups
        h, w = geometry.result(tuple(x.shape[2:]), tuple(weight.shape[2:]))
        self.shape = (x.shape[0], weight.shape[0], h, w)
        self.dtype = x.dtype
        last = _channels_last(x) or _channels_last(weight)
        self.layout = torch.channels_last if last else torch.contiguous_format

    @staticmethod
    def of(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
        groups: int,
        *,
        plus: Tensor,
    ) -> "Stem | None":
        """The convolution, if this is the faster form for it.

        Args:
            plus: the weights of the term. If all are zero, the whole is bit for bit the plain one.
        """
        if not _possible(x, weight, plus, *([] if bias is None else [bias])):
            return None
        stem = Stem(x, weight, bias, geometry, groups)
        sample, most = stem._sample(), cached_numbers()
        if x.shape[0] * sample < 2 * most or not plus.any():
            return None
        if stem.layout is torch.contiguous_format:
            return stem
        # One large image is as fast with its term added afterwards, and needs no map of it.
        return stem if sample <= most and _accumulates() else None

    def plus_map(self, term: Float[Tensor, "d o h w"]) -> Float[Tensor, "b o h w"]:
        """The convolution plus a map of each sample or of all."""
        if self.layout is torch.channels_last:
            return self._added_to(self._empty().copy_(term.contiguous(memory_format=self.layout)))
        shared = term.shape[0] == 1
        return self._by_blocks(
            lambda samples, rows: (term if shared else term[samples])[:, :, rows]
        )

    def plus_strips(self, down: Strip, across: Strip) -> Float[Tensor, "b o h w"]:
        """The convolution plus one strip and another, transposed."""
        height = self.shape[2]
        down, across = down.laid(self.layout), across.laid(self.layout)
        if self.layout is torch.channels_last:
            return self._added_to(self._empty().copy_(tile(down, across, slice(0, height), height)))
        return self._by_blocks(lambda _, rows: tile(down, across, rows, height))

    def _empty(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, memory_format=self.layout)

    def _padded(self) -> tuple[Tensor, Geometry]:
        """The maps, with their padding unless it is the same zeros at either end of an axis."""
        x, geometry = self.x, self.geometry
        if geometry.mode == "zeros" and geometry.before == geometry.after:
            return x, geometry
        return padded(x, geometry)

    def _added_to(self, term: Tensor) -> Tensor:
        """The convolution added in place."""
        x, (stride, dilation, padding, _, _) = self._padded()
        x, weight = (part.contiguous(memory_format=self.layout) for part in (x, self.weight))
        torch.ops.mkldnn._convolution_pointwise_.binary(
            *(term, x, weight, self.bias, padding, stride, dilation, self.groups),
            *("add", 1.0, None, [], ""),
        )
        return term

    def _by_blocks(self, term: Callable[[slice, slice], Tensor]) -> Tensor:
        """The convolution of some samples and rows plus their part of the term, one by one."""
        x, geometry = self._padded()
        out = self._empty()
        keep_pages()
        for samples, rows in self._blocks():
            part, way = x[samples], geometry
            if rows != slice(0, self.shape[2]):
                part, way = _seen(part, self.weight.shape[2], geometry, rows)
            # The block has no name: its memory is free again, and in the cache, for the next one.
            torch.add(
                convolve(part, self.weight, self.bias, way, self.groups),
                term(samples, rows),
                out=out[samples, :, rows],
            )
        return out

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Some samples at once and, where one of them is too large, some of its rows."""
        b, o, h, w = self.shape
        most = cached_numbers()
        for samples in parts(b, most // self._sample()):
            for rows in parts(h, h if self._sample() <= most else most // (o * w)):
                yield samples, rows

    def _sample(self) -> int:
        """Numbers in the result of one sample."""
        _, o, h, w = self.shape
        return o * max(h, 0) * max(w, 0)


def _possible(x: Tensor, *parameters: Tensor) -> bool:
    """Whether this is a stem in float32 on the CPU, without gradients."""
    tensors = (x, *parameters)
    if not unwatched(*tensors) or x.dim() != 4 or x.shape[1] > _STEM:
        return False
    here = all(part.dtype == torch.float32 and part.device.type == "cpu" for part in tensors)
    return here and not torch.is_autocast_enabled("cpu")


def _accumulates() -> bool:
    """Whether this torch has oneDNN's sum: what its compiler uses, and no public function."""
    known = hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
    return known and torch.backends.mkldnn.is_available()


def _channels_last(tensor: Tensor) -> bool:
    """How torch reads the strides, also of one channel or one cell, where both layouts fit."""
    least = 0
    for axis in (1, 3, 2, 0):
        size, stride = tensor.shape[axis], tensor.stride(axis)
        if stride < max(least, 1) or (axis == 0 and least == tensor.stride(1)):
            return False
        least = stride * size
    return True


def _seen(x: Tensor, kernel: int, geometry: Geometry, rows: slice) -> tuple[Tensor, Geometry]:
    """The part of `x` that these rows of the result see, and the way over it."""
    stride, before = geometry.stride[0], geometry.before[0]
    start = rows.start * stride - before
    stop = (rows.stop - 1) * stride - before + geometry.dilation[0] * (kernel - 1) + 1
    above, below = max(-start, 0), max(stop - x.shape[2], 0)
    part = x[:, :, start + above : stop - below]
    if above or below:
        part = F.pad(part, (0, 0, above, below))
    way = geometry._replace(before=(0, geometry.before[1]), after=(0, geometry.after[1]))
    return part, way
