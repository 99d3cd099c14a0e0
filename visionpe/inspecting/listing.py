"""An inventory as a table for people: sources that differ in name only share a line."""

from itertools import groupby
from typing import TYPE_CHECKING

from visionpe.inspecting.sources import Source

if TYPE_CHECKING:
    from visionpe.inspecting.run import Inventory

_HEADS = ("kind", "where", "shape", "grid", "prefix", "heads", "parameters", "memory", "what")


def listing(inventory: "Inventory") -> str:
    """The sources; parameters and memory are those of one of the modules on a line."""
    first = repr(inventory)[1:-1]
    if inventory.size:
        first += f", at {inventory.size[0]} x {inventory.size[1]}"
    if not inventory.sources:
        return first + "\n\nnothing found: no table, rotation, position convolution or padding"
    rows = [_HEADS, *_rows(inventory.sources)]
    used = [i for i in range(len(_HEADS)) if any(row[i] for row in rows[1:])]
    width = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    lines = ["  ".join(row[i].ljust(width[i]) for i in used).rstrip() for row in rows]
    if inventory.nothing_found:
        lines += ["", "nothing found but padding: if it knows positions, then from there,"]
        lines += ["from a network that mixes tokens, or from what its forward computes"]
    return "\n".join([first, "", *lines])


def _rows(sources: list[Source]) -> list[tuple[str, ...]]:
    rows = []
    for (kind, *cells), group in groupby(sources, key=_cells):
        paths = [source.path or "(model)" for source in group]
        more = f" ... {paths[-1]} ({len(paths)})" if len(paths) > 1 else ""
        rows.append((kind, paths[0] + more, *cells))
    return rows


def _cells(source: Source) -> tuple[str, ...]:
    memory = source.memory()
    return (
        source.kind,
        " x ".join(map(str, source.shape)),
        f"{source.grid[0]} x {source.grid[1]}" if source.grid else "",
        str(source.prefix) if source.prefix else "",
        str(source.heads) if source.heads else "",
        f"{source.parameters:,}" if source.parameters else "",
        _bytes(memory) if memory else "",
        f"{source.mode}, {source.count} modules" if source.mode else "",
    )


def _bytes(n: int) -> str:
    """With its unit.

    >>> _bytes(512), _bytes(3 * 2**20)
    ('512 B', '3.0 MiB')
    """
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B"
