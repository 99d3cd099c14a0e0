"""What a compiled graph makes once and keeps in memory, for all that read it."""

import torch
from torch import Tensor


def stored(x: Tensor) -> Tensor:
    """`x` itself; in a graph of `torch.compile`, as a tensor in memory.

    Its compiler otherwise puts what makes a tensor into the loops that read it: a table of angles
    or an index, the same for all samples and heads, is then made anew for each of them. Strides
    can be laid over memory alone. Exported graphs stay free of them.

    >>> x = torch.zeros(2)
    >>> stored(x) is x
    True
    """
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return x
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())
