"""One cell of a sweep: an ordinary `visionpe fit` in a process of its own, and what follows it."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from visionpe.lifetime import end_with_parent
from visionpe.sweeps.configs import Overrides, digest, override
from visionpe.sweeps.folder import SweepFolder
from visionpe.sweeps.grid import Cell, Sweep
from visionpe.sweeps.standing import test_digests, tested_before_digests

# Several commands take no longer to start than one.
_EACH = """
import json, sys
from visionpe.__main__ import main
for words in json.loads(sys.argv[1]):
    print("$ visionpe", *words, flush=True)
    code = main(words)
    if code:
        sys.exit(code)
"""


class CellError(Exception):
    """A cell's command ended with an error."""


def run_cell(folder: SweepFolder, cell: Cell, sweep: Sweep) -> dict[str, Any]:
    """Runs a cell to its end, goes on where it was stopped before, and keeps the outcome.

    Raises:
        CellError: if a command failed; the outcome says which and its last words, or what else
            went wrong.
    """
    started = time.time()
    before = folder.outcome(cell.id) or {}
    config = folder.config(cell.id)
    outcome: dict[str, Any] = {
        "id": cell.id,
        "labels": cell.labels,
        "status": "failed",
        "attempts": int(before.get("attempts", 0)) + 1,
        "config": str(config.relative_to(folder.path)),
    }
    try:
        run = _fit(folder, cell, sweep.cpus)
        outcome["run"] = str(run.relative_to(folder.path))
        done = json.loads((run / "done.json").read_text(encoding="utf-8"))
        kept = ("metrics", "steps", "epochs", "parameters", "cpu_seconds", "wall_seconds")
        outcome |= {key: done[key] for key in kept if key in done}
        outcome["tests"] = _tests(folder, cell, run, sweep.tests, sweep.cpus)
        outcome["test_digests"] = test_digests(cell, sweep.tests)
        if sweep.stress:
            outcome["stress"] = _stress(folder, cell, run, sweep.cpus)
        outcome["status"] = "done"
    except CellError as error:
        outcome["error"] = str(error)
        raise
    except Exception as error:
        outcome["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        outcome["seconds"] = round(time.time() - started, 1)
        folder.put(cell.id, outcome)
    return outcome


def _fit(folder: SweepFolder, cell: Cell, cpus: int) -> Path:
    """The run's folder; a run that was finished in an earlier attempt is not run again."""
    latest = folder.runs(cell) / "latest"
    if not (latest / "done.json").is_file():
        _run(folder, cell, [["fit", "--config", str(folder.config(cell.id))]], cpus)
    if not (latest / "done.json").is_file():
        raise CellError(f"`visionpe fit` ended without finishing the run {latest}.")
    return latest.resolve()


def _tests(
    folder: SweepFolder, cell: Cell, run: Path, tests: dict[str, Overrides], cpus: int
) -> dict[str, dict[str, float]]:
    """By name, the metrics of tests of the run's last checkpoint."""
    places = {name: _place(folder, cell, run, name, tests[name]) for name in tests}
    commands = []
    for name, place in places.items():
        if not _numbers(place):
            config = _test_config(cell, tests[name], place)
            file = folder.test_config(cell.id, place.name)
            folder.write(f"cells/{file.name}", yaml.safe_dump(config, sort_keys=False))
            checkpoint = run / "checkpoints" / "last.ckpt"
            commands.append(["test", "--config", str(file), "--ckpt_path", str(checkpoint)])
    _run(folder, cell, commands, cpus)
    found = {name: _numbers(place) for name, place in places.items()}
    for name, numbers in found.items():
        if not numbers:
            raise CellError(f"`visionpe test` left no numbers in {places[name]}.")
    return found


def _place(folder: SweepFolder, cell: Cell, run: Path, name: str, overrides: Overrides) -> Path:
    """Where a test is kept: not with one of its name and other overrides."""
    place = run / "tests" / name
    if _numbers(place) and tested_before_digests(folder, cell, name, overrides):
        return place
    return place.with_name(f"{name},{digest(override(cell.config, overrides))}")


def _test_config(cell: Cell, overrides: Overrides, place: Path) -> dict[str, Any]:
    """The configuration of a test: its numbers go to `metrics.csv`, wherever those of fit go."""
    config = override(cell.config, overrides)
    if isinstance(config.get("trainer"), dict):
        config["trainer"].pop("logger", None)
    return config | {"run": {"dir": str(place.parent), "name": place.name}}


def _numbers(where: Path) -> dict[str, float]:
    """The metrics of the latest of some tests; none if there are none."""
    found = sorted(where.glob("*/metrics.csv"))
    lines = found[-1].read_text(encoding="utf-8").splitlines() if found else []
    rows = list(csv.DictReader(lines))
    last = rows[-1] if rows else {}
    return {key: float(value) for key, value in last.items() if value and "/" in key}


def _stress(folder: SweepFolder, cell: Cell, run: Path, cpus: int) -> list[dict[str, Any]]:
    """The points of the run's stress curves."""
    out = run / "stress"
    if not (out / "stress.json").is_file():
        _run(folder, cell, [["stress", str(run), "--out", str(out)]], cpus)
    points: list[dict[str, Any]] = json.loads((out / "stress.json").read_text("utf-8"))["points"]
    return points


def _run(folder: SweepFolder, cell: Cell, commands: Sequence[Sequence[str]], cpus: int) -> None:
    """Runs command lines one after another, in one process; what they print goes to the log."""
    if not commands:
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(cpus)}
    log = folder.log(cell.id)
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            [sys.executable, "-c", _EACH, json.dumps(commands)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        ) as process,
    ):
        code = process.wait()
    if code:
        lines = log.read_text("utf-8", "replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        raise CellError(f"`visionpe {commands[0][0]}` ended with {code}: {last} (see {log})")
