"""What a map encoding does to each cell, as numbers: a scale, an addend, channels to append.

Nothing is known of the encoding: if the gradient of its output with respect to its input does not
depend on the input, and is the same number for all that a cell is multiplied with, the encoding is
`x * scale + addend` behind which constant channels may stand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from visionpe.folding.constants import Constants, require_no_frame
from visionpe.frame import Frame
from visionpe.places import Places


class CellTerms(NamedTuple):
    """`cat[x * scale + addend, appended]`; None: 1, 0 and nothing."""

    scale: Tensor | None
    addend: Tensor | None
    appended: Tensor | None


def cell_terms(encoded: Callable[[Tensor], Tensor], x: Tensor, axis: int) -> CellTerms | None:
    """The terms of an encoding; None: it does something else, or looks at the content.

    Args:
        encoded: the encoding.
        x: what it is given.
        axis: of the channels.

    >>> cell_terms(lambda x: x + 3, torch.zeros(1, 2), 1).addend.tolist()
    [[3.0, 3.0]]
    >>> cell_terms(lambda x: x * x, torch.zeros(1, 2), 1) is None
    True
    """
    with torch.enable_grad():
        x = torch.randn_like(x).requires_grad_()
        y = encoded(x)
        width, more = x.shape[axis], y.shape[axis] - x.shape[axis]
        if more < 0 or not y.requires_grad:
            return None
        ones, outer = torch.ones_like(y, requires_grad=True), torch.randn_like(y)
        try:
            (scale,) = torch.autograd.grad(y, x, ones, create_graph=True)
            second = torch.autograd.grad(scale.sum(), x, retain_graph=True, allow_unused=True)
            affine = second[0] is None
            (other,) = torch.autograd.grad(y, x, outer)
        except RuntimeError:  # no second derivative is known
            return None
    scale = scale.detach()
    with torch.no_grad():
        if not affine or not _close(other, outer.narrow(axis, 0, width) * scale):
            return None
        addend, appended = encoded(torch.zeros_like(x)).split([width, more], axis)
        terms = CellTerms(
            None if bool((scale == 1).all()) else scale,
            None if not addend.any() else addend,
            appended if more else None,
        )
        return terms if _close(apply_terms(x, terms, axis), y) else None


def apply_terms(x: Tensor, terms: CellTerms, axis: int) -> Tensor:
    """The encoded map or tokens, in the dtype of `x`."""
    scale, addend, appended = (None if t is None else t.to(x.dtype) for t in terms)
    y = x if scale is None else x * scale
    y = y if addend is None else y + addend
    if appended is None:
        return y
    return torch.cat([y, appended.expand(x.shape[0], *appended.shape[1:])], axis)


class FoldedMap(Constants):
    """Stands for `MapEncoding.forward`."""

    what = "terms"

    def bake(
        self, own: Callable[..., Any], x: Tensor, frame: Frame | None = None, **more: Any
    ) -> str | None:
        """Keeps what is done to the map."""
        if frame is not None or any(value is not None for value in more.values()):
            return "it is given more than a map"
        return keep_terms(self, _cells(x), cell_terms(own, x, 1))

    def act(self, x: Tensor, frame: Frame | None = None) -> Tensor:
        """The encoded map."""
        require_no_frame(self, frame)
        return apply_terms(x, CellTerms(*self.find(_cells(x), *CellTerms._fields)), 1)


class FoldedTokens(Constants):
    """Stands for `PointEncoding.tokens`."""

    what = "terms"

    def bake(self, own: Callable[..., Any], x: Tensor, places: Places) -> str | None:
        """Keeps what is done to the tokens."""
        terms = cell_terms(lambda x: own(x, places), x, -1)
        return keep_terms(self, f"{x.shape[1]} tokens", terms)

    def act(self, x: Tensor, places: Places) -> Tensor:
        """The encoded tokens."""
        terms = self.find(f"{x.shape[1]} tokens", *CellTerms._fields)
        return apply_terms(x, CellTerms(*terms), -1)


def keep_terms(constants: Constants, size: str, terms: CellTerms | None) -> str | None:
    """Keeps the terms for a map or tokens of a size, if there are any."""
    if terms is None:
        return "what it does to a cell depends on the content"
    return constants.keep(size, **terms._asdict())


def _cells(x: Tensor) -> str:
    return f"{x.shape[-2]} x {x.shape[-1]} cells"


def _close(a: Tensor, b: Tensor) -> bool:
    exact = torch.finfo(a.dtype).eps
    return bool((a - b).abs().max() <= 8 * exact * (1 + b.abs().max()))
