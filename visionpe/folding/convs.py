"""What coordinates add to a convolution, as a constant map."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from visionpe.encodings.coordconv import CoordConv2d, coord_conv2d
from visionpe.folding.constants import Constants, require_no_frame
from visionpe.frame import Frame


class Behind(Protocol):
    """What follows a convolution, and may add its map."""

    def takes(self, y: Tensor, term: Tensor) -> bool:
        """Whether it will, to this result."""


class FoldedTerm(Constants):
    """Stands for the term of an attached `CoordConv`.

    Attributes:
        behind: the one that sees the convolution's result, if it may add the map; no child.
    """

    what = "map"

    def __init__(self, encoding: nn.Module) -> None:
        super().__init__(encoding)
        self.behind: tuple[Behind, ...] = ()

    def bake(
        self,
        own: Callable[..., Any],
        y: Tensor,
        h: int,
        w: int,
        frame: Frame | None = None,
        made: object = None,
    ) -> str | None:
        """Keeps the term."""
        if frame is not None:
            return "it is given a frame"
        return self.keep(f"{h} x {w} cells", term=_unless_zero(own(torch.zeros_like(y), h, w)))

    def act(
        self, y: Tensor, h: int, w: int, frame: Frame | None = None, made: object = None
    ) -> Tensor:
        """`y`, the fresh output of the convolution, with the term added, here or right behind.

        Args:
            made: None, unless this is part of a call of the whole model.
        """
        require_no_frame(self, frame)
        (term,) = self.find(f"{h} x {w} cells", "term")
        if term is not None and made is not None and self.behind and self.behind[0].takes(y, term):
            return y
        return add_map(y, term)


class FoldedConv(Constants):
    """Stands for a `CoordConv2d`."""

    what = "map"

    def __init__(self, encoding: CoordConv2d) -> None:
        super().__init__(encoding)
        self.conv = (encoding,)  # no child of its child

    def bake(self, own: Callable[..., Any], x: Tensor, frame: Frame | None = None) -> str | None:
        """Keeps the term."""
        if frame is not None:
            return "it is given a frame"
        (conv,) = self.conv
        term = coord_conv2d(
            torch.zeros_like(x),
            torch.zeros_like(conv.weight),
            conv.coord_weight,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=conv.groups,
            padding_mode=conv.padding_mode,
            align_corners=conv.align_corners,
        )
        return self.keep(f"{x.shape[-2]} x {x.shape[-1]} cells", term=_unless_zero(term[:1]))

    def act(self, x: Tensor, frame: Frame | None = None) -> Tensor:
        """The convolution with the term added."""
        require_no_frame(self, frame)
        (term,) = self.find(f"{x.shape[-2]} x {x.shape[-1]} cells", "term")
        return add_map(nn.Conv2d.forward(self.conv[0], x), term)


def add_map(y: Tensor, term: Tensor | None) -> Tensor:
    """Adds a constant in place."""
    if term is None:
        return y
    term = term.to(y.dtype)
    return y + term if torch.compiler.is_compiling() else y.add_(term)


def _unless_zero(term: Tensor) -> Tensor | None:
    return term if term.any() else None
