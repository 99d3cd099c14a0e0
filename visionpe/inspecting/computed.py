"""Rotations, computed sinusoids, convolutions that stand for position, and padding."""

from collections import Counter
from collections.abc import Iterator

from torch import nn

from visionpe.inspecting.extents import made_for
from visionpe.inspecting.hints import is_computed, is_position_convolution, is_rotary
from visionpe.inspecting.sources import Source
from visionpe.paddings.found import paddings


def rotations(model: nn.Module) -> Iterator[Source]:
    """Modules with a rotary name that hold frequencies, or tables made of them."""
    grids = [g for module in model.modules() for g in made_for(module)]
    for name, module in model.named_modules():
        if not is_rotary(type(module).__name__, name.rpartition(".")[2]):
            continue
        floats = [
            (k, t)
            for k, t in [*module.named_parameters(), *module.named_buffers()]
            if t.is_floating_point()
        ]
        if any(True for _ in module.children()) or not floats:
            continue
        attribute, tensor = floats[0]
        learned = list(module.parameters())
        grid = next(iter(made_for(module)), None)
        # Frequencies are those of one axis, each for a pair of features; learned ones and tables
        # hold both axes.
        whole = learned or tensor.dim() == 1
        width = tensor.shape[-1]
        if whole:
            width = 2 * width if learned else 4 * tensor.numel()
        cells = grid or next(iter(grids), None)
        yield Source(
            "rotary",
            name,
            attribute,
            tuple(tensor.shape),
            grid,
            width=width,
            count=tensor.numel() // width if learned else 1,  # as many numbers as features
            parameters=sum(p.numel() for p in learned),
            trainable=bool(learned) and all(p.requires_grad for p in learned),
            tokens=cells[0] * cells[1] if cells else None,
            itemsize=tensor.element_size(),
        )


def sinusoids(model: nn.Module) -> Iterator[Source]:
    """Modules that compute a code in each forward and have no table."""
    for name, module in model.named_modules():
        if not is_computed(type(module).__name__):
            continue
        weights = list(module.parameters())
        outs = [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)]
        outs += [m.out_features for m in module.modules() if isinstance(m, nn.Linear)]
        yield Source(
            "sinusoidal",
            name,
            width=outs[-1] if outs else None,
            parameters=sum(p.numel() for p in weights),
            trainable=bool(weights) and all(p.requires_grad for p in weights),
        )


def convolutions(model: nn.Module) -> Iterator[Source]:
    """Depthwise ones, in a module whose name says position."""
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if not isinstance(module, nn.Conv2d) or max(module.kernel_size) == 1:
            continue
        if module.groups != module.in_channels:  # depthwise, of one channel too
            continue
        path = name.split(".")
        owners = [".".join(path[:k]) for k in range(len(path), 0, -1)]
        if not any(
            is_position_convolution(type(modules[owner]).__name__, owner.rpartition(".")[2])
            for owner in owners
        ):
            continue
        weights = list(module.parameters())
        yield Source(
            "convolution",
            name,
            "weight",
            tuple(module.weight.shape),
            width=max(module.kernel_size),
            parameters=sum(p.numel() for p in weights),
            trainable=all(p.requires_grad for p in weights),
            itemsize=module.weight.element_size(),
        )


def pads(model: nn.Module) -> Iterator[Source]:
    """One source for each kind and mode of padding: the first module, and how many there are."""
    found = paddings(model)
    for (kind, mode), count in Counter((p.kind, p.mode) for p in found).items():
        first = next(p.module for p in found if (p.kind, p.mode) == (kind, mode))
        yield Source("padding", first, mode=f"{mode} ({kind})", count=count)
