"""`visionpe check`: the conformance checks on a module that the command line names."""

import argparse
import importlib
import os
import sys
import traceback
from difflib import get_close_matches
from typing import Any, NoReturn

from visionpe.errors import ConfigError, VisionPEError

_LAYOUTS = ("bchw", "bhwc", "bnc", "q", "qk")


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code: 0, 1 if a check failed, 2 for a command that cannot be understood.
    """
    try:
        return _check(_parser().parse_args(argv))
    except VisionPEError as error:
        if os.environ.get("VISIONPE_TRACEBACK") == "1":
            traceback.print_exception(error)
        else:
            print(f"visionpe: {error}", file=sys.stderr)
        return 2
    except SystemExit:  # of --help
        return 0


def _check(words: argparse.Namespace) -> int:
    make = _find(words.target)
    from visionpe.checking.kit import check

    try:
        result = check(
            make,
            layout=words.layout,
            channels=words.channels,
            heads=words.heads,
            head_dim=words.head_dim,
            method=words.method,
            only=words.only,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{words.target} cannot be checked: {error}") from error
    result.show()
    return 0 if result.passed else 1


def _find(target: str) -> Any:
    """What `PACKAGE.MODULE:NAME` names; modules of the current folder are found too."""
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise ConfigError(
            f"`target` must be PACKAGE.MODULE:FACTORY, but is {target!r}. For instance "
            "`visionpe:Sinusoidal2d`."
        )
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"`target` must name a module that can be imported, but {name} cannot: {error}. "
            "Modules of the current folder and installed packages are found."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise ConfigError(
                f"`target` must name what is in {name}, but it has no {part!r}.{hint}"
            )
        found = getattr(found, part)
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. `visionpe check --help` says more.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="visionpe check",
        description="Looks for the faults that position encodings commonly have: in visionpe's "
        "encodings, or in anybody's.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "target",
        metavar="PACKAGE.MODULE:FACTORY",
        help="a module, or a function or class that makes one when called without arguments",
    )
    parser.add_argument(
        "--layout",
        choices=_LAYOUTS,
        help="what a call takes: a map (bchw, bhwc), tokens (bnc), queries (q) or queries and keys "
        "(qk), both `b heads n d`; not needed for visionpe's own",
    )
    parser.add_argument("--channels", type=int, help="of the map or tokens")
    parser.add_argument("--heads", type=int, help="of the queries")
    parser.add_argument("--head-dim", type=int, help="of the queries")
    parser.add_argument("--method", default="forward", help="what to call instead of the module")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="these checks alone")
    return parser
