"""A stem's convolution and its coordinate term, a few images at a time.

Where few channels become many, the result is all there is to read and write, and a second pass over
it to add the term costs as much as concatenating. For a few images the result is still in the
cache when the term is added, on the way to its place.
"""

import torch
from torch import Tensor

from visionpe.encodings._convolve import Geometry, convolve

IMAGES = 16  # at a time: fewer waste calls, more fall out of the cache
LARGE = 2**25  # bytes: from here on the C library maps every block anew, page by page


def streams(x: Tensor, weight: Tensor, geometry: Geometry, *others: Tensor | None) -> bool:
    """Whether this convolution is a stem whose result is large, with no gradient to keep."""
    tensors = (x, weight, *others)
    kept = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if kept or torch.compiler.is_compiling() or x.device.type != "cpu":
        return False
    if weight.shape[1] > 4 or x.shape[0] < 2 * IMAGES:
        return False
    cells = 1
    for axis, n in enumerate(x.shape[2:]):
        reach = geometry.dilation[axis] * (weight.shape[2 + axis] - 1) + 1
        room = n + geometry.before[axis] + geometry.after[axis] - reach
        cells *= room // geometry.stride[axis] + 1
    return x.shape[0] * weight.shape[0] * cells * x.element_size() >= LARGE


def stream(
    x: Tensor, weight: Tensor, bias: Tensor | None, term: Tensor, geometry: Geometry, groups: int
) -> Tensor:
    """The convolution plus `term`, a map for all images; bit for bit what it is all at once."""
    result = None
    for start in range(0, x.shape[0], IMAGES):
        part = convolve(x[start : start + IMAGES], weight, bias, geometry, groups)
        if result is None:
            last = part.is_contiguous(memory_format=torch.channels_last)
            layout = torch.channels_last if last else torch.contiguous_format
            shape = (x.shape[0], *part.shape[1:])
            result = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
            term = term.to(part.dtype).contiguous(memory_format=layout)
        torch.add(part, term, out=result[start : start + IMAGES])
    assert result is not None
    return result
