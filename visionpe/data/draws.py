"""Random numbers of a sample: a pure function of `(seed, epoch, index)`, for a whole batch at once.

SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) in counter form: nothing is drawn in turn, so that
neither the batch a sample falls into, nor a worker process, nor a stop changes its numbers.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from visionpe.data.loader import stable_seed

_GOLDEN = -0x61C8864680B583EB  # 2^64 / golden ratio, as a signed number
_MIX1, _MIX2 = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def uniforms(
    index: Int64[Tensor, " b"], draws: int, *, seed: int, epoch: int
) -> Float32[Tensor, "b draws"]:
    """Numbers in [0, 1), `draws` for each sample.

    Args:
        index: the samples' rows in their data set.
        draws: how many numbers a sample gets; the first ones do not depend on how many there are.
        seed: the run's.
        epoch: counted from 0.

    >>> numbers = uniforms(torch.tensor([7, 2]), 3, seed=0, epoch=1)
    >>> bool((numbers[1:] == uniforms(torch.tensor([2]), 3, seed=0, epoch=1)).all())
    True
    """
    key = splitmix(index * _GOLDEN + stable_seed(seed, epoch))
    steps = torch.arange(1, draws + 1, device=index.device) * _GOLDEN
    return ((splitmix(key[:, None] + steps) >> 40) & 0xFFFFFF).float() / 2**24


def splitmix(state: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """SplitMix64's output for a state: 64 bits, as signed numbers."""
    state = (state ^ _shift(state, 30)) * _MIX1
    state = (state ^ _shift(state, 27)) * _MIX2
    return state ^ _shift(state, 31)


@contextmanager
def kept() -> Iterator[None]:
    """Puts the states of the three generators that `reseed` seeds back at the end."""
    states = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def reseed(*numbers: int) -> None:
    """Seeds torch (CPU), numpy and Python, for augmentations that draw from those generators."""
    seed = stable_seed(*numbers)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed queues a call for each GPU
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _shift(bits: Int64[Tensor, "*n"], by: int) -> Int64[Tensor, "*n"]:
    """Unsigned shift to the right."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
