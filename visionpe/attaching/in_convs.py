"""CoordConv (arXiv 1807.03247) in convolutions that are there: `conv(x) + conv_c(coordinates)`."""

from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from visionpe.attaching.attached import Attached, Held
from visionpe.encodings._convolve import Geometry
from visionpe.encodings._coordterm import add_map, coordinate_map
from visionpe.encodings._coordweight import coordinate_kernel
from visionpe.encodings.base import require_batch
from visionpe.encodings.coord import coordinates
from visionpe.encodings.precision import wide_dtype
from visionpe.frame import Frame


@final
class CoordConv:
    """Makes convolutions that are there see where they are: for `visionpe.attach`.

    As if the coordinate channels `y, x` stood behind the convolution's input, with a kernel of
    their own that starts at zero: the model's outputs do not change, to the last bit.

    Args:
        radius: a third coordinate channel, the distance to the image's centre.
        align_corners: the paper's range, in which the first and last cell are at -1 and 1.

    >>> import visionpe
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
    >>> _ = visionpe.attach(net, CoordConv(), size=(4, 6))
    >>> list(net.state_dict())
    ['0.weight', '0.bias', 'visionpe.CoordConv.0.weight']
    """

    def __init__(self, *, radius: bool = False, align_corners: bool = False) -> None:
        self.radius = radius
        self.align_corners = align_corners

    def term(self, conv: nn.Conv2d) -> "CoordTerm":
        """The term for one convolution."""
        return CoordTerm(conv, radius=self.radius, align_corners=self.align_corners)

    def __repr__(self) -> str:
        return f"CoordConv(radius={self.radius}, align_corners={self.align_corners})"


@final
class CoordTerm(nn.Module):
    """What the coordinate channels add to a convolution's output.

    Args:
        conv: the convolution; its kernel's size, steps and padding are taken over.
        radius, align_corners: see `CoordConv`.

    Attributes:
        weight: `out_channels d kh kw`, zero at first.
    """

    def __init__(self, conv: nn.Conv2d, *, radius: bool, align_corners: bool) -> None:
        super().__init__()
        self.radius = radius
        self.align_corners = align_corners
        self.weight = coordinate_kernel(conv, 2 + radius)
        self.reset_parameters()
        self.geometry = Geometry.of(
            conv.weight,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.padding_mode,
        )

    def reset_parameters(self) -> None:
        """Sets the weights to zero, as at construction: the convolution is what it was."""
        nn.init.zeros_(self.weight)

    def forward(
        self,
        y: Float[Tensor, "b o m n"],
        h: int,
        w: int,
        frame: Frame | None = None,
        made: dict[object, Tensor] | None = None,
    ) -> Float[Tensor, "b o m n"]:
        """`y`, the fresh output of the convolution for maps `h x w`, with the term added.

        Args:
            made: coordinates of the same call.
        """
        require_batch(frame, y.shape[0])
        code = self._coordinates(h, w, frame, y, made)
        return add_map(y, coordinate_map(code, self.weight, self._geometry((h, w), y)))

    def _coordinates(
        self, h: int, w: int, frame: Frame | None, y: Tensor, made: dict[object, Tensor] | None
    ) -> Float[Tensor, "*bds"]:
        """The coordinate channels; those of a layer before this one, if it has as many cells."""
        make = partial(
            coordinates,
            *(h, w, frame),
            radius=self.radius,
            align_corners=self.align_corners,
            device=y.device,
            dtype=wide_dtype(y),
        )
        if made is None or not type(h) is type(w) is int:  # a size that is a symbol is no key
            return make()
        # What inference mode makes must not be part of a graph.
        inference = torch.is_inference_mode_enabled()
        key = (h, w, self.radius, self.align_corners, y.device, wide_dtype(y), inference)
        if key not in made:
            made[key] = make()
        return made[key]

    def _geometry(self, size: tuple[int, int], y: Tensor) -> Geometry:
        """The convolution's own; TensorFlow's "same" where it pads its input by itself."""
        stride, dilation, before, after, mode = self.geometry
        kernel = tuple(self.weight.shape[2:])
        if kernel == (1, 1) or any(before) or any(after):
            return self.geometry
        reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
        made = tuple((n - r - 1) // s + 1 for n, r, s in zip(size, reach, stride, strict=True))
        wanted = tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
        if made == wanted or tuple(y.shape[-2:]) != wanted:
            return self.geometry
        total = tuple(
            max((c - 1) * s + r + 1 - n, 0)
            for c, s, r, n in zip(wanted, stride, reach, size, strict=True)
        )
        before = tuple(t // 2 for t in total)
        after = tuple(t - b for t, b in zip(total, before, strict=True))
        return Geometry(stride, dilation, before, after, mode)

    @override
    def extra_repr(self) -> str:
        return f"radius={self.radius}, align_corners={self.align_corners}"


class InConv:
    """A forward hook that adds the coordinate term of a convolution."""

    def __init__(self, held: Held, attached: Attached) -> None:
        self.held = held
        self.attached = attached

    def __call__(
        self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> Tensor:
        """The output with the term."""
        if not self.attached.active:
            return output
        x = args[0] if args else kwargs["input"]
        if not _is_fresh(module, output):
            output = output.clone()
        call = self.attached.caller.current()
        result: Tensor = self.held.now()(output, x.shape[-2], x.shape[-1], call.frame, call.made)
        return result


def _is_fresh(module: nn.Module, y: Tensor) -> bool:
    """Whether nobody but the caller will see the output, so that it can be changed in place.

    Other hooks may keep it, and the backward pass of what else is computed in the module.
    """
    if len(module._forward_hooks) > 1:
        return False
    if torch.compiler.is_compiling() or not isinstance(y, Tensor):  # fx has a stand-in
        return True
    made = y.grad_fn
    return made is None or made.name().startswith("ConvolutionBackward")
