"""One cell of a sweep: an ordinary `visionpe fit` in a process of its own, and what follows it."""

import csv
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from visionpe.sweeps.folder import SweepFolder
from visionpe.sweeps.grid import Cell, Overrides, Sweep, override

_PR_SET_PDEATHSIG = 1  # of Linux's prctl
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
        CellError: if a command failed; the outcome says which and its last words.
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
        if sweep.stress:
            outcome["stress"] = _stress(folder, cell, run, sweep.cpus)
        outcome["status"] = "done"
    except CellError as error:
        outcome["error"] = str(error)
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
    commands = []
    for name, overrides in tests.items():
        if not any((run / "tests" / name).glob("*/metrics.csv")):
            kept = {"run": {"dir": str(run / "tests"), "name": name}}
            text = yaml.safe_dump(override(cell.config, overrides) | kept, sort_keys=False)
            file = folder.write(f"cells/{cell.id}.{name}.yaml", text)
            checkpoint = run / "checkpoints" / "last.ckpt"
            commands.append(["test", "--config", str(file), "--ckpt_path", str(checkpoint)])
    _run(folder, cell, commands, cpus)
    return {name: _numbers(run / "tests" / name) for name in tests}


def _numbers(where: Path) -> dict[str, float]:
    """The metrics of the latest of some tests."""
    found = sorted(where.glob("*/metrics.csv"))
    rows = list(csv.DictReader(found[-1].open(encoding="utf-8"))) if found else []
    if not rows:
        raise CellError(f"`visionpe test` left no numbers in {where}.")
    return {key: float(value) for key, value in rows[-1].items() if value and "/" in key}


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
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        ) as process,
    ):
        code = process.wait()
    if code:
        last = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        raise CellError(f"`visionpe {commands[0][0]}` ended with {code}: {last[-1]} (see {log})")


def _end_with_parent() -> None:
    """The run is told to save and end when the engine's worker is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
