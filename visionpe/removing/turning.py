"""What tensors of a rotary module are read as, so that nothing is turned."""

import re

import torch
from torch import Tensor, nn

from visionpe.removing.silent import Stand

_WAVELENGTH = re.compile("period|wavelen", re.IGNORECASE)
_CLOSE = 0.02  # of squares of sines and cosines, in half precision too


def unturned(module: nn.Module) -> dict[str, Stand]:
    """For each tensor of the module: sines 0, cosines 1, frequencies 0, wavelengths infinite.

    Tables are told by their squares, which sum to 1: within one, sines and cosines behind each
    other, or of two.

    >>> rope = nn.Module()
    >>> rope.register_buffer("table", torch.tensor([[0.0, 1.0], [0.6, 0.8]]))
    >>> unturned(rope)
    {'table': 'sine first'}
    """
    own = {
        name: tensor.detach()
        for name, tensor in [
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        ]
        if tensor.is_floating_point()
    }
    found: dict[str, Stand] = {}
    for name, tensor in own.items():
        found[name] = "infinity" if _WAVELENGTH.search(name) else "zeros"
        if tensor.dim() < 2:
            continue
        if tensor.shape[-1] % 2 == 0 and _circle(*(halves := tensor.chunk(2, -1))):
            found[name] = "sine first" if _is_cosine(halves[1], halves[0]) else "cosine first"
        for other in own.values():
            if other is not tensor and other.shape == tensor.shape and _circle(tensor, other):
                found[name] = "ones" if _is_cosine(tensor, other) else "zeros"
    return found


def _circle(a: Tensor, b: Tensor) -> bool:
    return bool(((a.float().square() + b.float().square() - 1).abs() < _CLOSE).all())


def _is_cosine(a: Tensor, b: Tensor) -> bool:
    """Of a cosine and a sine: slow waves begin near 1 and near 0."""
    means = [t.float().flatten(0, -2).mean(0).max() for t in (a, b)]
    return bool(torch.ge(*means))
