"""How one float64 stands for a place, for a pair of places, or for no place.

A run follows one axis. The place of an element is its coordinate along that axis, in pixels of the
image; an element that does not come from the image has no place, NaN. A logit of attention belongs
to two places, its query's and its key's: both are packed into one number, so that views, rolls and
windows move them together.
"""

import torch
from torch import Tensor

NOWHERE = torch.nan
STEP = 2.0**-11  # places inside a pair are rounded to this, in pixels
REACH = 2.0**13  # and lie between -REACH and REACH
_SHIFT = REACH / STEP
_LOST = 2 * _SHIFT  # stands for no place
_BASE = 4 * _SHIFT  # pair = row + _BASE * (column + 1) < 2^52: exact


def nowhere(shape: tuple[int, ...] | torch.Size) -> Tensor:
    """A tensor of elements without a place, one number in memory."""
    return torch.full((), NOWHERE, dtype=torch.float64).expand(shape)


def is_nowhere(x: Tensor) -> bool:
    """Whether no element has a place."""
    return bool(thin(x)[0].isnan().all())


def thin(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, broadcast, each dimension along which all only repeat one element cut to 1.

    >>> thin(torch.ones(1, 3).expand(2, 3))[0].shape
    torch.Size([1, 3])
    """
    shape = torch.broadcast_shapes(*(t.shape for t in tensors))
    parts = [t.expand(shape) for t in tensors]
    for dim, n in enumerate(shape):
        if n > 1 and all(t.stride(dim) == 0 for t in parts):
            parts = [t.narrow(dim, 0, 1) for t in parts]
    return tuple(parts)


def squash(x: Tensor) -> Tensor:
    """The tensor, each dimension along which it does not vary cut to 1."""
    (x,) = thin(x)
    for dim in range(x.dim()):
        if not varies(x, dim):
            x = x.narrow(dim, 0, min(1, x.shape[dim]))
    return x


def varies(x: Tensor, dim: int) -> bool:
    """Whether places change along a dimension; no place is a value of its own.

    >>> varies(torch.tensor([[1.0, torch.nan], [1.0, torch.nan]]), 0)
    False
    """
    if x.shape[dim] < 2 or x.stride(dim) == 0:
        return False
    (x,) = thin(x)
    x = x.nan_to_num(-1.0)
    return bool((x != x.narrow(dim, 0, 1)).any())


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors, broadcast, hold the same places everywhere.

    >>> same(torch.tensor([1.0, torch.nan]), torch.tensor([[1.0, torch.nan]] * 2))
    True
    """
    a, b = thin(a, b)
    return torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0))


def pair(rows: Tensor, columns: Tensor) -> Tensor:
    """The logits of queries at `rows` and keys at `columns`, broadcast.

    >>> unpair(pair(torch.tensor([[1.5], [torch.nan]]), torch.tensor([[2.0, 3.0]])))[0].tolist()
    [[1.5, 1.5], [nan, nan]]
    """
    return _packed(rows) + _BASE * (_packed(columns) + 1)


def unpair(x: Tensor) -> tuple[Tensor, Tensor]:
    """The places of queries and keys of logits."""
    shape = x.shape
    (x,) = thin(x)
    columns = torch.floor(x / _BASE) - 1
    rows = x - _BASE * (columns + 1)
    whole = columns >= 0
    return _unpacked(rows, whole).expand(shape), _unpacked(columns, whole).expand(shape)


def is_pairs(x: Tensor) -> bool:
    """Whether a tensor holds logits: pairs of places.

    >>> is_pairs(torch.tensor([5.0])), is_pairs(pair(torch.tensor([5.0]), torch.tensor([7.0])))
    (False, True)
    """
    # All elements are or none is: a logit has no moment at which it is no pair.
    return x.numel() > 0 and bool(x[(0,) * x.dim()] >= _BASE)


def _packed(x: Tensor) -> Tensor:
    x = x.double()
    return torch.where(x.isnan(), _LOST, (x / STEP).round() + _SHIFT)


def _unpacked(x: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole & (x < _LOST), (x - _SHIFT) * STEP, NOWHERE)
