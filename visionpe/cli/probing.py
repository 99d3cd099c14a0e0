"""`visionpe probe`: how much position a network encodes, layer by layer, with controls."""

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionpe.cli.words import Parser, count, run
from visionpe.errors import ConfigError

if TYPE_CHECKING:
    from visionpe.cli.probed import Probed
    from visionpe.probing.plan import Progress

_CROPS = 64


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code: 0, 2 for what cannot be done, 130 for Ctrl-C.
    """
    command = ["visionpe", "probe", *argv]
    said = "interrupted; nothing was written"
    return run(lambda: _probe(_parser().parse_args(argv), command), interrupted=said)


def _probe(words: argparse.Namespace, command: list[str]) -> int:
    out = Path(words.out) if words.out else None
    if out is not None:  # before minutes of work
        from visionpe.probing.page_files import check_folder

        check_folder(out)
    from visionpe.cli.probed import find_model
    from visionpe.probing.linear import Ridge
    from visionpe.probing.suite import probe

    probed = find_model(
        words.model,
        size=tuple(words.size) if words.size else None,
        weights=words.weights,
        pretrained=words.pretrained,
    )
    images, origin = _images(words, probed)
    try:
        with _progress() as progress:
            result = probe(
                probed.model,
                images,
                layers=words.layers,
                size=probed.size,
                targets=words.targets,
                readout=Ridge(kernel=words.kernel),
                seeds=words.seeds,
                batch_size=words.batch_size,
                progress=progress,
            )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{words.model} cannot be probed: {error}") from error
    meta: dict[str, Any] = {**result.meta, "command": shlex.join(command), **origin}
    meta["model"] = words.model
    result = replace(result, meta=meta)
    print(result)
    if out is not None:
        print(result.save(out)[0])
    return 0


def _images(words: argparse.Namespace, probed: "Probed") -> tuple[Any, dict[str, str]]:
    """Batches of crops, and where they come from; None for generated ones."""
    if words.images is None:
        return None, {}
    from visionpe.data.photographs import (
        IMAGENET_MEAN,
        IMAGENET_STD,
        Normalised,
        find_photographs,
        random_crops,
    )

    files = find_photographs(words.images)
    crops = random_crops(files, words.crops, *probed.size)
    batches = Normalised(
        crops, words.batch_size, probed.mean or IMAGENET_MEAN, probed.std or IMAGENET_STD
    )
    used = min(len(files), words.crops)
    said = f"{words.crops} random crops of {used} photographs in {words.images}"
    return batches, {"images": said}


@contextmanager
def _progress() -> Iterator["Progress"]:
    """A bar on the error stream, if that is a terminal, with what is being done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        shown = bar.add_task("reading images", total=None)

        def progress(done: int, total: int, what: str) -> None:
            bar.update(shown, completed=done, total=total, description=what)

        yield progress


def _parser() -> Parser:
    parser = Parser(
        "probe",
        "Reads position out of a network's layers, beside controls that are always on.",
    )
    parser.add_model()
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="a folder of photographs, of which random crops are taken; without it dead-leaves "
        "images are generated",
    )
    parser.add_argument(
        "--crops", type=count, default=_CROPS, help=f"how many; {_CROPS} by default"
    )
    parser.add_argument(
        "--layers", nargs="+", metavar="NAME", help="modules or patterns of their names (quoted)"
    )
    parser.add_argument(
        "--targets",
        nargs="+",
        default=["H", "V", "G", "HS", "VS"],
        help="of H, V, G, HS, VS, radius, quadrant, 'smooth noise'; the first five by default",
    )
    parser.add_size()
    parser.add_argument("--kernel", type=int, choices=(1, 3, 7), default=1, help="of the read-out")
    parser.add_argument("--seeds", type=count, default=3, help="splits of the images")
    parser.add_argument("--batch-size", type=count, default=16)
    parser.add_argument("--weights", metavar="FILE", help="to load; nothing in it is run")
    parser.add_argument(
        "--out", metavar="DIR", help="a new folder for index.html, JSON, CSV and pictures"
    )
    return parser
