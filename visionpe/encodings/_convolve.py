"""`nn.Conv1d` and `nn.Conv2d`'s arithmetic as one function of one geometry, every padding mode."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

_MODES = ("zeros", "reflect", "replicate", "circular")


class Geometry(NamedTuple):
    """How a kernel walks over a map; one entry an axis, in the order of the axes.

    Attributes:
        stride, dilation: steps in cells.
        before, after: cells of padding at either end of an axis.
        mode: "zeros", "reflect", "replicate" or "circular".
    """

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    mode: str

    @staticmethod
    def of(
        weight: Tensor,
        stride: int | tuple[int, ...],
        padding: int | tuple[int, ...] | str,
        dilation: int | tuple[int, ...],
        mode: str,
    ) -> "Geometry":
        """The geometry that `nn.Conv`'s arguments describe for a kernel `o i *k`.

        Raises:
            ValueError: if `padding` or `padding_mode` is not one of the words that `nn.Conv` knows.
        """
        axes = weight.dim() - 2
        steps, holes = _each(stride, axes), _each(dilation, axes)
        if mode not in _MODES:
            raise ValueError(f"`padding_mode` must be one of {_MODES}, but is {mode!r}.")
        if not isinstance(padding, str):
            pads = _each(padding, axes)
            return Geometry(steps, holes, pads, pads, mode)
        if padding == "valid":
            return Geometry(steps, holes, (0,) * axes, (0,) * axes, mode)
        if padding != "same":
            raise ValueError(
                f"`padding` must be a number of cells, 'same' or 'valid', but is {padding!r}."
            )
        if any(step != 1 for step in steps):
            raise ValueError(f"`padding` 'same' must go with stride 1, but the stride is {stride}.")
        total = tuple(d * (k - 1) for d, k in zip(holes, weight.shape[2:], strict=True))
        before = tuple(t // 2 for t in total)
        after = tuple(t - b for t, b in zip(total, before, strict=True))
        return Geometry(steps, holes, before, after, mode)

    def transposed(self) -> "Geometry":
        """The geometry for the map with its axes in reverse order."""
        return Geometry(
            self.stride[::-1], self.dilation[::-1], self.before[::-1], self.after[::-1], self.mode
        )

    def result(self, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """The size of the result for maps and a kernel of these sizes."""
        axes = zip(size, kernel, *self[:4], strict=True)
        return tuple((n + b + a - d * (k - 1) - 1) // s + 1 for n, k, s, d, b, a in axes)


def padded(x: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """The map with its padding, and the way over it."""
    stride, dilation, before, after, mode = geometry
    pads = [n for pair in zip(before[::-1], after[::-1], strict=True) for n in pair]
    x = F.pad(x, pads, mode="constant" if mode == "zeros" else mode)
    none = (0,) * len(before)
    return x, Geometry(stride, dilation, none, none, "zeros")


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, groups: int = 1
) -> Tensor:
    """The convolution, bit for bit what `nn.Conv1d` or `nn.Conv2d` computes."""
    if geometry.mode != "zeros" or geometry.before != geometry.after:
        x, geometry = padded(x, geometry)
    convolution = F.conv1d if weight.dim() == 3 else F.conv2d
    return convolution(x, weight, bias, geometry.stride, geometry.before, geometry.dilation, groups)


def _each(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)
