"""What happens to places along one dimension: sums over it, and samples between its elements."""

import torch
from torch import Tensor

from visionpe.tracing.codes import NOWHERE, thin, varies

HALF = 0.5  # a sum over more than this share of the image has no place


def collapse(x: Tensor, dim: int, extent: float) -> Tensor:
    """The place of a sum over a dimension, which is kept with one element.

    The mean of the places, without the elements that have none; no place if they spread over half
    of the image or more (`extent`: its size in pixels along this axis).

    >>> collapse(torch.tensor([[1.0, 2.0, torch.nan], [0.0, 8.0, 9.0]]), 1, 10.0).tolist()
    [[1.5], [nan]]
    """
    shape = list(x.shape)
    shape[dim] = 1
    if x.shape[dim] == 0:
        return x.new_full(shape, NOWHERE)
    if not varies(x, dim):
        return x.narrow(dim, 0, 1)  # to the last bit
    (x,) = thin(x)
    lost = x.isnan()
    low = x.masked_fill(lost, torch.inf).amin(dim, keepdim=True)
    high = x.masked_fill(lost, -torch.inf).amax(dim, keepdim=True)
    return (
        x.nanmean(dim, keepdim=True).masked_fill(high - low >= HALF * extent, NOWHERE).expand(shape)
    )


def sample(x: Tensor, dim: int, at: Tensor) -> Tensor:
    """The places at fractional indices of a dimension, continued in a straight line beyond it.

    Next to an element without a place, its neighbour's.

    >>> sample(torch.tensor([1.0, 3.0]), 0, torch.tensor([-1.0, 0.5, 1.0])).tolist()
    [-1.0, 2.0, 3.0]
    """
    n, shape = x.shape[dim], list(x.shape)
    shape[dim] = len(at)
    if n == 1 or (n > 1 and x.stride(dim) == 0):
        return x.narrow(dim, 0, 1).expand(shape)
    (x,) = thin(x)
    low = at.floor().clamp(0, n - 2).long()
    weight = (at - low).view([-1 if d == dim % x.dim() else 1 for d in range(x.dim())])
    a, b = x.index_select(dim, low), x.index_select(dim, low + 1)
    between = torch.where(weight == 0, a, torch.where(weight == 1, b, a + weight * (b - a)))
    return torch.where(between.isnan(), torch.where(a.isnan(), b, a), between).expand(shape)


def taps(n: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> Tensor:
    """The indices under the middle of a kernel as it moves along `n` padded elements.

    >>> taps(6, 2, 2, 0, 0, 1).tolist()
    [0.5, 2.5, 4.5]
    """
    reach = dilation * (kernel - 1)
    count = (n + before + after - reach - 1) // stride + 1
    return torch.arange(count, dtype=torch.float64) * stride - before + reach / 2


def upwards(
    n: int, kernel: int, stride: int, padding: int, dilation: int, extra: int = 0
) -> Tensor:
    """The indices that a transposed convolution's outputs come from.

    >>> upwards(2, 2, 2, 0, 1).tolist()
    [-0.25, 0.25, 0.75, 1.25]
    """
    reach = dilation * (kernel - 1)
    count = (n - 1) * stride - 2 * padding + reach + 1 + extra
    return (torch.arange(count, dtype=torch.float64) + padding - reach / 2) / stride


def bins(n: int, count: int) -> Tensor:
    """The middles of the `count` bins of an adaptive pooling of `n` elements.

    >>> bins(5, 2).tolist()  # 0 to 2 and 2 to 4
    [1.0, 3.0]
    """
    i = torch.arange(count)
    first, last = i * n // count, -((i + 1) * n // -count) - 1
    return (first + last).double() / 2
