"""Batch normalisation right behind a folded convolution: it adds the constant map on its way.

A map added to a convolution's result is one more pass over it, which the arithmetic does not hide
where memory is slow. The normalisation behind it makes such a pass anyway: in evaluation it
multiplies each channel and adds a number, which may as well be another one in each cell.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from visionpe.encodings._unwatched import unwatched
from visionpe.encodings.precision import widest_dtype

_MARK = "visionpe_term"  # of a convolution's result: the map that it lacks


class FoldedNorm(nn.Module):
    """Stands for the `forward` of a batch normalisation, behind one convolution.

    Without gradients, in a call of the whole model, the convolution leaves its map to it. In any
    other call both do what they did: in training, in a graph that is captured, called alone, or
    when other hooks look at either of them.

    Args:
        norm: is in the model, and no child of its child.
        conv: whose result it normalises.
    """

    def __init__(self, norm: nn.BatchNorm2d, conv: nn.Module) -> None:
        super().__init__()
        self.norm = (norm,)
        self.conv = (conv,)
        self.kept: tuple[object, Tensor, Tensor] | None = None

    def takes(self, y: Tensor, term: Tensor) -> bool:
        """Marks a fresh result of the convolution as one that lacks its map, if that may be."""
        (norm,), (conv,) = self.norm, self.conv
        parts = (term, *_numbers(norm))
        if norm.training or norm._forward_pre_hooks or norm._forward_hooks:
            return False
        if len(conv._forward_hooks) > 1 or _has_any_global_hook():
            return False
        if not unwatched(y, *parts) or any(part.is_inference() for part in parts):
            return False  # inference mode counts no changes
        if any((part.dtype, part.device) != (y.dtype, y.device) for part in parts):
            return False
        setattr(y, _MARK, term)
        return True

    def act(self, input: Tensor) -> Tensor:  # noqa: A002 # the name in what it stands for
        """The normalised maps."""
        (norm,) = self.norm
        term = None if torch.compiler.is_compiling() else getattr(input, _MARK, None)
        if term is None:
            if norm.training:
                self.kept = None  # torch counts no change of mean and variance by training
            return nn.BatchNorm2d.forward(norm, input)
        scale, shift = self._scale_and_shift(input, term)
        return input.mul_(scale).add_(shift)

    def _scale_and_shift(self, x: Tensor, term: Tensor) -> tuple[Tensor, Tensor]:
        """By which each channel is multiplied, and what is then added; made anew if these change.

        They are of the numbers of the normalisation, which may be loaded or trained meanwhile.
        """
        (norm,) = self.norm
        numbers = _numbers(norm)
        last = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        key = (layout, norm.eps, *((id(n), n.data_ptr(), n._version) for n in (term, *numbers)))
        kept = self.kept
        if kept is None or kept[0] != key:
            mean, variance, *affine = (n.to(widest_dtype(n.device)) for n in numbers)
            weight, bias = affine or (torch.ones_like(mean), torch.zeros_like(mean))
            scale = (weight / (variance + norm.eps).sqrt())[:, None, None]
            shift = (term - mean[:, None, None]) * scale + bias[:, None, None]
            shift = shift.to(x.dtype).contiguous(memory_format=layout)
            self.kept = kept = key, scale.to(x.dtype), shift
        return kept[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "kept": None}


def _numbers(norm: nn.BatchNorm2d) -> list[Tensor]:
    """Mean and variance; weight and bias, if there are any."""
    given = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return [number for number in given if number is not None]
