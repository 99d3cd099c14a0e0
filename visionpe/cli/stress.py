"""`visionpe stress`: what a trained classifier loses when its test images change."""

import argparse
import contextlib
import csv
import json
import time
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visionpe.cli.words import Parser, run
from visionpe.errors import CheckpointError, ConfigError, RunFolderError, VisionPEError
from visionpe.writing import write

if TYPE_CHECKING:
    import lightning as L

    from visionpe.tasks.classification import Classification
    from visionpe.tasks.stress import Point


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code, as of `visionpe.__main__.main`.
    """
    return run(lambda: _stress(_parser().parse_args(argv), ["visionpe", "stress", *argv]))


class Trained(NamedTuple):
    """A classifier with its data, as a checkpoint holds them.

    Attributes:
        task: with the checkpoint's weights.
        data: as it was configured for the training.
        file: the checkpoint.
        step: optimiser steps that made it.
    """

    task: "Classification"
    data: "L.LightningDataModule"
    file: Path
    step: int


def load(target: str | Path, changes: dict[str, Any] | None = None) -> Trained:
    """A trained classifier and its data, made anew from a checkpoint alone.

    Args:
        target: a run's folder (its best checkpoint is taken, else the last), or a checkpoint.
        changes: of the data's arguments.

    Raises:
        CheckpointError: if there is no checkpoint, it is damaged, or it is of another task.
        ConfigError: if it does not say its data, or the data cannot be made.
    """
    from lightning.pytorch.cli import instantiate_module

    from visionpe.cli import trained

    file = _file(Path(target))
    task, checkpoint = trained.load(file)
    data = (checkpoint.get("visionpe") or {}).get("data") or {}
    if not data.get("class_path"):
        raise ConfigError(f"The checkpoint {file} must say its data, but does not: train it anew.")
    settings = {**(data.get("init_args") or {}), **(changes or {})}
    try:
        module: Any = instantiate_module(
            _class(data["class_path"]), {"class_path": data["class_path"], "init_args": settings}
        )
    except VisionPEError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"The data of {file} cannot be made: {lines[-1].strip()}") from error
    return Trained(task, module, file, int(checkpoint.get("global_step", 0)))


def _stress(words: argparse.Namespace, command: list[str]) -> int:
    from visionpe.tasks.stress_views import FAMILIES

    unknown = [name for name in words.only or () if name not in FAMILIES]
    if unknown:
        raise ConfigError(f"`--only` must be of {', '.join(FAMILIES)}, but has {unknown[0]!r}.")
    if words.images < 1:
        raise ConfigError(f"`--images` must be at least 1, but is {words.images}.")
    _require_device(words.device)
    trained = load(words.target, _pairs(words.data))
    out = _folder(words.out, trained.file)
    try:
        return _measured(words, command, trained, out)
    except BaseException:
        with contextlib.suppress(OSError):
            out.rmdir()  # unless something is in it
        raise


def _measured(words: argparse.Namespace, command: list[str], trained: "Trained", out: Path) -> int:
    from visionpe.tasks.stress import stress
    from visionpe.tasks.stress_views import FAMILIES

    trained.data.prepare_data()
    trained.data.setup("test")
    loader = trained.data.test_dataloader()
    total = getattr(loader, "n", None)
    started = time.monotonic()
    points = stress(
        trained.task.to(words.device),
        loader,
        only=words.only or FAMILIES,
        images=words.images,
        total=total,
        seed=words.seed,
    )
    seconds = time.monotonic() - started
    n = max(point.n for point in points)
    print(table(points))
    print(f"\n{n} test images, {seconds:.0f} s")
    about = {
        "command": command,
        "checkpoint": str(trained.file),
        "step": trained.step,
        "images": n,
        "seconds": round(seconds, 1),
    }
    _write(out, points, about, f"{trained.file}, step {trained.step}, {n} test images")
    print(out)
    return 0


def _require_device(name: str) -> None:
    """Refuses a device that there is not."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0].partition(". ")[0]
        raise ConfigError(
            f"`--device` must be one of this machine's, such as cpu, but is {name!r}: {first}."
        ) from error


