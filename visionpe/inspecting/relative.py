"""Relative tables, decomposed ones, and networks of offsets: all told by structure."""

from collections.abc import Iterator
from math import isqrt

from torch import Tensor, nn

from visionpe.inspecting.extents import Grid, heads_of, made_for, of_offsets
from visionpe.inspecting.sources import Source


def relatives(model: nn.Module) -> Iterator[Source]:
    """A table beside an index into it, two tables of odd length, offsets beside their network."""
    around: dict[str, nn.Module] = dict(model.named_modules())
    for name, module in around.items():
        if type(module).__module__.startswith("torch.nn.modules"):
            continue
        above = around.get(name.rpartition(".")[0], model)
        found = (
            _network(name, module, above)
            or _table(name, module, above)
            or _decomposed(name, module, above)
        )
        if found is not None:
            yield found


def _parameters(module: nn.Module, dims: tuple[int, ...]) -> list[tuple[str, nn.Parameter]]:
    own = module.named_parameters(recurse=False)
    return [(k, p) for k, p in own if p.dim() in dims and k != "weight"]


def _table(name: str, module: nn.Module, above: nn.Module) -> Source | None:
    """A table of two dimensions, or of three for vectors, beside a buffer of whole numbers.

    Or of three, of offsets along y and x for each head, of a module that names its window.
    """
    named = _of_window(name, module, above)
    if named is not None:
        return named
    indices = [b for b in module.buffers(recurse=False) if _is_index(b)]
    tables = [
        (k, p)
        for k, p in _parameters(module, (2, 3))
        if p.dim() == 2 or (p.shape[0] % 2 and p.shape[1] % 2 and p.shape[0] * p.shape[1] > 1)
    ]
    if not indices or not tables:
        return None
    index, (attribute, table) = indices[0], tables[0]
    grids, heads = made_for(module, above), heads_of(module, above)
    grid: Grid | None
    prefix, keys = 0, None
    if table.dim() == 3:  # rows x columns of offsets (lambda layers)
        grid = ((table.shape[0] + 1) // 2, (table.shape[1] + 1) // 2)
        n = grid[0] * grid[1]
    else:
        n = index.shape[-1] if index.dim() == 2 else isqrt(index.numel())
        if index.dim() == 2 and index.shape[0] != n:
            keys = n  # there are other queries than keys
        grid, prefix = of_offsets(table.shape[0], n, grids)
        lead = grid is not None and table.shape[1] == heads
        if not lead:
            other, more = of_offsets(table.shape[1], n, grids)
            if other is not None:
                grid, prefix, heads = other, more, table.shape[0]
        heads = heads or table.shape[1]
    return Source(
        "relative",
        name,
        attribute,
        tuple(table.shape),
        grid,
        prefix,
        heads,
        parameters=table.numel(),
        trainable=table.requires_grad,
        tokens=n if keys is None else index.shape[0],
        keys=keys,
        itemsize=table.element_size(),
        values=table.detach(),
    )


def _of_window(name: str, module: nn.Module, above: nn.Module) -> Source | None:
    """A table `heads 2h-1 2w-1` of a module that says its window and its heads (MaxViT)."""
    heads = heads_of(module)
    for attribute, table in _parameters(module, (3,)):
        for h, w in made_for(module):
            if tuple(table.shape) == (heads, 2 * h - 1, 2 * w - 1):
                return Source(
                    "relative",
                    name,
                    attribute,
                    tuple(table.shape),
                    (h, w),
                    heads=heads,
                    parameters=table.numel(),
                    trainable=table.requires_grad,
                    tokens=h * w,
                    itemsize=table.element_size(),
                    values=table.detach(),
                )
    return None


def _is_index(buffer: Tensor) -> bool:
    whole = not buffer.is_floating_point() and not buffer.is_complex()
    return whole and buffer.dim() >= 1 and buffer.numel() > 1


def _network(name: str, module: nn.Module, above: nn.Module) -> Source | None:
    """A buffer of pairs (or, with their distance, triples), and a child that takes as many."""
    for attribute, buffer in module.named_buffers(recurse=False):
        if buffer.dim() < 2 or buffer.shape[-1] not in (2, 3) or not buffer.is_floating_point():
            continue
        for _, child in module.named_children():
            layers = [m for m in child.modules() if isinstance(m, nn.Linear)]
            if not layers or layers[0].in_features != buffer.shape[-1]:
                continue
            grid = _offsets(buffer, made_for(module, above))
            weights = list(child.parameters())
            return Source(
                "relative_mlp",
                name,
                attribute,
                tuple(buffer.shape),
                grid,
                heads=layers[-1].out_features,
                parameters=sum(p.numel() for p in weights),
                trainable=all(p.requires_grad for p in weights),
                tokens=grid[0] * grid[1] if grid else None,
                itemsize=weights[0].element_size(),
            )
    return None


def _offsets(buffer: Tensor, grids: list[Grid]) -> Grid | None:
    """The window of a buffer `2h-1 2w-1 2` or `(hw hw) 2`."""
    if buffer.dim() >= 3:
        h, w = buffer.shape[-3:-1]
        return ((h + 1) // 2, (w + 1) // 2) if h * w > 1 else None
    n = isqrt(buffer.shape[0])
    if n * n != buffer.shape[0]:
        return None
    side = (isqrt(n), isqrt(n))
    return next((g for g in grids if g[0] * g[1] == n), side if side[0] ** 2 == n else None)


def _decomposed(name: str, module: nn.Module, above: nn.Module) -> Source | None:
    """Two tables `2n-1 d`, of rows and columns."""
    two = _parameters(module, (2,))
    if len(two) != 2 or two[0][1].shape[1] != two[1][1].shape[1]:
        return None
    lengths = [p.shape[0] for _, p in two]
    if any(n % 2 == 0 or n < 3 for n in lengths):
        return None
    grid = ((lengths[0] + 1) // 2, (lengths[1] + 1) // 2)
    first = two[0][1]
    return Source(
        "decomposed",
        name,
        ", ".join(k for k, _ in two),
        tuple(first.shape),
        grid,
        heads=heads_of(module, above),
        width=first.shape[1],
        parameters=sum(p.numel() for _, p in two),
        trainable=all(p.requires_grad for _, p in two),
        tokens=grid[0] * grid[1],
        itemsize=first.element_size(),
        values=first.detach(),
    )
