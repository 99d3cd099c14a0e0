"""`visionpe check`: the conformance checks on a module that the command line names."""

import argparse

from visionpe.cli.named import find
from visionpe.cli.words import Parser, run
from visionpe.errors import ConfigError

_LAYOUTS = ("bchw", "bhwc", "bnc", "q", "qk")


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code: 0, 1 if a check failed, 2 for a command that cannot be understood.
    """
    return run(lambda: _check(_parser().parse_args(argv)))


def _check(words: argparse.Namespace) -> int:
    make = find(words.target, "`target`", example="visionpe:Sinusoidal2d")
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


def _parser() -> Parser:
    parser = Parser(
        "check",
        "Looks for the faults that position encodings commonly have: in visionpe's "
        "encodings, or in anybody's.",
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
