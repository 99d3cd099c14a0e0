"""The effective receptive field: how far around a cell the image matters to it.

Luo et al., arXiv:1701.04128: the gradient of the centre unit with respect to the image, its size
averaged over images. A field that does not reach the edge of the image cannot see it, and a cell
knows its place at most as far as its field meets the edge.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.probing.features import record
from visionpe.probing.layers import Layer


def effective_field(
    model: nn.Module, images: Float[Tensor, "b c h w"], layers: Sequence[str] | Sequence[Layer]
) -> dict[str, Float[Tensor, "h w"]]:
    """The share that each pixel has in the gradient of each layer's centre cell; sums to 1.

    Of the sum of the cell's channels; sizes of gradients, summed over colours, averaged over
    images. All 0 where the centre does not depend on the image, or no gradient reaches it because
    the model runs that part under `torch.no_grad`.

    Args:
        model: left as it was; its parameters get no gradients.
        images: a few.
        layers: as of `visionpe.probing.features.record`.

    >>> net = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False)
    >>> field = effective_field(net, torch.zeros(1, 1, 1, 5), [""])[""]
    >>> (field > 0).tolist()
    [[False, True, True, True, False]]
    """
    fields: dict[str, Tensor] = {}
    with record(model, layers, (images.shape[2], images.shape[3]), gradients=True) as maps_of:
        seen = images.detach().clone().requires_grad_()
        maps = maps_of(seen)
        for number, (name, found) in enumerate(maps.items()):
            h, w = found.shape[2:]
            # The one centre, or the four around it: a field has no side that it leans to.
            rows, columns = slice((h - 1) // 2, h // 2 + 1), slice((w - 1) // 2, w // 2 + 1)
            last = number == len(maps) - 1
            centre = found[:, :, rows, columns].mean((2, 3)).sum()
            gradient: Tensor | None = None
            if centre.requires_grad:
                (gradient,) = torch.autograd.grad(
                    centre, seen, retain_graph=not last, allow_unused=True
                )
            if gradient is None:
                gradient = torch.zeros_like(seen)
            size = gradient.abs().sum(1).double().mean(0).cpu()
            fields[name] = (size / size.sum().clamp(min=torch.finfo(size.dtype).tiny)).float()
    return fields


def field_side(field: Float[Tensor, "h w"]) -> float:
    """The side, in pixels, of the evenly filled square whose spread is that of the field.

    A plain average over `k x k` pixels has `k`. Of a field that is all 0, 0.

    >>> round(field_side(torch.full((1, 3), 1 / 3)), 6)  # 1 and 3, as root of the mean of squares
    2.236068
    """
    total = field.double()
    if not float(total.sum()):
        return 0.0
    sides = []
    for axis in range(2):
        share = total.sum(1 - axis) / total.sum()
        place = torch.arange(len(share), dtype=torch.float64)
        middle = (share * place).sum()
        sides.append(12 * (share * (place - middle) ** 2).sum() + 1)
    return float(torch.stack(sides).mean().sqrt())
