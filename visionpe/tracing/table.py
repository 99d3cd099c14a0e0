"""A trace as a table for people: neighbours that differ in name only share a line."""

from itertools import groupby
from typing import TYPE_CHECKING

from visionpe.tracing.lattices import Lattice
from visionpe.tracing.sites import Site

if TYPE_CHECKING:
    from visionpe.tracing.run import Trace

_HEADS = ("module", "kind", "lattice", "spacing", "offset", "prefix", "windows", "heads", "what")


def table(trace: "Trace") -> str:
    """The sites, those of attention first."""
    lines = [repr(trace)[1:-1]]
    for sites, title in (
        (trace.attention, "attention"),
        (trace.convs, "convolutions: what they take"),
        (trace.outputs, "modules: what they return"),
    ):
        if sites:
            lines += ["", title, *_aligned([_HEADS, *_rows(sites)])]
    if trace.unknown:
        names = ", ".join(f"{name} ({n})" for name, n in sorted(trace.unknown.items()))
        lines += ["", f"operations not known, taken to have no place: {names}"]
    return "\n".join(lines)


def _rows(sites: list[Site]) -> list[tuple[str, ...]]:
    rows = []
    for cells, group in groupby(sites, key=_cells):
        names = list(dict.fromkeys(site.module or "(model)" for site in group))
        more = f" ... {names[-1]} ({len(names)})" if len(names) > 1 else ""
        rows.append((names[0] + more, *cells))
    return rows


def _cells(site: Site) -> tuple[str, ...]:
    return (
        site.layout or site.kind,
        str(site.lattice or "irregular"),
        _pixels(site.lattice.spacing if site.lattice else None),
        _pixels(site.lattice.offset if site.lattice else None),
        _tokens(site),
        _windows(site),
        f"{site.heads or '?'} x {site.head_dim or '?'}" if site.kind == "attention" else "",
        _what(site),
    )


def _pixels(yx: tuple[float, float] | None) -> str:
    return "" if yx is None else ", ".join(f"{v:g}" for v in yx)


def _tokens(site: Site) -> str:
    return f"{site.prefix}+{site.suffix}" if site.suffix else str(site.prefix)


def _windows(site: Site) -> str:
    if site.windows == 1:
        return ""
    return (
        f"{site.windows} of {site.window[0]} x {site.window[1]}"
        if site.window
        else (f"{site.windows}")
    )


def _what(site: Site) -> str:
    if site.kind == "conv":
        assert site.kernel is not None
        assert site.stride is not None
        kernel, stride = ("x".join(map(str, v)) for v in (site.kernel, site.stride))
        return f"{kernel} / {stride}" + (" transposed" if site.transposed else "")
    if site.kind != "attention":
        return ""
    if site.queries is None:
        return f"{site.call}, queries without place"
    other: Lattice | None = site.key_lattice
    return f"{site.call}, keys {other}" if other != site.lattice else f"{site.call}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    used = [i for i in range(len(_HEADS)) if any(row[i] for row in rows[1:])]
    width = {i: max(len(row[i]) for row in rows) for i in used}
    return ["  ".join(row[i].ljust(width[i]) for i in used).rstrip() for row in rows]
