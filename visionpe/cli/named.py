"""What `PACKAGE.MODULE:NAME` names, in installed packages and in the current folder."""

import sys
import sysconfig
from difflib import get_close_matches
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any

import visionpe
from visionpe.errors import ConfigError


def find(target: str, argument: str, *, example: str) -> Any:
    """The object of that name.

    Args:
        target: `PACKAGE.MODULE:NAME`; NAME may have dots.
        argument: what messages call it.
        example: of a target, for messages.

    Raises:
        ConfigError: if it is no such name, or there is no such module or nothing so called in it.

    >>> find("math:pi", "`target`", example="math:e")
    3.141592653589793
    """
    name, _, attribute = target.partition(":")
    if not name or name.startswith(".") or not attribute:
        raise ConfigError(
            f"{argument} must be PACKAGE.MODULE:FACTORY, but is {target!r}. For instance "
            f"`{example}`."
        )
    folder = Path.cwd()
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    _forget_others(name, folder)
    try:
        found: Any = import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{argument} must name a module that can be imported, but {name} cannot: {error}. "
            "Modules of the current folder and installed packages are found."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise ConfigError(
                f"{argument} must name what is in {name}, but it has no {part!r}.{hint}"
            )
        found = getattr(found, part)
    return found


def _forget_others(name: str, folder: Path) -> None:
    """Drops a loaded package or module of another folder where this one has its own."""
    for parent in accumulate(name.split("."), lambda above, part: f"{above}.{part}"):
        path = folder.joinpath(*parent.split("."))
        files = (path.with_suffix(".py"), path / "__init__.py")
        loaded = getattr(sys.modules.get(parent), "__file__", None)
        if loaded is None or not any(file.is_file() for file in files) or _stays(loaded):
            continue
        if Path(loaded).resolve() not in [file.resolve() for file in files]:
            top = name.partition(".")[0]
            for other in [key for key in sys.modules if key.partition(".")[0] == top]:
                del sys.modules[other]
            return


def _stays(file: str) -> bool:
    """Whether a module is Python's, an installed package's or ours: others hold on to it."""
    homes = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    homes.append(str(Path(visionpe.__file__).parent))
    return any(Path(file).is_relative_to(home) for home in homes)
