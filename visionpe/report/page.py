"""The page: runs in, one self-contained HTML file with its figures and tables beside it out."""

import shlex
import time
from collections.abc import Sequence

import visionpe
from visionpe.report import paper, tables
from visionpe.report.answers import answers
from visionpe.report.figures import pictures, split_picture
from visionpe.report.files import put, render, table
from visionpe.report.folder import PAGE
from visionpe.report.measures import MEASURES
from visionpe.report.recipe import Recipe
from visionpe.report.run import Run, names


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
    split = put(files, split_picture())
    sections = []
    tasks = [task for task in MEASURES if task in {recipe.task for recipe in recipes.values()}]
    for task in tasks:
        mine = {name: (found[name], replies[name]) for name in found if recipes[name].task == task}
        prefix = f"{task.removeprefix('Coordinate').lower()}_" if len(tasks) > 1 else ""
        rows = [tables.row(name, *pair, recipes[name]) for name, pair in mine.items()]
        plain = [{key: row[key] for key in tables.COLUMNS} for row in rows]
        files[f"{prefix}runs.csv"] = table(tables.COLUMNS, (tuple(row.values()) for row in plain))
        sections.append(
            {
                "title": paper.TITLES[task],
                "words": paper.IN_WORDS[task],
                "measure": MEASURES[task].short,
                "table": rows,
                "departures": tables.departures({name: recipes[name] for name in mine}),
                "table_file": f"{prefix}runs.csv",
                "reported": paper.REPORTED[task],
                "pictures": [put(files, picture, prefix) for picture in pictures(task, mine)],
            }
        )
    details = [tables.detail(name, run, recipes[name]) for name, run in found.items()]
    text = render(
        "page.html",
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
