"""The page: runs in, one self-contained HTML file with its figures and tables beside it out."""

import base64
import csv
import io
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import visionpe
from visionpe.errors import RunFolderError
from visionpe.plots import png
from visionpe.report import paper
from visionpe.report.answers import Answers, answers
from visionpe.report.figures import MEASURES, Measure, Picture, pictures, split_picture
from visionpe.report.recipe import Recipe
from visionpe.report.run import Run, names

PAGE = "index.html"
_OURS = re.compile(r'<meta name="visionpe-report" content="([^"]*)">')
_COLUMNS = (
    *("run", "network", "encoding", "parameters", "split", "train", "test", "cpu_seconds", "seed"),
    "recipe",
)


def make(runs: Sequence[Run], command: Sequence[str] = ()) -> dict[str, bytes]:
    """The files of a report by name; nothing is written.

    Args:
        runs: of the three tasks on Not-so-Clevr, in any mixture; at least one.
        command: what is shown as the command that made the page.
    """
    found = dict(zip(names([run.files for run in runs]), runs, strict=True))
    recipes = {name: Recipe(run.files.config) for name, run in found.items()}
    replies = {name: answers(run.task, recipes[name].split) for name, run in found.items()}  # type: ignore[arg-type]
    files: dict[str, bytes] = {}
    split = _put(files, split_picture())
    sections = []
    tasks = [task for task in MEASURES if task in {recipe.task for recipe in recipes.values()}]
    for task in tasks:
        mine = {name: (found[name], replies[name]) for name in found if recipes[name].task == task}
        prefix = f"{task.removeprefix('Coordinate').lower()}_" if len(tasks) > 1 else ""
        table = [_row(name, *pair, recipes[name]) for name, pair in mine.items()]
        plain = [{key: row[key] for key in _COLUMNS} for row in table]
        files[f"{prefix}runs.csv"] = _csv(_COLUMNS, (tuple(row.values()) for row in plain))
        sections.append(
            {
                "title": paper.TITLES[task],
                "words": paper.IN_WORDS[task],
                "measure": MEASURES[task].words.partition(",")[0],
                "table": table,
                "departures": _departures({name: recipes[name] for name in mine}),
                "table_file": f"{prefix}runs.csv",
                "reported": paper.REPORTED[task],
                "pictures": [_put(files, picture, prefix) for picture in pictures(task, mine)],
            }
        )
    details = [_detail(name, run, recipes[name]) for name, run in found.items()]
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("visionpe.report", ".")
    setting = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    setting.trim_blocks = setting.lstrip_blocks = True
    text = setting.get_template("page.html").render(
        title=sections[0]["title"] if len(sections) == 1 else "Position on Not-so-Clevr",
        single=len(sections) == 1,
        files=" ".join(sorted(files)),
        split=split,
        sections=sections,
        details=details,
        version=visionpe.__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        command=shlex.join(command),
    )
    return {**files, PAGE: text.encode()}


