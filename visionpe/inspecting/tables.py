"""Absolute tables: learned, or fixed as sinusoids are."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from visionpe.inspecting.extents import Grid, made_for, of_map, of_tokens, widths
from visionpe.inspecting.hints import PREFIX, is_rotary, is_table
from visionpe.inspecting.sources import Kind, Source


def tables(model: nn.Module) -> Iterator[Source]:
    """By their name; or a parameter `1 n d` that has a row for each cell of a grid of the model."""
    grids = [g for module in model.modules() for g in made_for(module)]
    for name, module in model.named_modules():
        if is_rotary(type(module).__name__, name.rpartition(".")[2]):
            continue
        last = name.rpartition(".")[2]
        if isinstance(module, nn.Embedding) and is_table(last):
            yield _table(model, name, module, "weight", module.weight, grids)
        held = isinstance(module, nn.ParameterList | nn.ParameterDict) and is_table(last)
        if type(module).__module__.startswith("torch.nn.modules") and not held:
            continue
        has_index = any(not b.is_floating_point() for b in module.buffers(recurse=False))
        for attribute, tensor in _own(module):
            named = held or is_table(attribute)
            if not tensor.is_floating_point() or not 2 <= tensor.dim() <= 4 or has_index:
                continue
            if named or _fits(tensor, made_for(*module.modules())):
                yield _table(model, name, module, attribute, tensor, grids)


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _fits(tensor: Tensor, grids: list[Grid]) -> bool:
    """Whether a table without a telling name counts exactly the cells of a grid."""
    one, cells = tensor.shape[0] == 1, {h * w for h, w in grids}
    learned = isinstance(tensor, nn.Parameter)
    return learned and one and tensor.dim() == 3 and tensor.shape[1] in cells - {1}


def _of_sinusoids(tensor: Tensor, prefix: int, width: int) -> bool:
    """Whether a table's cells are pairs of a sine and a cosine: the squares of a pair add to one.

    No: of a table without numbers, on the meta device.
    """
    if tensor.is_meta:
        return False
    by_cell = tensor.movedim(1, -1) if tensor.dim() == 4 and tensor.shape[1] == width else tensor
    cells = by_cell.reshape(-1, width)[prefix:].double()
    wanted = torch.full(cells.shape[:1], width / 2, dtype=cells.dtype, device=cells.device)
    return torch.allclose(cells.square().sum(-1), wanted, rtol=1e-2)


def _table(
    model: nn.Module,
    name: str,
    module: nn.Module,
    attribute: str,
    tensor: Tensor,
    grids: list[Grid],
) -> Source:
    own = [*made_for(*module.modules()), *grids]
    shape, prefix = tuple(tensor.shape), 0
    grid: Grid | None = None
    if len(shape) == 4:
        grid, width = of_map(shape, widths(module) | widths(model))
    elif len(shape) == 3 and shape[0] != 1:
        width = shape[-1]  # a table for each axis, or each stage
        if shape[:2] in own:
            grid = (shape[0], shape[1])
    elif len(shape) == 3 and shape[:2] in own:
        grid, width = (shape[0], shape[1]), shape[-1]
    else:
        said = getattr(module, PREFIX, getattr(model, PREFIX, None))
        width = shape[-1]
        grid, prefix = of_tokens(shape[-2], own, said)
    learned = isinstance(tensor, nn.Parameter)
    # What does not learn may be fixed, or part of a backbone that is frozen.
    kept = not tensor.requires_grad and any(p.requires_grad for p in model.parameters())
    alone = all(p.requires_grad for p in module.parameters() if p is not tensor)
    fixed = not learned or (kept and (alone or _of_sinusoids(tensor.detach(), prefix, width)))
    kind: Kind = "sinusoidal" if fixed else "absolute"
    return Source(
        kind,
        name,
        attribute,
        shape,
        grid,
        prefix,
        width=width,
        parameters=tensor.numel() if learned else 0,
        trainable=learned and tensor.requires_grad,
        tokens=grid[0] * grid[1] + prefix if grid else None,
        itemsize=tensor.element_size(),
        values=tensor.detach(),
    )