def table(points: "list[Point]") -> str:
    """The points as lines of text: a family and level a row, with frames and without beside."""
    both = any(point.frames for point in points)
    rows = [["view", "level", "accuracy", "95 %", "drift"]]
    if both:
        rows[0] += ["no frames", "95 %", "drift"]
    without = {(p.family, p.level): p for p in points if not p.frames}
    framed = {(p.family, p.level): p for p in points if p.frames}
    for key, point in without.items():
        cells = _cells(framed.get(key)) + _cells(point) if both else _cells(point)
        rows.append([key[0], _level(point), *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    refused: dict[str, list[Point]] = {}
    for point in points:
        if point.reason:
            refused.setdefault(point.family, []).append(point)
    for family, which in refused.items():
        levels = ", ".join(dict.fromkeys(_level(point) for point in which))
        lines.append(f"{family} {levels}: refused by the model: {which[0].reason}")
    return "\n".join(lines)


def _cells(point: "Point | None") -> list[str]:
    if point is None or not point.n:
        return ["-", "", ""]
    return [f"{point.accuracy:.3f}", f"{point.low:.3f}..{point.high:.3f}", f"{point.drift:.3f}"]


def _level(point: "Point") -> str:
    from visionpe.tasks.stress_views import FLIPS

    return FLIPS[int(point.level)] if point.family == "flip" else f"{point.level:g}"


def _file(path: Path) -> Path:
    """The checkpoint that is meant."""
    if not path.is_dir():
        return path  # whatever is wrong with it, `read` says
    for name in ("best", "last"):
        if (path / "checkpoints" / f"{name}.ckpt").is_file():
            return path / "checkpoints" / f"{name}.ckpt"
    raise CheckpointError(
        f"{path} must be a run's folder or a checkpoint, but has no checkpoints/best.ckpt or "
        "last.ckpt."
    )


def _folder(asked: str | None, file: Path) -> Path:
    """A new folder: the one asked for, or one beside the run or the checkpoint."""
    run = file.resolve().parent.parent
    beside = run if (run / "config.yaml").is_file() else file.resolve().with_suffix("")
    stem = f"{beside.name}-stress-{file.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    out = Path(asked) if asked else beside.parent / stem
    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        if not out.is_dir() or any(out.iterdir()):
            raise RunFolderError(
                f"`--out` must be a new or empty folder, but {out} is not."
            ) from error
    except OSError as error:
        raise RunFolderError(f"{out} cannot be made: {error.strerror}.") from error
    return out


def _write(out: Path, points: "list[Point]", about: dict[str, Any], title: str) -> None:
    from visionpe.plots.style import png
    from visionpe.tasks.stress_picture import stress_curves

    rows = [point.to_dict() for point in points]
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    content = {
        "stress.csv": text.getvalue().encode(),
        "stress.json": (json.dumps({**about, "points": rows}, indent=1) + "\n").encode(),
        "stress.png": png(stress_curves(points, title=title)[0]),
    }
    for name, data in content.items():
        try:
            write(out / name, data)
        except OSError as error:
            raise RunFolderError(f"{out / name} cannot be written: {error.strerror}.") from error


def _pairs(words: list[str] | None) -> dict[str, Any]:
    import yaml

    found = {}
    for word in words or ():
        key, sign, value = word.partition("=")
        if not sign:
            raise ConfigError(f"`--data` must be KEY=VALUE, but is {word!r}.")
        found[key] = yaml.safe_load(value)
    return found


def _class(path: str) -> type:
    from importlib import import_module

    module, _, name = path.rpartition(".")
    found: type = getattr(import_module(module), name)
    return found


def _parser() -> Parser:
    parser = Parser(
        "stress",
        "Accuracy and feature drift of a trained classifier against the resolution, "
        "aspect ratio, shift, crop offset, flip and patch shuffle of its test images, with frames "
        "and without. Writes a table, a CSV, a JSON file and a picture into a folder of its own.",
    )
    parser.add_argument("target", metavar="RUN_OR_CKPT", help="a run's folder, or a checkpoint")
    parser.add_argument("--only", nargs="+", metavar="FAMILY", help="these kinds of change alone")
    parser.add_argument("--images", type=int, default=2000, help="at most so many (2000)")
    parser.add_argument("--data", nargs="+", metavar="KEY=VALUE", help="changes of the data")
    parser.add_argument("--out", help="the folder; by default a new one beside the run")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffles")
    return parser
