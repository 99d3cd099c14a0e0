"""The words and numbers of a page: a row of a run, its recipe beside the paper's, its machine."""

import shlex
from collections.abc import Mapping
from typing import Any

from visionpe.report.answers import Answers
from visionpe.report.measures import MEASURES, Measure
from visionpe.report.recipe import Recipe
from visionpe.report.run import Run

COLUMNS = (
    *("run", "network", "encoding", "parameters", "split", "train", "test", "cpu_seconds", "seed"),
    "recipe",
)


def row(name: str, run: Run, reply: Answers, recipe: Recipe) -> dict[str, Any]:
    """A run as the table has it: `COLUMNS`, and what came later in the training."""
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
    return f"Last validation, at step {rows[-1]['step'] + 1:,.0f}: train {train}, test {test}"


def departures(recipes: Mapping[str, Recipe]) -> list[tuple[str, str]]:
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


def detail(name: str, run: Run, recipe: Recipe) -> dict[str, Any]:
    """What was run and on what, for the end of the page."""
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
