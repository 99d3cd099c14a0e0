"""Sums of products: matrix products and convolutions."""

from typing import NamedTuple

import torch
from torch import Tensor

from visionpe.tracing.codes import (
    is_nowhere,
    is_pairs,
    nowhere,
    pair,
    same,
    squash,
    thin,
    unpair,
    varies,
)
from visionpe.tracing.moves import collapse, sample, taps, upwards
from visionpe.tracing.state import Arguments, Rule, Run


class Convolved(NamedTuple):
    """A convolution that was met: where its input sits, and how it moves over it."""

    module: str
    shape: tuple[int, ...]  # of the input
    places: Tensor  # of the input, channels collapsed
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    transposed: bool


def product(a: Tensor, b: Tensor, run: Run) -> Tensor:
    """The places of `a @ b`.

    Features of one token sit at one place, so a sum over features of queries and of keys gives
    logits; a sum over tokens gives what all of them have in common: mostly no place.
    """
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"shapes cannot be multiplied ({a.shape[-2]}x{a.shape[-1]} and "
            f"{b.shape[-2]}x{b.shape[-1]})"
        )
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    full = (*batch, a.shape[-2], b.shape[-1])
    if is_pairs(a):
        # Weights over keys times values stay with the query; a mix of heads keeps the pairs.
        mixed = is_nowhere(b) and not varies(a, -1)
        return (a if mixed else kept(a, -1)).narrow(-1, 0, 1).expand(full)
    if is_pairs(b):
        mixed = is_nowhere(a) and not varies(b, -2)
        return (b if mixed else kept(b, -2)).narrow(-2, 0, 1).expand(full)
    if is_nowhere(b):
        return collapse(a, -1, run.extent).expand(full)
    if is_nowhere(a):
        return collapse(b, -2, run.extent).expand(full)
    spread_a, spread_b = varies(a, -1), varies(b, -2)
    if spread_a and spread_b:
        return nowhere(full)
    if spread_a:
        return b.narrow(-2, 0, 1).expand(full)
    if spread_b:
        return a.narrow(-1, 0, 1).expand(full)
    rows, columns = a.narrow(-1, 0, 1), b.narrow(-2, 0, 1)
    if same(rows, columns):  # each place with itself: lambdas, gates
        return rows.expand(full)
    run.logits += 1
    run.width = a.shape[-1]
    return pair(*thin(rows), *thin(columns)).expand(full)


def kept(logits: Tensor, dim: int) -> Tensor:
    """The places that remain after a sum of logits over a dimension: those constant along it.

    The dimension is kept with one element.
    """
    line = logits
    for d in range(logits.dim()):
        line = line if d == dim % logits.dim() else line.narrow(d, 0, 1)
    rows, columns = (varies(part, dim) for part in unpair(line))
    last = dim % logits.dim() == logits.dim() - 1
    return unpair(logits.narrow(dim, 0, 1))[columns < rows or (columns == rows and not last)]


def mm(arguments: Arguments, run: Run) -> Tensor:
    """`mm`, `bmm` and `matmul`."""
    tensors = [x for x in arguments["args"] if isinstance(x, Tensor)]
    return product(tensors[0], tensors[1], run)


def addmm(arguments: Arguments, run: Run) -> Tensor:
    """`addmm` and `baddbmm`: what is added has no say."""
    tensors = [x for x in arguments["args"] if isinstance(x, Tensor)]
    return product(tensors[1], tensors[2], run)


def mv(arguments: Arguments, run: Run) -> Tensor:
    """A matrix times a vector."""
    a, b = [x for x in arguments["args"] if isinstance(x, Tensor)][-2:]
    return product(a, b[:, None], run)[..., 0]


def linear(arguments: Arguments, run: Run) -> Tensor:
    """A token stays where it is."""
    return product(arguments["input"], arguments["weight"].mT, run)


def convolution(arguments: Arguments, run: Run) -> Tensor:
    """To the middle of the kernel."""
    x: Tensor = arguments["input"]
    weight: Tensor = arguments["weight"]
    space, transposed = x.dim() - 2, bool(arguments["transposed"])
    kernel = tuple(weight.shape[2:])
    stride, padding, dilation, extra = (
        _each(arguments[name], space)
        for name in ("stride", "padding", "dilation", "output_padding")
    )
    groups: int = arguments["groups"]
    takes = weight.shape[0] if transposed else weight.shape[1] * groups
    if x.shape[1] != takes:
        raise RuntimeError(f"a convolution of {takes} channels got {x.shape[1]}")
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    at = []
    for i in range(space):
        n, k, s, p, d = x.shape[2 + i], kernel[i], stride[i], padding[i], dilation[i]
        at.append(upwards(n, k, s, p, d, extra[i]) if transposed else taps(n, k, s, p, p, d))
        if len(at[-1]) < 1:
            raise RuntimeError(f"a kernel of {k} cannot be larger than its padded input")
    if is_pairs(x):
        shape = (x.shape[0], channels, *map(len, at))
        mixed = set(kernel) == set(stride) == {1}
        return x[:, :1].expand(shape) if mixed else nowhere(shape)
    x = out = collapse(x, 1, run.extent)
    for i in range(space):
        out = sample(out, 2 + i, at[i])
    shape = (x.shape[0], takes, *x.shape[2:])
    name = run.stack[-1].name if run.stack else ""
    run.found.append(Convolved(name, shape, squash(x).clone(), kernel, stride, transposed))
    return out.expand(x.shape[0], channels, *out.shape[2:])


def _each(value: list[int], n: int) -> tuple[int, ...]:
    return tuple(value) * (n if len(value) == 1 else 1)


RULES: dict[str, Rule] = {
    "mm": mm,
    "bmm": mm,
    "matmul": mm,
    "addmm": addmm,
    "baddbmm": addmm,
    "_addmm_activation": addmm,
    "mv": mv,
    "addmv": mv,
    "linear": linear,
    "convolution": convolution,
    "_convolution": convolution,
}
