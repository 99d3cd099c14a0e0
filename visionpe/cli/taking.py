"""Which models take which encodings, as the census found it: read from a file, nothing is built."""

import ast
import csv
from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import visionpe
from visionpe.errors import ConfigError

CENSUS = Path(__file__).parent / "census.csv"
_MARKS = {"+": "yes", "-": "no such sites", "!": "refused", "": "not tried"}


class Row(NamedTuple):
    """A model of the census.

    Attributes:
        name: of timm, or of torchvision behind `torchvision:`.
        taken: by column (bias, rotary, conv, map, hanet, padding): "+" it takes it, "-" it has no
            such sites, "!" it does not, "" it was not tried.
        why: it does not.
    """

    name: str
    taken: dict[str, str]
    why: str


def read(pattern: str = "*") -> tuple[str, list[Row]]:
    """The versions that the census was made with, and the models whose names match.

    Raises:
        ConfigError: if none does.
    """
    with CENSUS.open(encoding="utf-8", newline="") as file:
        versions = file.readline().removeprefix("# ").strip()
        rows = [
            Row(
                line["name"],
                {k: v for k, v in line.items() if k not in ("name", "why")},
                line["why"],
            )
            for line in csv.DictReader(file)
        ]
    glob = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    matching = [row for row in rows if fnmatchcase(row.name, glob)]
    if not matching:
        near = get_close_matches(pattern, [row.name for row in rows], n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise ConfigError(
            f"PATTERN must match a name of {versions}, but {pattern!r} matches none.{hint}"
        )
    return versions, matching


def listing(rows: list[Row]) -> Iterator[str]:
    """Each model, and all that it takes."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        takes = [column for column, mark in row.taken.items() if mark == "+"]
        said = " ".join(takes) if any(row.taken.values()) else "not tried"
        yield f"  {row.name:<{width}}  {said}".rstrip()


def taking(rows: list[Row], encoding: str, versions: str) -> Iterator[str]:
    """The models that take an encoding, and how many do not.

    Raises:
        ConfigError: if it is no encoding that can be attached.
    """
    column = column_of(encoding)
    groups: dict[str, list[Row]] = {mark: [] for mark in _MARKS}
    for row in rows:
        groups[row.taken[column]].append(row)
    yield from (f"  {row.name}" for row in groups["+"])
    yield f"{len(groups['+'])} of {len(rows)} names take {encoding} ({versions})."
    if groups["-"]:
        yield f"{len(groups['-'])} have no {_SITES[column]}: {_few(groups['-'])}."
    for row in groups["!"]:
        yield f"not {row.name}: {row.why}"
    if groups[""]:
        yield f"{len(groups[''])} were not tried: {_few(groups[''])}."


_SITES = {
    "bias": "attention between places",
    "rotary": "attention between places",
    "conv": "convolution of a map",
    "map": "map or tokens",
    "hanet": "stages (`features_only`)",
}


def column_of(encoding: str) -> str:
    """The column that an encoding belongs to, told from its source.

    >>> column_of("RelativeBias"), column_of("Rotary"), column_of("Learned2d")
    ('bias', 'rotary', 'map')
    """
    name = encoding.partition("(")[0].strip().removeprefix("visionpe.")
    if name == "CoordConv":
        return "conv"
    columns = dict(kinds())
    if name not in columns:
        near = get_close_matches(name, [*columns, "CoordConv"], n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise ConfigError(
            f"`--for` must be an encoding that can be attached, but is {encoding!r}.{hint} "
            "`visionpe list encodings` names them."
        )
    return columns[name]


def kinds() -> Iterator[tuple[str, str]]:
    """Public encodings and their columns, told by the names of bases and methods in the source."""
    homes = {
        visionpe._HOME[n] for n in visionpe.__all__ if "encodings" in visionpe._HOME.get(n, "")
    }
    package = Path(visionpe.__file__).parent
    for home in sorted(homes):
        path = package.joinpath(*home.split(".")[1:]).with_suffix(".py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef) or visionpe._HOME.get(node.name) != home:
                continue
            bases = {ast.unparse(base) for base in node.bases}
            if node.name.endswith("Encoding") and bases & {"MapEncoding", "nn.Module"}:
                continue  # what an encoding is, and none itself
            if bases & {"MapEncoding", "PointEncoding"}:
                yield node.name, "hanet" if node.name == "HeightAttention" else "map"
            elif "AttentionEncoding" in bases:
                methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
                yield node.name, "rotary" if "rotate" in methods else "bias"


def _few(rows: list[Row]) -> str:
    names = [row.name for row in rows]
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
