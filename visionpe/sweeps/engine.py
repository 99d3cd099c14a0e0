"""All cells of a sweep on Ray Tune: on this machine, or on a cluster by its address."""

import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any

from visionpe.errors import VisionPEError
from visionpe.sweeps.folder import SweepFolder
from visionpe.sweeps.grid import Cell, Sweep
from visionpe.sweeps.running import run_cell
from visionpe.sweeps.standing import settle

Say = Callable[[str], None]


class EngineError(VisionPEError):
    """The engine that runs a sweep is missing or did not start."""


def run(
    sweep: Sweep,
    cells: Sequence[Cell],
    folder: SweepFolder,
    *,
    address: str | None = None,
    jobs: int | None = None,
    say: Say | None = None,
) -> list[dict[str, Any]]:
    """Runs those of the cells that are not done yet, several at a time; returns their outcomes.

    A cell that is done but for its tests or stress is not trained again.

    Args:
        address: of a Ray cluster, whose machines share the sweep's folder; by default a Ray of
            this machine alone, that listens on the loopback address and ends with the sweep.
        jobs: most runs at a time; by default what the CPUs and GPUs allow.
        say: is given a line for each cell that ends; by default it is printed.

    Raises:
        EngineError: if Ray is not installed or cannot be reached.
    """
    if say is None:
        say = partial(print, file=sys.stdout, flush=True)  # this one: Tune's is turned away
    open_cells = [cell for cell in cells if not settle(folder, cell, sweep)]
    skipped = len(cells) - len(open_cells)
    if skipped:
        say(f"{skipped} of {len(cells)} cells are done already")
    if open_cells:
        _run(sweep, open_cells, folder, address, jobs, say)
    found = (folder.outcome(cell.id) for cell in cells)
    return [outcome for outcome in found if outcome is not None]


def _run(
    sweep: Sweep,
    cells: Sequence[Cell],
    folder: SweepFolder,
    address: str | None,
    jobs: int | None,
    say: Say,
) -> None:
    ray, tune = _ray(address)
    by_id = {cell.id: cell for cell in cells}
    path = folder.path

    def trial(config: dict[str, Any]) -> None:
        run_cell(SweepFolder(path), by_id[config["cell"]], sweep)

    class Lines(tune.Callback):  # type: ignore[misc] # Ray's classes are untyped
        """A line for each cell that ends."""

        ended = 0

        def __reduce__(self) -> Any:
            """As a callback that does nothing: Tune writes its callbacks to disk."""
            return tune.Callback, ()

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.line(trial.config["cell"])

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.line(trial.config["cell"])

        def line(self, cell_id: str) -> None:
            Lines.ended += 1
            outcome = folder.outcome(cell_id) or {"status": "failed", "error": "no outcome"}
            words = outcome.get("error") or f"{outcome.get('seconds', 0):.0f} s"
            count = f"{Lines.ended}/{len(cells)}"
            say(f"{count}  {outcome['status']}  {by_id[cell_id].name}  {words}")
            folder.sum_up()

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the outcomes say what failed
    _start(ray, address)
    try:
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": sweep.cpus, "gpu": sweep.gpus}),
            param_space={"cell": tune.grid_search(list(by_id))},
            tune_config=tune.TuneConfig(max_concurrent_trials=jobs),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder.path / "ray"),
                failure_config=tune.FailureConfig(max_failures=sweep.retries),
                callbacks=[Lines()],
                verbose=0,
            ),
        )
        with redirect_stdout(io.StringIO()):  # Tune has boxes to draw, at any verbosity
            tuner.fit()
    finally:
        ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"the cluster at {address}" if address else "this machine"
        raise EngineError(f"Ray on {where} cannot be used: {error}") from error


def _ray(address: str | None) -> tuple[Any, Any]:
    """Ray and Tune, imported with what they read from the environment at that time."""
    if address is None:  # Ray's switch for a cluster of one machine: all its servers on loopback
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise EngineError(
            "A sweep needs Ray, which is not installed. Install it: pip install 'visionpe[ray]'."
        ) from error
    return ray, tune
