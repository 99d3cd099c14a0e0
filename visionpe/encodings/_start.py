"""Layers that start at zero: part of a module that then starts as the identity.

Their own `reset_parameters` sets that start, so that whoever walks over `modules()` after
`to_empty`, in any order, gets what the constructor makes. They draw as torch's layer does first:
what is drawn after them, from the same seed, is what it would be after torch's.
"""

from typing import final

from torch import nn


@final
class ZeroLinear(nn.Linear):
    """`nn.Linear` of zeros.

    >>> ZeroLinear(1, 2).weight.tolist()
    [[0.0], [0.0]]
    """

    def reset_parameters(self) -> None:
        """Sets weights and biases to zero."""
        super().reset_parameters()
        zero(self)


@final
class ZeroConv1d(nn.Conv1d):
    """`nn.Conv1d` of zeros.

    >>> ZeroConv1d(1, 2, 1).bias.tolist()
    [0.0, 0.0]
    """

    def reset_parameters(self) -> None:
        """Sets weights and biases to zero."""
        super().reset_parameters()
        zero(self)


def zero(layer: nn.Linear | nn.Conv1d) -> None:
    """Sets weights and biases to zero, without drawing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