def check_folder(folder: Path) -> None:
    """Makes sure that a report can be written into a folder without loss.

    Raises:
        RunFolderError: if it is a file, or holds files and is not an earlier report.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"`--out` must be a folder, but {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()) and _before(folder) is None:
        raise RunFolderError(
            f"`--out` must be a new folder, an empty one or an earlier report, but {folder} holds "
            "other files. Choose another folder."
        )


def write(files: Mapping[str, bytes], folder: Path) -> Path:
    """Writes a report in place of an earlier one, the page last; returns the page's path.

    Args:
        files: as of `make`.
        folder: made if it is missing.

    Raises:
        RunFolderError: if the folder is not fit, or a file in it is of another making.
    """
    check_folder(folder)
    before = _before(folder) or []
    for name in files:
        if (folder / name).exists() and name not in (*before, PAGE):
            raise RunFolderError(
                f"The file {folder / name} is not of an earlier report, and would be overwritten. "
                "Move it, or choose another folder with `--out`."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in before:
            if name not in files:
                (folder / name).unlink(missing_ok=True)
        for name in (*(name for name in files if name != PAGE), PAGE):
            (folder / name).write_bytes(files[name])
    except OSError as error:
        raise RunFolderError(
            f"The report cannot be written: {error.strerror} ({error.filename or folder}). Choose "
            "another folder with `--out`."
        ) from error
    return folder / PAGE


def _before(folder: Path) -> list[str] | None:
    """The files of the report that a folder holds, its page aside; None if it holds none."""
    try:
        found = _OURS.search((folder / PAGE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return (
        [name for name in found[1].split() if re.fullmatch(r"\w+\.(png|csv)", name)]
        if found
        else None
    )


def _put(files: dict[str, bytes], picture: Picture, prefix: str = "") -> dict[str, str]:
    """Adds a picture's files, and returns what the page says of it."""
    name = prefix + picture.name
    files[f"{name}.png"] = image = png(picture.figure)
    files[f"{name}.csv"] = _csv(picture.columns, picture.rows)
    return {
        "name": name,
        "title": picture.title,
        "caption": picture.caption,
        "image": base64.b64encode(image).decode(),
        "width": str(int.from_bytes(image[16:20])),  # of the PNG's first chunk
        "height": str(int.from_bytes(image[20:24])),
    }


def _row(name: str, run: Run, reply: Answers, recipe: Recipe) -> dict[str, Any]:
    measure = MEASURES[recipe.task]
    return {
        "run": name,
        "network": recipe.network,
        "encoding": recipe.encoding,
        "parameters": f"{sum(p.numel() for p in run.task.parameters()):,}",
        "split": recipe.split,
        "train": measure.print(reply.mean(test=False)),
        "test": measure.print(reply.mean(test=True)),
        "cpu_seconds": f"{run.seconds:.1f}",
        "seed": recipe.seed,
        "recipe": recipe.training,
        "later": _later(run, measure),
    }


def _later(run: Run, measure: Measure) -> str:
    """What the last validation found, if it came after the checkpoint; else nothing."""
    keys = {f"train/{measure.key}", f"test/{measure.key}"}
    rows = [row for row in run.files.metrics if row.keys() >= keys]
    if not rows or rows[-1]["step"] + 1 <= run.step:
        return ""
    train, test = (measure.print(rows[-1][f"{part}/{measure.key}"]) for part in ("train", "test"))
    return f"last validation, at step {rows[-1]['step'] + 1:,.0f}: train {train}, test {test}"


def _departures(recipes: Mapping[str, Recipe]) -> list[tuple[str, str]]:
    """What is not the paper's recipe, each with the runs of which it is true."""
    found: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        for words in recipe.departures:
            found.setdefault(words, []).append(name)
    every = len(recipes)
    return [
        (words, "all runs" if len(runs) == every > 1 else ", ".join(runs))
        for words, runs in found.items()
    ]


def _detail(name: str, run: Run, recipe: Recipe) -> dict[str, Any]:
    environment = run.files.environment
    command = environment.get("command")
    packages = environment.get("packages") or {}
    facts = {
        "started": environment.get("started"),
        "visionpe": environment.get("visionpe"),
        "commit": environment.get("git"),
        "Python": environment.get("python"),
        "packages": ", ".join(f"{key} {value}" for key, value in packages.items()),
        "platform": environment.get("platform"),
        "processors": environment.get("cpus"),
        "checkpoint": f"{run.checkpoint.name}, after {run.epoch} epochs ({run.step:,} steps)",
        "finished": "yes" if run.files.done else "no: the run has not come to its end",
    }
    return {
        "name": name,
        "command": shlex.join(map(str, command)) if isinstance(command, list) else "",
        "facts": {key: value for key, value in facts.items() if value},
        "config": run.files.config_text,
    }


def _csv(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue().encode()
