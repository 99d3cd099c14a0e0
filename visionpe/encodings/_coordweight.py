"""The second kernel of a CoordConv layer, for the coordinate channels."""

from typing import Protocol

from torch import Tensor, nn


class CoordConv(Protocol):
    """The parts of `CoordConv1d` and `CoordConv2d` that have to do with their coordinate kernel."""

    weight: Tensor
    coord_weight: nn.Parameter
    bias: Tensor | None
    out_channels: int
    kernel_size: tuple[int, ...]
    align_corners: bool
    zero_init: bool
    _parameters: dict[str, nn.Parameter | None]


def add_coord_weight(layer: CoordConv, channels: int) -> None:
    shape = (layer.out_channels, channels, *layer.kernel_size)
    layer.coord_weight = nn.Parameter(layer.weight.new_empty(shape))
    reset_coord_weight(layer)


def reset_coord_weight(layer: CoordConv) -> None:
    if "coord_weight" not in layer._parameters:  # nn.Conv's own constructor resets before it exists
        return
    if layer.zero_init:
        nn.init.zeros_(layer.coord_weight)
        return
    fan_in = layer.weight[0].numel() + layer.coord_weight[0].numel()
    for parameter in (layer.weight, layer.coord_weight, layer.bias):
        if parameter is not None:
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)  # nn.Conv's law


def describe(layer: CoordConv, base: str, *, axes: int) -> str:
    radius = layer.coord_weight.shape[1] > axes
    return f"{base}, {radius=}, align_corners={layer.align_corners}, zero_init={layer.zero_init}"


def require_coordinates(coord_weight: Tensor, axes: int) -> None:
    if coord_weight.shape[1] not in (axes, axes + 1):
        raise ValueError(
            f"`coord_weight` must have {axes} input channels, or {axes + 1} with the radius, "
            f"but has {coord_weight.shape[1]}."
        )
