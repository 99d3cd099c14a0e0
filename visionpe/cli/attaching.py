"""`visionpe attach`: an encoding put into a model; its plan, or its state on disk."""

import argparse
from pathlib import Path

from visionpe.cli.words import Parser, run
from visionpe.errors import ConfigError
from visionpe.writing import write


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code: 0, or 2 for what cannot be done.
    """
    return run(lambda: _attach(_parser().parse_args(argv)))


def _attach(words: argparse.Namespace) -> int:
    out = None if words.dry_run else _new_folder(words.out)
    from visionpe.cli.encoding import parse_encoding

    encoding = parse_encoding(words.encoding)  # before the model is made
    from visionpe.attaching.verbs import attach, status
    from visionpe.cli.probed import find_model

    size = tuple(words.size) if words.size else None
    found = find_model(words.model, size=size, pretrained=words.pretrained)
    at = words.at[0] if words.at and len(words.at) == 1 else words.at
    try:
        if out is None:
            print(attach(found.model, encoding, at=at, size=found.size, dry_run=True))
            return 0
        attach(found.model, encoding, at=at, size=found.size)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{words.encoding} cannot be attached to {words.model}: {error}") from (
            error
        )
    from visionpe.attaching.files import save

    plan = str(status(found.model)[-1])
    out.mkdir(parents=True, exist_ok=True)
    save(found.model, out / "attached")
    write(out / "plan.txt", f"{plan}\n")
    print(plan)
    print(f'\n{out / "attached.safetensors"}, .json: visionpe.load(model, "{out / "attached"}")')
    return 0


def _new_folder(name: str) -> Path:
    """Refuses a folder that holds anything."""
    out = Path(name)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"`--out` must be a folder, but {out} is a file. Name another.")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"`--out` must be a new or an empty folder, but {out} holds files.")
    return out


def _parser() -> Parser:
    parser = Parser(
        "attach",
        "Puts a position encoding into a model: shows where it would go, or writes the "
        "attached parameters and their recipe, which `visionpe.load` puts into the model again.",
    )
    parser.add_model()
    parser.add_argument(
        "encoding",
        metavar="ENCODING",
        help='a public name or a call: RelativeBias, or "RelativeBias(6, (14, 14))"; heads, '
        "widths, channels, rows and columns that are left out are those of each site",
    )
    parser.add_argument(
        "--at",
        nargs="+",
        metavar="NAME",
        help='"all", "first", or modules or patterns of their names (quoted)',
    )
    parser.add_size()
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dry-run", action="store_true", help="print the plan, change nothing")
    what.add_argument("--out", metavar="DIR", help="a new folder for the state and the plan")
    return parser
