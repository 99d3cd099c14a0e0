"""What other pads mean for each operation of torch that pads a map."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from visionpe.paddings.intercept import Operation, Swapped
from visionpe.paddings.modes import Reach, pad_map
from visionpe.paddings.windows import Windows, both, convolution, pool

_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (
    "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
)  # fmt: skip
_MAX = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVG = (
    "input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
    "divisor_override",
)  # fmt: skip
_UNFOLD = ("input", "kernel_size", "dilation", "padding", "stride")
_PAD = ("input", "pad", "mode", "value")


def _bind(names: tuple[str, ...], defaults: tuple[Any, ...], args: Any, kwargs: Any) -> Any:
    """The arguments by name; defaults are those of the last names."""
    bound = dict(zip(names[-len(defaults) :], defaults, strict=True))
    return {**bound, **dict(zip(names, args, strict=False)), **kwargs}


def _hidden(operation: Any, a: dict[str, Any]) -> Tensor:
    """As it is, but below function modes: no mode around this one, of a module around, sees it."""
    once = ("kernel_size", "stride", "padding", "output_padding", "dilation")
    a = {k: list(both(v)) if k in once and not isinstance(v, str) else v for k, v in a.items()}
    return operation(**a)  # type: ignore[no-any-return]


def _conv2d(mode: Swapped, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    a = _bind(_CONV, (None, 1, 0, 1, 1), args, kwargs)
    if mode.mode == "zeros":
        return _hidden(torch.ops.aten.conv2d, a)
    x, weight = a.pop("input"), a.pop("weight")
    padding = a["padding"]
    pads: tuple[int | str, ...] = (padding,) * 2 if isinstance(padding, str) else both(padding)
    rows, columns = (
        convolution(k, s, d, p)
        for k, s, d, p in zip(
            weight.shape[-2:], both(a["stride"]), both(a["dilation"]), pads, strict=True
        )
    )
    if mode.padded is not None and x is mode.padded[0]:  # by a call just before
        _, x, above, beside = mode.padded
        rows, columns = _wider(rows, above), _wider(columns, beside)
    if not any((*rows.reach, *columns.reach)):
        return func(*args, **kwargs)  # type: ignore[no-any-return]
    a["padding"] = 0
    return mode.slide(x, rows, columns, lambda x: func(x, weight, **a))


def _wider(windows: Windows, by: Reach) -> Windows:
    reach = (windows.reach[0] + by[0], windows.reach[1] + by[1])
    return windows._replace(reach=reach)


def _conv_transpose2d(mode: Swapped, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """Cells beyond the map contribute too; then what they add outside is cut off."""
    a = _bind(_TRANSPOSED, (None, 1, 0, 0, 1, 1), args, kwargs)
    if mode.mode == "zeros":
        return _hidden(torch.ops.aten.conv_transpose2d, a)
    x, weight = a.pop("input"), a.pop("weight")
    stride, padding = both(a["stride"]), both(a["padding"])
    more = [
        max((d * (k - 1) - p + o) // s, 0)
        for k, s, p, o, d in zip(
            weight.shape[-2:], stride, padding, both(a["output_padding"]), both(a["dilation"]),
            strict=True,
        )
    ]  # fmt: skip
    if not any(more):
        return func(*args, **kwargs)  # type: ignore[no-any-return]
    x = pad_map(x, (more[0], more[0]), (more[1], more[1]), mode.mode)
    a["padding"] = [p + n * s for p, n, s in zip(padding, more, stride, strict=True)]
    return func(x, weight, **a)  # type: ignore[no-any-return]


def _max_pool2d(mode: Swapped, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    a = _bind(_MAX, (None, 0, 1, False, False), args, kwargs)
    if a["return_indices"]:  # indices into the map as it is
        return func(*args, **kwargs)
    a["dilation"] = both(a["dilation"])
    return _pooled(mode, func, args, kwargs, a)


def _avg_pool2d(mode: Swapped, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    a = _bind(_AVG, (None, 0, False, True, None), args, kwargs)
    return _pooled(mode, func, args, kwargs, a)


def _pooled(mode: Swapped, func: Any, args: Any, kwargs: Any, a: dict[str, Any]) -> Any:
    """Both pools ignore what is beyond the map, or count it as 0: here it counts as any cell."""
    x = a.pop("input")
    a.pop("return_indices", None)
    kernel = both(a["kernel_size"])
    stride = both(a["stride"]) if a["stride"] else kernel
    dilation = a.get("dilation", (1, 1))
    rows, columns = (
        pool(n, k, s, p, d, a["ceil_mode"])
        for n, k, s, p, d in zip(
            x.shape[-2:], kernel, stride, both(a["padding"]), dilation, strict=True
        )
    )
    if mode.padded is not None and x is mode.padded[0]:
        _, x, above, beside = mode.padded
        rows, columns = _wider(rows, above), _wider(columns, beside)
    if mode.mode == "zeros":
        average = func is F.avg_pool2d
        below = torch.ops.aten.avg_pool2d if average else torch.ops.aten.max_pool2d
        return _hidden(below, {"self": x, **a, "stride": stride})
    if not any((*rows.reach, *columns.reach)):
        return func(*args, **kwargs)
    a |= {"stride": stride, "padding": 0, "ceil_mode": False}
    return mode.slide(x, rows, columns, lambda x: func(x, **a))


def _unfold(mode: Swapped, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    a = _bind(_UNFOLD, (1, 0, 1), args, kwargs)
    x = a.pop("input")
    kernel, stride, dilation = (both(a[k]) for k in ("kernel_size", "stride", "dilation"))
    rows, columns = (
        convolution(k, s, d, p)
        for k, s, d, p in zip(kernel, stride, dilation, both(a["padding"]), strict=True)
    )
    if mode.mode == "zeros" or not any((*rows.reach, *columns.reach)):
        return func(*args, **kwargs)  # type: ignore[no-any-return]
    a["padding"] = 0

    def run(x: Tensor) -> Tensor:
        h = (x.shape[-2] - rows.extent) // rows.stride + 1
        # b ckk (h w) -> b ckk h w
        return torch.unflatten(func(x, **a), -1, (h, -1))

    return mode.slide(x, rows, columns, run).flatten(-2)


def _pad(mode: Swapped, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    a = _bind(_PAD, ("constant", None), args, kwargs)
    x, pad, value = a["input"], list(a["pad"]), a["value"] or 0.0
    nhwc = is_nhwc(x, pad)
    constant = a["mode"] == "constant"
    if nhwc is None or (constant and value not in (0.0, -math.inf)):
        return func(*args, **kwargs)  # type: ignore[no-any-return]
    if mode.mode == "zeros":
        if constant:
            return torch.ops.aten.pad.default(x, pad, "constant", value)  # type: ignore[no-any-return]
        return torch.ops.aten.pad.default(x, pad, "constant")  # type: ignore[no-any-return]
    (left, right), (top, bottom) = pad[2 * nhwc : 2 * nhwc + 2], pad[2 * nhwc + 2 : 2 * nhwc + 4]
    maps = x.movedim(-1, 1) if nhwc else x
    out = pad_map(maps, (top, bottom), (left, right), mode.mode)
    if mode.mode == "none":
        mode.padded = (out, x, (top, bottom), (left, right))
    return out.movedim(1, -1) if nhwc else out


def is_nhwc(x: Tensor, pad: list[int]) -> bool | None:
    """Whether a pad is one of a map `b h w c` or `b c h w`; None: of something else.

    Something else: biases and scores with fewer dimensions, masks, and pads at the start only,
    which add tokens without a place.

    >>> x = torch.zeros(1, 4, 6, 8)
    >>> is_nhwc(x, [1, 1, 1, 1]), is_nhwc(x, [0, 0, 0, 2, 0, 1]), is_nhwc(x, [1, 0, 1, 0])
    (False, True, None)
    """
    if x.dim() != 4 or not x.is_floating_point() or len(pad) not in (4, 6, 8):
        return None
    if any(pad[6:]) or not any(pad) or min(pad) < 0 or not any(pad[1::2]):
        return None
    if not any(pad[4:]):
        return False
    return True if not any(pad[:2]) else None


OPERATIONS: dict[Any, Operation] = {
    torch.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
    F.max_pool2d: _max_pool2d,
    torch.max_pool2d: _max_pool2d,
    F.avg_pool2d: _avg_pool2d,
    F.unfold: _unfold,
    F.pad: _pad,
}
