"""How each kind of source is taken out of the module that holds it."""

from torch import nn

from visionpe.inspecting.sources import Source
from visionpe.removing.errors import RemoveError
from visionpe.removing.silent import Removed
from visionpe.removing.turning import unturned


def removals(source: Source, module: nn.Module) -> list[Removed]:
    """What to take out of a module, so that a source has no say.

    Tables and coordinates are read as zeros: what is added is zero, and a network of offsets, which
    sees the same offset everywhere, adds the same to all logits. Rotations turn by nothing. Modules
    that compute a code, and convolutions, return zeros.

    Raises:
        RemoveError: if what would be left is no model.
    """
    if source.kind == "rotary":
        learned = _learned(module)
        return [
            Removed("rotary", name, stand, (name,) if name in learned else ())
            for name, stand in unturned(module).items()
        ]
    if source.kind == "convolution":
        _require_residual(source, module)
    if source.kind == "convolution" or source.attribute is None:
        return [Removed(source.kind, None, "zeros", _learned(module))]
    learned = _learned(module)
    return [
        Removed(source.kind, name, "zeros", (name,) if name in learned else ())
        for name in source.attribute.split(", ")
    ]


def _learned(module: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, p in module.named_parameters() if p.requires_grad)


def _require_residual(source: Source, module: nn.Module) -> None:
    """Refuses a convolution that its input cannot stand beside, so that nothing else goes on."""
    assert isinstance(module, nn.Conv2d)
    reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    same = module.padding == "same" or [2 * int(p) for p in module.padding] == reach
    if set(module.stride) != {1} or module.in_channels != module.out_channels or not same:
        raise RemoveError(
            f"`{source.module}` cannot be removed: it changes the size of the map, so that what "
            "follows has nothing else to go on. Set its padding instead, where its position comes "
            f"from: visionpe.set_padding(model, 'circular', at={source.module!r})."
        )
