"""`visionpe report`: a page of one or more runs, or of a sweep."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionpe.cli.words import Parser, run
from visionpe.errors import CheckpointError, ConfigError, RunFolderError

if TYPE_CHECKING:
    from visionpe.report import Files, Run
    from visionpe.tasks.toy_base import ToyTask


def main(argv: list[str]) -> int:
    """Runs the verb.

    Args:
        argv: the words after it.

    Returns:
        The exit code, as of `visionpe.__main__.main`.
    """
    return run(lambda: _report(_parser().parse_args(argv), ["visionpe", "report", *argv]))


def load_run(path: str | Path) -> "Run":
    """The run in a folder, its task made anew with the weights of the best checkpoint.

    The classes that the checkpoint names are imported; its file itself cannot run code. The
    state of the random numbers is left as it was.

    Args:
        path: a folder that `visionpe fit` made, or a link to it.

    Raises:
        RunFolderError: if it is no such folder, has no checkpoint yet or a damaged file.
        CheckpointError: if the checkpoint is damaged or does not fit.
        ConfigError: if the run is of a task or of data that a report cannot show.
    """
    from visionpe.cli import checkpoints
    from visionpe.report import Run, read_files

    files = read_files(path)
    file = files.checkpoint
    checkpoint = checkpoints.read(file)
    task = _make(files, file)
    try:
        task.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise checkpoints.misfit(file, str(error)) from error
    return Run(
        files,
        task.eval(),
        file,
        epoch=int(checkpoint.get("epoch", -1)) + 1,
        step=int(checkpoint.get("global_step", 0)),
        seconds=float(checkpoint.get("train_cpu_seconds", 0.0)),
    )


def _report(words: argparse.Namespace, command: list[str]) -> int:
    from visionpe import report

    folders = words.runs
    out = Path(words.out or f"reports/{time.strftime('%Y%m%d-%H%M%S')}")
    report.check_folder(out)
    sweeps = [folder for folder in folders if report.is_sweep(folder)]
    if sweeps:
        if len(folders) > 1:
            raise ConfigError(f"A sweep must be given alone, but {sweeps[0]} is one of several.")
        print(report.write(report.make_sweep(report.read_sweep(sweeps[0]), command), out))
        return 0
    runs: list[Run] = []
    for folder in folders:
        run = load_run(folder)
        if run.files.path in [known.files.path for known in runs]:
            raise RunFolderError(f"Each run must be given once, but {folder} is given again.")
        runs.append(run)
    print(report.write(report.make(runs, command), out))
    return 0


def _make(files: "Files", file: Path) -> "ToyTask":
    """The task as the checkpoint, or failing that the configuration, names it."""
    import torch
    from jsonargparse import ArgumentError, ArgumentParser

    from visionpe.cli import kept, modules, noise
    from visionpe.report.measures import MEASURES
    from visionpe.tasks.toy_base import ToyTask

    modules.load()
    model = kept.model_of(file) or files.config["model"]
    data = files.config.get("data")
    if not isinstance(data, dict) or str(data.get("class_path")).split(".")[-1] != "NotSoClevr":
        raise ConfigError(
            f"The run {files.path} must be on the data NotSoClevr, but is not. Reports of other "
            "data are not made."
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ToyTask, "model", required=True)
    try:
        # Making a network draws its first weights; the noise is of jsonargparse's old names.
        with torch.random.fork_rng(devices=[]), noise.quiet(scoring=True):
            task: ToyTask = parser.instantiate_classes(parser.parse_object({"model": model})).model
    except (ArgumentError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"The model of the checkpoint {file}, {_name(model)}, cannot be made: "
            f"{_first_line(error)}. A report shows the tasks of visionpe.tasks.toy."
        ) from error
    if type(task).__name__ not in MEASURES:
        raise ConfigError(
            f"The run {files.path} must be of one of the tasks {', '.join(MEASURES)}, but is of "
            f"{type(task).__name__}."
        )
    return task


def _name(model: Any) -> str:
    return str(model.get("class_path") if isinstance(model, dict) else model)


def _first_line(error: Exception) -> str:
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _parser() -> Parser:
    parser = Parser(
        "report",
        "Makes a page of figures and tables: of runs on Not-so-Clevr, scored on every "
        "point, or of the runs of a sweep.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, such as runs/NAME/latest, or one sweep's, runs/NAME",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where to write index.html, the figures as PNG and their data as CSV; by default a "
        "new folder in reports/. An earlier report there is replaced, nothing else",
    )
    return parser
