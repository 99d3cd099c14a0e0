"""Operations between neighbours in a map: pooling, padding, resizing, unfolding."""

import torch
from torch import Tensor

from visionpe.tracing.codes import NOWHERE, thin, varies
from visionpe.tracing.moves import bins, sample, taps
from visionpe.tracing.state import Arguments, Rule, Run, words

_ALIKE = 0.05  # pixels: steps that differ by no more are one


def pool(arguments: Arguments, run: Run) -> Tensor | tuple[Tensor, Tensor]:
    """Maxima and means under a kernel: to its middle."""
    x: Tensor = arguments["self"]
    result = _sizes(arguments)
    several = isinstance(result, tuple)
    shape = (result[0] if several else result).shape
    kernel = arguments["kernel_size"]
    space = 1 if arguments["func"]._schema.name.split("::")[1].endswith("1d") else 2
    kernel, stride, padding, dilation = (
        _each(value, space)
        for value in (
            kernel,
            arguments["stride"] or kernel,
            arguments["padding"] or 0,
            arguments.get("dilation") or 1,
        )
    )
    for i in range(space):
        dim = x.dim() - space + i
        n, count = x.shape[dim], shape[dim]
        at = taps(n, kernel[i], stride[i], padding[i], padding[i], dilation[i])
        if len(at) < count:  # ceil_mode: one step further
            at = torch.cat([at, at[-1:] + stride[i]])
        x = _over(x, dim, at, kernel[i] >= n > 1 and count == 1)
    return (x, torch.zeros(x.shape, dtype=torch.long)) if several else x


def adaptive_pool(arguments: Arguments, run: Run) -> Tensor | tuple[Tensor, Tensor]:
    """Means over bins: to their middles; over everything, nowhere."""
    x: Tensor = arguments["self"]
    sizes = list(arguments["output_size"])
    for i, count in enumerate(sizes):
        dim = x.dim() - len(sizes) + i
        n = x.shape[dim]
        x = _over(x, dim, bins(n, count), count == 1 and n > 1)
    several = len(arguments["func"]._schema.returns) == 2
    return (x, torch.zeros(x.shape, dtype=torch.long)) if several else x


def pad(arguments: Arguments, run: Run) -> Tensor:
    """New cells continue the map's rows and columns; a token among tokens has no place."""
    x: Tensor = arguments["self"]
    padding = list(arguments.get("pad") or arguments["padding"])
    for i, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True)):
        if before or after:
            dim = x.dim() - 1 - i
            n = x.shape[dim]
            at = torch.arange(-before, n + after, dtype=torch.float64)
            wider = sample(x, dim, at)
            if not _regular(x, dim):
                new = ((at < 0) | (at >= n)).view([-1 if d == dim else 1 for d in range(x.dim())])
                wider = wider.masked_fill(new, NOWHERE)
            x = wider
    return x


def _regular(x: Tensor, dim: int) -> bool:
    """Whether a dimension counts rows or columns, which may be rolled; tokens go row by row."""
    if x.shape[dim] < 3 or not varies(x, dim):
        return True
    steps = thin(x)[0].diff(dim=dim)
    step = steps.nanmedian()
    strays = ((steps - step).abs() > _ALIKE).sum(dim).max()
    return bool(step != 0) and int(strays) <= 1


def resize(arguments: Arguments, run: Run) -> Tensor:
    """Edges stay on edges, or corners on corners."""
    x: Tensor = arguments["self"] if arguments.get("self") is not None else arguments["input"]
    shape = _sizes(arguments).shape
    for dim in range(2, x.dim()):
        n, m = x.shape[dim], shape[dim]
        steps = torch.arange(m, dtype=torch.float64)
        at = (steps + 0.5) * n / m - 0.5
        if arguments.get("align_corners") and m > 1:
            at = steps * (n - 1) / (m - 1)
        x = sample(x, dim, at)
    return x


def unfold(arguments: Arguments, run: Run) -> Tensor:
    """`F.unfold`: neighbours side by side as channels, with continued rows at the borders."""
    x: Tensor = arguments["self"]
    top, left = _each(arguments["padding"], 2)
    for dim, by in ((-2, top), (-1, left)):
        x = sample(x, dim, torch.arange(-by, x.shape[dim] + by, dtype=torch.float64))
    columns: Tensor = torch.ops.aten.im2col(
        x.contiguous(), arguments["kernel_size"], arguments["dilation"], [0, 0], arguments["stride"]
    )
    return columns


def fold(arguments: Arguments, run: Run) -> Tensor:
    """`F.fold`: a cell is in the middle of all that is added to it."""
    func, (x, *rest) = arguments["func"], arguments["args"]
    placed = ~x.isnan()
    total, count = (func(t.contiguous(), *rest) for t in (x.nan_to_num(), placed.double()))
    return torch.where(count > 0, total / count, NOWHERE)


def _over(x: Tensor, dim: int, at: Tensor, everything: bool) -> Tensor:
    pooled = sample(x, dim, at)
    return torch.full_like(pooled, NOWHERE) if everything and x.stride(dim) else pooled


def _sizes(arguments: Arguments) -> Tensor:
    """The operation on a tensor without contents: the shape of its result."""
    first, *rest = arguments["args"]
    empty = torch.empty(first.shape, device="meta")
    result: Tensor = arguments["func"](empty, *rest, **arguments["kwargs"])
    return result


def _each(value: int | list[int], n: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * (n if len(values) == 1 else 1)


_POOLS = words("avg_pool1d avg_pool2d max_pool1d max_pool2d max_pool2d_with_indices")
_ADAPTIVE = [
    prefix + kind + end
    for prefix in ("", "_")
    for kind in ("adaptive_avg_pool", "adaptive_max_pool")
    for end in ("1d", "2d")
]
_RESIZES = words("""
    upsample_nearest1d upsample_nearest2d _upsample_nearest_exact1d _upsample_nearest_exact2d
    upsample_linear1d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa
""")
RULES: dict[str, Rule] = {
    **dict.fromkeys(_POOLS, pool),
    **dict.fromkeys(_ADAPTIVE, adaptive_pool),
    **dict.fromkeys(_RESIZES, resize),
    **dict.fromkeys(
        words(
            "constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d"
        ),
        pad,
    ),
    "im2col": unfold,
    "col2im": fold,
}
