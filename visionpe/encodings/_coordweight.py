"""The second kernel of a CoordConv layer, for the coordinate channels."""

from torch import Tensor, nn


def coordinate_kernel(layer: nn.Conv1d | nn.Conv2d, channels: int) -> nn.Parameter:
    """A kernel beside the layer's own, for so many coordinate channels; its values are not set."""
    return nn.Parameter(layer.weight.new_empty(layer.out_channels, channels, *layer.kernel_size))


def reset(weight: Tensor, coord_weight: Tensor, bias: Tensor | None, *, zero_init: bool) -> None:
    """Zeroes the coordinate kernel, or draws all parameters anew over the joint fan-in."""
    if zero_init:
        nn.init.zeros_(coord_weight)
        return
    fan_in = weight[0].numel() + coord_weight[0].numel()
    for parameter in (weight, coord_weight, bias):
        if parameter is not None:
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)  # nn.Conv's law


def require_coordinates(coord_weight: Tensor, axes: int) -> None:
    """Refuses a kernel that is neither for the coordinates nor for them and the radius."""
    if coord_weight.shape[1] not in (axes, axes + 1):
        raise ValueError(
            f"`coord_weight` must have {axes} input channels, or {axes + 1} with the radius, "
            f"but has {coord_weight.shape[1]}."
        )
