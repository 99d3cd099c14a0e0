"""`visionpe probe`: how much position a network encodes, layer by layer, with controls."""

import argparse
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from visionpe.cli.words import Parser, count, run
from visionpe.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from visionpe.cli.probed import Probed
    from visionpe.data.photographs import Normalised
    from visionpe.probing.images import Images
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
    given = _images(words, probed)
    try:
        with _progress() as progress:
            result = probe(
                probed.model,
                given.batches,
                layers=words.layers,
                size=probed.size,
                targets=words.targets,
                readout=Ridge(kernel=words.kernel),
                seeds=words.seeds,
                batch_size=words.batch_size,
                groups=given.groups,
                progress=progress,
            )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{words.model} cannot be probed: {error}") from error
    meta: dict[str, Any] = {**result.meta, "command": shlex.join(command), **given.meta}
    meta["model"] = words.model
    result = replace(result, meta=meta)
    print(result)
    if out is not None:
        print(result.save(out)[0])
    return 0


class _Given(NamedTuple):
    """Images, or None of all for generated ones.

    Attributes:
        batches: of crops, normalised, or generated ones of another number than by default.
        groups: the photograph that each is of.
        meta: where they come from, and what they were normalised with.
    """

    batches: "Normalised | Images | None" = None
    groups: "Tensor | None" = None
    meta: Mapping[str, Any] = MappingProxyType({})


def _images(words: argparse.Namespace, probed: "Probed") -> _Given:
    """Crops of photographs as the model expects them: in its colours, with its mean and deviation.

    Raises:
        ConfigError: if the model takes neither one channel nor three.
    """
    from visionpe.attaching.refusals import image_channels

    if words.images is None:
        if words.crops is None:
            return _Given()
        from visionpe.probing.images import generated

        made = generated(
            *probed.size,
            channels=probed.channels or image_channels(probed.model, probed.size),
            n=words.crops,
            batch_size=words.batch_size,
        )
        return _Given(made, meta={"images": made.origin})
    from visionpe.data.photographs import (
        GREY_MEAN,
        GREY_STD,
        IMAGENET_MEAN,
        IMAGENET_STD,
        Normalised,
        find_photographs,
        grey,
        photograph_of,
        random_crops,
    )
    from visionpe.tracing.refusals import runs

    channels = probed.channels
    if channels is None:  # a stem may begin with another operation than its first convolution
        model, size = probed.model, probed.size
        channels = 3 if runs(model, 3, size) else image_channels(model, size)
    if channels not in (1, 3):
        raise ConfigError(
            f"`--images` must be for a model of 1 or 3 channels, but {words.model} takes "
            f"{channels}. Leave it out."
        )
    files = find_photographs(words.images)
    many = words.crops or _CROPS
    crops = random_crops(files, many, *probed.size)
    mean = probed.mean or (GREY_MEAN if channels == 1 else IMAGENET_MEAN)
    std = probed.std or (GREY_STD if channels == 1 else IMAGENET_STD)
    images = grey(crops) if channels == 1 else crops
    used = min(len(files), many)
    return _Given(
        Normalised(images, words.batch_size, mean, std),
        photograph_of(many, files),
        {
            "images": f"{many} random crops of {used} photographs in {words.images}",
            "mean": list(mean),
            "std": list(std),
        },
    )


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
        "--crops", type=count, help=f"how many images of either kind; {_CROPS} by default"
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
