"""`visionpe inspect`: what position a model has, before anything is added to it."""

import argparse
import json
import sys
from pathlib import Path

from visionpe.cli.words import Parser, run
from visionpe.errors import ConfigError


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code: 0, or 2 for what cannot be done.
    """
    return run(lambda: _inspect(_parser().parse_args(argv)))


def _inspect(words: argparse.Namespace) -> int:
    picture = Path(words.out) if words.out else None
    if picture is not None:
        require_new_file(picture)  # before the model is made
    from visionpe.cli.probed import find_model
    from visionpe.inspecting.run import inspect

    size = tuple(words.size) if words.size else None
    found = find_model(words.model, size=size, pretrained=words.pretrained)
    try:
        inventory = inspect(found.model, size)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{words.model} cannot be inspected: {error}") from error
    print(json.dumps(inventory.to_dict(), indent=2) if words.json else inventory)
    if picture is not None:
        inventory.plot().savefig(picture, dpi=150)
        print(picture, file=sys.stderr if words.json else sys.stdout)
    return 0


def require_new_file(path: Path) -> None:
    """Refuses a picture that is there, or that cannot be written.

    Raises:
        ConfigError: with the reason.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"`--out` must end in .png, .svg or .pdf, but is {path}.")
    if path.exists():
        raise ConfigError(f"`--out` must be a new file, but {path} is there. Name another.")
    if not path.parent.is_dir():
        raise ConfigError(f"`--out` must be in a folder that is there, but {path.parent} is not.")


def _parser() -> Parser:
    parser = Parser(
        "inspect",
        "Lists every source of position that a model has: tables, sinusoids, relative "
        "biases, rotations, convolutions that stand for position, and padding.",
    )
    parser.add_model()
    parser.add_size(
        "of the images in pixels: the model is traced, so that grids, prefix tokens and memory are "
        "those at this size"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--out", metavar="PNG", help="a new file for the picture")
    return parser
