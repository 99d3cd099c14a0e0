"""An inventory as a picture: what is where, and the tables themselves."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from visionpe.inspecting.sources import Source

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from visionpe.inspecting.run import Inventory


_AXES = {
    "cosine to the middle": ("row, cells", "column, cells"),
    "bias": ("offset along y, from the first", "offset along x, from the first"),
}


def picture(inventory: "Inventory") -> "Figure":
    """Kinds along the model; beside them the first absolute and the first relative table.

    An absolute table is shown as each cell's cosine to the middle one, a relative one as the mean
    over heads of the bias of each offset.

    Raises:
        ValueError: if nothing was found.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not inventory.sources:
        raise ValueError(f"`inventory` must have a source, but {inventory.model} has none.")
    panels = [p for p in (_absolute(inventory), _relative(inventory)) if p is not None]
    figure = Figure(figsize=(6.5 + 3.2 * len(panels), 3.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(panels), squeeze=False, width_ratios=[2, *[1] * len(panels)])
    _along(axes[0, 0], inventory)
    for ax, (title, values, bound) in zip(axes[0, 1:], panels, strict=True):
        path, _, what = title.partition(": ")
        shown = ax.imshow(values.numpy(), cmap="RdBu_r", vmin=-bound, vmax=bound)
        bar = figure.colorbar(shown, ax=ax, shrink=0.7, label=what)
        bar.outline.set_visible(False)
        ax.set(xlabel=_AXES[what][1], ylabel=_AXES[what][0])
        ax.set_title(path, fontsize="small")
    for ax in axes[0]:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.tick_params(labelsize="small", length=2)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[0, 1:]:
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def _along(ax: Any, inventory: "Inventory") -> None:
    kinds = list(dict.fromkeys(s.kind for s in inventory.sources))
    for order, source in enumerate(inventory.sources):
        ax.scatter(order, kinds.index(source.kind), s=25, color=f"C{kinds.index(source.kind)}")
    ax.set_yticks(range(len(kinds)), kinds)
    ax.set(xlabel="source, in the order of the table", ylim=(len(kinds) - 0.5, -0.5))
    ax.set_title(f"{inventory.model}: sources of position", fontsize="small")


def _absolute(inventory: "Inventory") -> tuple[str, Tensor, float] | None:
    for source in [*inventory.of("absolute"), *inventory.of("sinusoidal")]:
        cells = _cells(source)
        if cells is not None:
            h, w = cells.shape[:2]
            middle = cells[h // 2, w // 2]
            alike = torch.cosine_similarity(cells, middle.expand_as(cells), -1)
            return f"{source.path}: cosine to the middle", alike, 1.0
    return None


def _cells(source: Source) -> Tensor | None:
    """`h w d`, of a table as it is stored."""
    values = source.values
    if values is None or values.is_meta or source.width is None:
        return None
    values = values.float().cpu()
    if values.dim() == 4:
        values = values[0]
        channels_last = values.shape[-1] == source.width
        return values if channels_last else values.movedim(0, -1)
    rows = values.reshape(-1, source.width)[source.prefix :]
    side = round(len(rows) ** 0.5)
    grid = source.grid if source.grid and source.grid[0] * source.grid[1] == len(rows) else None
    grid = grid or ((side, side) if side * side == len(rows) else None)
    return rows.unflatten(0, grid) if grid else None


def _relative(inventory: "Inventory") -> tuple[str, Tensor, float] | None:
    for source in inventory.of("relative"):
        values = source.values
        if values is None or values.is_meta or source.heads is None:
            continue
        if values.dim() == 3 and values.shape[0] == source.heads:
            values = values.flatten(1)
        if values.dim() != 2:
            continue
        heads_last = values.shape[1] == source.heads
        mean = values.float().cpu().mean(1 if heads_last else 0)
        h, w = source.grid or (0, 0)
        sides = [(2 * h - 1, 2 * w - 1), (h, w)]
        shape = next((s for s in sides if s[0] * s[1] == len(mean) - 3 * source.prefix), None)
        if shape is None:
            continue
        shown = mean[: shape[0] * shape[1]].unflatten(0, shape)
        return f"{source.path}: bias", shown, max(float(shown.abs().max()), 1e-6)
    return None
