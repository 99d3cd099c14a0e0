"""Which images a read-out is fitted to, chooses by and is tested on."""

import torch
from jaxtyping import Int
from torch import Tensor

from visionpe.probing.readout import FIT, HELD, TEST

_TEST = 0.3
_HELD = 0.2  # of the rest


def split(n: int, seed: int, groups: Int[Tensor, " n"] | None = None) -> Int[Tensor, " n"]:
    """The role of each of `n` images: about 30 % `TEST`; of the rest a fifth `HELD`, others `FIT`.

    Args:
        n: how many images.
        seed: of the draw.
        groups: a number for each image, alike for images that tell of one another, such as crops
            of one photograph: groups are drawn, and get one role; None: each image alone.

    >>> split(10, 0).bincount().tolist()
    [6, 1, 3]
    """
    if groups is not None:
        kinds, kind = groups.unique(return_inverse=True)
        return split(len(kinds), seed)[kind]
    fit, held, _ = parts(n)
    roles = torch.full((n,), TEST)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    roles[order[:fit]] = FIT
    roles[order[fit : fit + held]] = HELD
    return roles


def parts(n: int) -> tuple[int, int, int]:
    """How many of `n` images are fitted to, held out and tested on.

    >>> parts(50)
    (28, 7, 15)
    """
    test = max(1, round(_TEST * n))
    held = max(1, round(_HELD * (n - test)))
    return n - test - held, held, test


def least(required: int) -> int:
    """The fewest images of which so many are fitted to.

    >>> least(28)
    50
    """
    n = required + 2
    while parts(n)[0] < required:
        n += 1
    return n
