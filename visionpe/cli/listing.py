"""`visionpe list`: what the package holds, read from its source without importing any of it."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path

import visionpe
from visionpe.cli import modules, taking
from visionpe.cli.words import run
from visionpe.errors import ConfigError

_PACKAGE = Path(visionpe.__file__).parent
# Bases of what no run is made of.
_NO_PARTS = {"ABC", "NamedTuple", "Exception", "nn.Module", "Source", "Dataset"}
_KINDS = ("encodings", "tasks", "data", "configs")
_USAGE = f"""\
usage: visionpe list [{"|".join(_KINDS)}]
       visionpe list models [PATTERN] [--for ENCODING]

Models are those of timm and torchvision, and what they take is what the census found.
"""


def main(argv: list[str]) -> int:
    """Prints the names of a kind, or of all kinds, each with the first line of its docstring."""
    if argv and argv[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    if argv and argv[0] == "models":
        return run(lambda: _models(argv[1:]))
    unknown = [word for word in argv if word not in _KINDS]
    if unknown:
        near = get_close_matches(unknown[0], (*_KINDS, "models"), n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        print(
            f"visionpe list: the kind must be one of {', '.join(_KINDS)}, models, "
            f"but is {unknown[0]!r}.{hint}",
            file=sys.stderr,
        )
        return 2
    for kind in argv or _KINDS:
        rows = list(entries(kind))
        if not argv:
            print(f"{kind}:")
        width = max((len(name) for name, _ in rows), default=0)
        for name, line in rows:
            print(f"  {name:<{width}}  {line}".rstrip())
    return 0


def _models(argv: list[str]) -> int:
    """Models by pattern, and by an encoding that they take."""
    words = list(argv)
    if words and words[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    encoding = _option(words, "--for")
    if len(words) > 1 or (words and words[0].startswith("-")):
        raise ConfigError(
            f"`visionpe list models` takes one PATTERN, but is given {' '.join(words)!r}."
        )
    versions, rows = taking.read(*words)
    lines = taking.listing(rows)
    if encoding is not None:
        lines = taking.taking(rows, encoding, versions)
    for line in lines:
        print(line)
    return 0


def _option(words: list[str], name: str) -> str | None:
    """Takes an option and its value out of the words."""
    for i, word in enumerate(words):
        if word.startswith(f"{name}="):
            return words.pop(i).partition("=")[2]
        if word == name:
            if i + 1 == len(words):
                raise ConfigError(f"`{name}` must be followed by an encoding, but ends the line.")
            return words.pop(i) and words.pop(i)
    return None


def entries(kind: str) -> Iterator[tuple[str, str]]:
    """Pairs of a name and its first docstring line.

    Args:
        kind: `encodings`, the public names that live in that package; `tasks` or `data`, the public
            classes of their modules; `configs`, the files below `configs/`.
    """
    match kind:
        case "encodings":
            yield from _encodings()
        case "tasks":
            yield from _classes(modules.TASKS)
        case "data":
            yield from _classes(modules.DATA)
        case "configs":
            yield from _configs()


def _encodings() -> Iterator[tuple[str, str]]:
    sources: dict[str, dict[str, str]] = {}
    for name in visionpe.__all__:
        home = visionpe._HOME.get(name, "")
        if home.startswith("visionpe.encodings.") or name == "CoordConv":  # that is attached
            if home not in sources:
                sources[home] = dict(_definitions(home))
            if name in sources[home]:
                yield name, sources[home][name]


def _classes(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The classes that a configuration can name: neither abstract ones nor plain records."""
    for module in names:
        yield from _definitions(module, concrete=True)


def _definitions(module: str, *, concrete: bool = False) -> Iterator[tuple[str, str]]:
    """The public classes, and unless `concrete` the functions, of a module that is there."""
    path = _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    if not path.is_file():
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        bases = {ast.unparse(base) for base in getattr(node, "bases", [])}
        bases = {base.partition("[")[0] for base in bases}
        if not concrete or (bases and not bases & _NO_PARTS):
            yield node.name, (ast.get_docstring(node) or "").partition("\n")[0]


def _configs() -> Iterator[tuple[str, str]]:
    """The YAML files of the working copy, with the first sentence of their comment."""
    folder = Path("configs") if Path("configs").is_dir() else _PACKAGE.parent / "configs"
    for path in sorted(folder.rglob("*.yaml")):
        lines = takewhile(lambda line: line.startswith("#"), path.read_text("utf-8").splitlines())
        comment = " ".join(line.lstrip("# ") for line in lines)
        sentence = re.split(r"\.(?: |$)", comment)[0]
        yield str(path), f"{sentence}." if sentence else ""
