"""Warm-up, and one half cosine or none after it, by the optimiser's steps."""

import math


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """The factor of the learning rate at a step.

    Rises in a line over `warmup` steps, the first of which is not zero, then falls to zero at
    `steps` in half a cosine (arXiv 1608.03983, without restarts).

    Args:
        step: optimiser steps done.
        steps: of the whole run.
        warmup: of the rise.

    >>> [round(warmup_cosine(s, steps=6, warmup=2), 2) for s in range(7)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    left = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, left)))


def warmup_constant(step: int, *, steps: int, warmup: int) -> float:
    """The factor of the learning rate at a step: rises as `warmup_cosine`, then stays.

    Args:
        step: optimiser steps done.
        steps: of the whole run; not needed.
        warmup: of the rise.

    >>> [warmup_constant(s, steps=4, warmup=2) for s in range(4)]
    [0.5, 1.0, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / max(1, warmup))
