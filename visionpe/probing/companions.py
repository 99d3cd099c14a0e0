"""What else leaks position in a layer: its receptive field and its errors under shifts."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from visionpe.probing.field import effective_field, field_side
from visionpe.probing.layers import Layer
from visionpe.probing.result import Companion
from visionpe.probing.shift import inside_and_border, shift_error


def companions(
    model: nn.Module, images: Float[Tensor, "b c h w"], layers: Sequence[Layer]
) -> dict[str, Companion]:
    """Receptive field and shift errors of each layer, by name.

    Args:
        model: left as it was.
        images: a few.
        layers: none, for none.
    """
    if not layers:
        return {}
    fields = effective_field(model, images, layers)
    errors = shift_error(model, images, layers)
    return {
        layer.name: Companion(
            fields[layer.name],
            field_side(fields[layer.name]),
            errors[layer.name],
            *inside_and_border(errors[layer.name]),
        )
        for layer in layers
    }
