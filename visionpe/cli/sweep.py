"""`visionpe sweep`: all cells of a grid of configurations, each an ordinary `visionpe fit`."""

import argparse
import contextlib
import io
import signal
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from visionpe.cli.words import Parser, count, run
from visionpe.errors import ConfigError
from visionpe.sweeps.configs import Overrides, override
from visionpe.sweeps.folder import SweepFolder
from visionpe.sweeps.grid import Cell, read
from visionpe.sweeps.standing import settle

_INTERRUPTED = "interrupted; the same command goes on, finished cells are kept"


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code: 0, 1 if a cell failed, 2 for a sweep that cannot be understood, 130 after
        Ctrl-C.
    """
    return run(lambda: _sweep(_parser().parse_args(argv)), interrupted=_INTERRUPTED)


def _sweep(words: argparse.Namespace) -> int:
    path = Path(words.file)
    sweep = read(path)
    cells = list(sweep.cells(path.parent))
    _require_distinct(cells)
    chosen = _chosen(cells, words.only or [])
    _require_valid(chosen, sweep.tests)
    if words.dry_run:
        for cell in chosen:
            print(f"{cell.id}  {cell.name}")
        return 0
    folder = SweepFolder(Path(words.dir) / sweep.name)
    folder.begin(path.read_text(encoding="utf-8"), cells)
    for cell in cells:  # the results say nothing of tests that are no longer those of the sweep
        settle(folder, cell, sweep)
    print(f"{folder.path}: {len(chosen)} cells", flush=True)
    from visionpe.sweeps.engine import run

    outcomes = run(sweep, chosen, folder, address=words.address, jobs=words.jobs)
    folder.sum_up()
    failed = [outcome for outcome in outcomes if outcome["status"] != "done"]
    print(f"{len(outcomes) - len(failed)} of {len(chosen)} cells are done", flush=True)
    if failed:
        print(
            f"{len(failed)} failed; the same command runs them again. "
            f"`visionpe report {words.dir}/{sweep.name}` shows the others."
        )
    elif len(outcomes) < len(chosen):  # the engine answers Ctrl-C by itself
        print(_INTERRUPTED, file=sys.stderr)
        return 128 + signal.SIGINT
    return 1 if failed else 0


def _require_distinct(cells: list[Cell]) -> None:
    seen: dict[str, str] = {}
    for cell in cells:
        if cell.id in seen:
            raise ConfigError(
                f"The cells of a sweep must differ, but {cell.name} and {seen[cell.id]} have the "
                "same configuration."
            )
        seen[cell.id] = cell.name


def _chosen(cells: list[Cell], only: list[str]) -> list[Cell]:
    """The cells that every `AXIS=LABEL[,LABEL]` allows."""
    chosen = cells
    for words in only:
        axis, _, labels = words.partition("=")
        known = list(dict.fromkeys(cell.labels[axis] for cell in cells if axis in cell.labels))
        wanted = labels.split(",")
        for name, names in ((axis, list(cells[0].labels)), *((label, known) for label in wanted)):
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
                listed = ", ".join(f"`{each}`" for each in names)
                raise ConfigError(
                    f"`--only` must be AXIS=LABEL of the sweep, but has {name!r}.{hint} "
                    f"There are {listed}."
                )
        chosen = [cell for cell in chosen if cell.labels[axis] in wanted]
    if not chosen:
        raise ConfigError(
            f"`--only` must leave a cell, but {' '.join(only)} leaves none. Several labels of an "
            "axis are one word: AXIS=LABEL,LABEL."
        )
    return chosen


def _require_valid(cells: list[Cell], tests: dict[str, Overrides]) -> None:
    """Has Lightning's parser read one cell of each value of each axis, before any is run.

    And each test of those cells.
    """
    for cell in _covering(cells):
        parsed = _parsed("fit", cell.config, f"The cell {cell.name}")
        _require_encodings(cell, parsed["model"])
        for name, overrides in tests.items():
            config = override(cell.config, overrides)
            _parsed("test", config, f"The test `{name}` of the cell {cell.name}")


def _parsed(verb: str, config: dict[str, Any], whose: str) -> dict[str, Any]:
    """A configuration as Lightning's parser completes it."""
    import tempfile

    import yaml

    from visionpe.cli import verbs

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = verbs.main(verb, ["--config", str(file), "--print_config"])
    if code:
        says = err.getvalue().strip().removeprefix("visionpe: ").replace(f" (in {file})", "")
        raise ConfigError(f"{whose} is no configuration of `visionpe {verb}`: {says}")
    parsed: dict[str, Any] = yaml.safe_load(out.getvalue())
    return parsed


def _require_encodings(cell: Cell, model: dict[str, Any]) -> None:
    """Has the lines of a classifier's encodings read, which are any mapping to the parser."""
    from visionpe.tasks import Classification
    from visionpe.tasks.recipes import recipes

    package, _, name = model["class_path"].rpartition(".")
    if name != Classification.__name__ or not package.startswith("visionpe.tasks"):
        return
    try:
        recipes(model["init_args"]["encodings"])
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"The cell {cell.name} is no configuration of `visionpe fit`: {error}"
        ) from error


def _covering(cells: Iterable[Cell]) -> list[Cell]:
    """Cells that together have every value of every axis."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for cell in cells:
        if not set(cell.labels.items()) <= seen:
            seen |= set(cell.labels.items())
            chosen.append(cell)
    return chosen


def _parser() -> Parser:
    parser = Parser(
        "sweep",
        "Trains every combination of the axes of a sweep file on Ray Tune. Each cell "
        "is a run of `visionpe fit` from a configuration of its own; finished cells are skipped.",
    )
    parser.add_argument("file", metavar="FILE.yaml", help="base configuration and axes")
    parser.add_argument("--dir", default="runs", help="the folder of all runs")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="AXIS=LABEL[,LABEL]",
        help="these cells alone, such as `--only seed=0,1 encoding=none`",
    )
    parser.add_argument("--jobs", type=count, help="most cells at a time")
    parser.add_argument(
        "--address",
        help="of a Ray cluster (`auto`, HOST:PORT) whose machines share the folder; by default "
        "Ray runs on this machine alone",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the cells and run none")
    return parser
