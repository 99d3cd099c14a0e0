"""Shift equivariance: whether a layer's maps follow the image, and where they do not.

An image rolled by as many pixels as a layer's cells are apart should give the same map, rolled by
one cell. Where it does not, features tell where they are. Networks that pad circularly and sample
evenly follow exactly; zero padding errs at the edge, and further inside the deeper a layer is.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.probing.features import record
from visionpe.probing.layers import Layer, find_layers
from visionpe.tracing.run import trace


def shift_error(
    model: nn.Module, images: Float[Tensor, "b c h w"], layers: Sequence[str] | Sequence[Layer]
) -> dict[str, Float[Tensor, "i j"]]:
    """The relative error of shift equivariance of each cell: 0 follows, 1 is unrelated.

    For images rolled by one cell up, down, left and right: the distance of the features of a cell
    from those that it should have, root of the mean square over images, directions and channels,
    divided by what it is between unrelated features, `sqrt(2)` times their standard deviation.
    A cell at the edge is compared with the one that came round.

    Args:
        model: left as it was.
        images: a few.
        layers: as of `visionpe.probing.features.record`; cells must be whole pixels apart, or they
            are compared after a roll by the nearest number of pixels.

    >>> net = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    >>> shift_error(net, torch.randn(2, 1, 4, 6), [""])[""].max().item() < 1e-5
    True
    """
    chosen = _layers(model, images, layers)
    errors: dict[str, Tensor] = {}
    with record(model, chosen) as maps_of:
        still = {name: found.double() for name, found in maps_of(images).items()}
        for spacing in dict.fromkeys(layer.spacing for layer in chosen):
            here = [layer for layer in chosen if layer.spacing == spacing]
            for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
                pixels = sign * max(1, round(spacing[axis]))
                moved = maps_of(images.roll(pixels, axis + 2))
                for layer in here:
                    wanted = still[layer.name].roll(sign, axis + 2)
                    missed = (moved[layer.name].double() - wanted).square().mean((0, 1))
                    errors[layer.name] = errors.get(layer.name, 0) + missed / 4
    result = {}
    for layer in chosen:
        variance = still[layer.name].var((0, 2, 3), correction=0).mean()
        error = (errors[layer.name] / (2 * variance).clamp(min=1e-30)).sqrt()
        result[layer.name] = error.float().cpu()
    return result


def inside_and_border(error: Float[Tensor, "i j"], *, edge: int = 1) -> tuple[float, float]:
    """The root mean square of errors more than `edge` cells from the edge, and nearer.

    NaN where there is no such cell.

    >>> inside_and_border(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.5, 1.0], [1.0, 1.0, 1.0]]))
    (0.5, 1.0)
    """
    inner = torch.zeros_like(error, dtype=torch.bool)
    inner[edge : error.shape[0] - edge, edge : error.shape[1] - edge] = True
    inside, border = (error[part].square().mean().sqrt().item() for part in (inner, ~inner))
    return inside, border


def _layers(
    model: nn.Module, images: Tensor, layers: Sequence[str] | Sequence[Layer]
) -> list[Layer]:
    given = [layer for layer in layers if isinstance(layer, Layer)]
    if len(given) == len(layers):
        return given
    c, h, w = images.shape[1:]
    names = [layer for layer in layers if isinstance(layer, str)]
    return find_layers(trace(model, h, w, channels=c), model, names)
