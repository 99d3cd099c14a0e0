"""What is attached where, as a person wants to read it."""

from dataclasses import dataclass
from itertools import groupby
from typing import Literal, final

from torch import nn

from visionpe.tracing.sites import Site

Kind = Literal["attention", "map", "conv"]
_HEADS = ("module", "acts on", "lattice", "prefix", "windows", "heads", "encoding", "parameters")


@final
@dataclass(frozen=True, eq=False)
class Entry:
    """One site, and the encoding for it.

    Attributes:
        site: as `visionpe.trace` found it.
        encoding: what acts there.
    """

    site: Site
    encoding: nn.Module

    def cells(self) -> tuple[str, ...]:
        """Its line of the table, without the module."""
        site = self.site
        attention = site.kind == "attention"
        return (
            "attention" if attention else f"{site.kind} {site.layout}",
            str(site.cells or "irregular"),
            str(site.prefix) if not site.suffix else f"{site.prefix}+{site.suffix}",
            "" if site.windows == 1 else str(site.windows),
            f"{site.heads} x {site.head_dim or '?'}" if attention else "",
            " ".join(repr(self.encoding).split()),
            str(sum(p.numel() for p in self.encoding.parameters())),
        )


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """Which sites of a model take an encoding; `print` shows a table.

    Attributes:
        model: the class of the model.
        name: of the encoding in the model.
        kind: how it acts: inside "attention", on what a module returns ("map"), or on what a
            "conv" takes.
        size: `(h, w)` of the images in pixels for which it was made.
        entries: the sites, in the order of execution.
        skipped: sites that were asked for, but cannot take encodings, and why.
    """

    model: str
    name: str
    kind: Kind
    size: tuple[int, int]
    entries: list[Entry]
    skipped: list[tuple[Site, str]]

    def __str__(self) -> str:
        """The table."""
        rows = []
        for cells, group in groupby(self.entries, key=Entry.cells):
            names = [entry.site.module or "(model)" for entry in group]
            more = f" ... {names[-1]} ({len(names)})" if len(names) > 1 else ""
            rows.append((names[0] + more, *cells))
        lines = [repr(self)[1:-1], *_aligned([_HEADS, *rows])]
        for why, skips in groupby(self.skipped, key=lambda pair: pair[1]):
            lines.append(f"not {', '.join(site.module for site, _ in skips)}: {why}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """What goes where, in one line."""
        h, w = self.size
        return f"<{self.name} at {len(self.entries)} sites of {self.model} for {h} x {w}>"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    used = [i for i in range(len(_HEADS)) if any(row[i] for row in rows[1:])]
    width = {i: max(len(row[i]) for row in rows) for i in used}
    return ["  ".join(row[i].ljust(width[i]) for i in used).rstrip() for row in rows]
