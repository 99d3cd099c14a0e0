"""Pictures of encodings: channels of a code, how alike the codes of cells are, maps a head."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from visionpe.plots import canvas
from visionpe.plots.style import GREY, panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Axes2d = np.ndarray[Any, Any]


def similarity(
    code: Float[Tensor, "d h w"], *, rows: int = 5, columns: int = 7
) -> Float[Tensor, "rows columns h w"]:
    """Cosine similarity of the codes of some cells with those of all cells.

    As in figure 7 of arXiv 2010.11929, at `rows x columns` cells spread evenly over the map.

    Raises:
        ValueError: if more rows or columns are asked for than the map has.

    >>> similarity(torch.tensor([[[1.0, -1.0]]]), rows=1, columns=2).flatten(2).tolist()
    [[[1.0, -1.0], [-1.0, 1.0]]]
    """
    h, w = code.shape[1:]
    for name, asked, there in (("rows", rows, h), ("columns", columns, w)):
        if not 0 < asked <= there:
            raise ValueError(f"`{name}` must be 1 to {there}, as the map has, but is {asked}.")
    unit = torch.nn.functional.normalize(code.double(), dim=0)
    y, x = (spread(n, k) for n, k in ((h, rows), (w, columns)))
    return torch.einsum("drc,dhw->rchw", unit[:, y][:, :, x], unit).to(code.dtype)


def spread(n: int, k: int) -> Tensor:
    """`k` of `n` cells, evenly spread and symmetric.

    >>> spread(7, 3).tolist()
    [1, 3, 5]
    """
    return ((2 * torch.arange(k) + 1) * n // (2 * k)).clamp(max=n - 1)


def code_figure(
    code: Float[Tensor, "d h w"],
    names: Sequence[str],
    *,
    rows: int = 5,
    columns: int = 7,
) -> tuple["Figure", Axes2d]:
    """A few channels of a code, and the similarity of some cells' codes with all.

    Args:
        code: of all cells of a map.
        names: of the channels to show, the first of the code; each has its own colour range.
        rows, columns: of the cells whose similarities are shown.
    """
    k = len(names)
    with style():
        wide = code.shape[2] / code.shape[1]
        sheet = wide * columns / rows
        figure, axes = panels(
            1,
            k + 1,
            width=1.8 * (k * wide + sheet) + 0.4,
            height=1.8,
            width_ratios=[*[wide] * k, sheet],
        )
        for ax, channel, name in zip(axes[0], code, names, strict=False):
            signed(ax, channel)
            ax.set_title(name)
        mosaic(axes[0, k], similarity(code, rows=rows, columns=columns))
        axes[0, k].set_title("similarity with the marked cell")
    return figure, axes


def head_figure(
    maps: Float[Tensor, "k heads h w"],
    cells: Sequence[tuple[int, int]],
    *,
    title: str,
    names: Sequence[str] | None = None,
) -> tuple["Figure", Axes2d]:
    """What a query at some cells gives to each key, one column a head and one row a query.

    Args:
        maps: for each query cell and head, a number for every key.
        cells: `(y, x)` of the query cells, marked.
        title: what the numbers are.
        names: of the columns; "head 1" and so on by default.
    """
    k, heads = maps.shape[:2]
    maps = maps.detach()
    with style():
        tall = 1.75 * maps.shape[2] / maps.shape[3] + 0.1
        figure, axes = panels(k, heads, width=1.75 * heads + 0.9, height=tall)
        bound = float(maps.abs().max()) or 1.0
        for line, row, cell in zip(axes, maps, cells, strict=True):
            for ax, part in zip(line, row, strict=True):
                image = signed(ax, part, bound=bound)
                mark(ax, *cell)
        for head, ax in enumerate(axes[0]):
            ax.set_title(names[head] if names else f"head {head + 1}")
        bar = figure.colorbar(image, ax=axes, fraction=0.03, aspect=12 * k)
        bar.set_label(title)
        bar.outline.set_linewidth(0.4)
    return figure, axes


def matrix_figure(
    parts: Sequence[Float[Tensor, "_ _"]], titles: Sequence[str]
) -> tuple["Figure", Axes2d]:
    """Matrices side by side, each with its own colour range."""
    with style():
        figure, axes = panels(1, len(parts), width=3.6 * len(parts), height=2.2)
        for ax, part, title in zip(axes[0], parts, titles, strict=True):
            signed(ax, part)
            ax.set(title=title, aspect="auto")
    return figure, axes


def alike(code: Float[Tensor, "d n"]) -> Float[Tensor, "n n"]:
    """Cosine similarity of the codes of any two places of a sequence.

    >>> alike(torch.tensor([[1.0, -2.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    unit = torch.nn.functional.normalize(code, dim=0)
    return unit.mT @ unit


def signed(ax: "Axes", part: Float[Tensor, "h w"], *, bound: float | None = None) -> Any:
    """Draws a map of numbers of either sign: red above zero, blue below, white at zero."""
    part = part.detach()
    most = bound or float(part.abs().max()) or 1.0
    image = ax.imshow(part.float().numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
    bare(ax, *part.shape)
    return image


def mosaic(ax: "Axes", maps: Float[Tensor, "rows columns h w"], *, gap: int = 1) -> None:
    """Draws small maps side by side, each with the cell that it belongs to marked."""
    rows, columns, h, w = maps.shape
    maps = maps.detach()
    sheet = torch.full((rows * (h + gap) - gap, columns * (w + gap) - gap), torch.nan)
    for i, y in enumerate(spread(h, rows).tolist()):
        for j, x in enumerate(spread(w, columns).tolist()):
            top, left = i * (h + gap), j * (w + gap)
            sheet[top : top + h, left : left + w] = maps[i, j]
            ax.plot(left + x, top + y, ".", color="black", markersize=2.2)
    ax.imshow(sheet.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    bare(ax, *sheet.shape)
    for side in ax.spines.values():
        side.set_visible(False)


def mark(ax: "Axes", y: float, x: float) -> None:
    """Marks the cell of a query."""
    ax.plot(x, y, "o", color="black", markersize=4, markerfacecolor="none", markeredgewidth=1.0)


def bare(ax: "Axes", h: int, w: int) -> None:
    """A canvas of `h x w` cells without numbers at its sides."""
    canvas.cells(ax, h, w)
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set(visible=True, linewidth=0.5, color=GREY)
