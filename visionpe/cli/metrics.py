"""`metrics.csv`: one row per logging, written as it comes, continued when a run is."""

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any, final

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor


@final
class MetricsFile(Logger):
    """Appends metrics to `metrics.csv`; columns that turn up later are added to the header.

    Args:
        folder: the run's folder.
        steps: rows of the optimiser steps from here on are dropped: they come again. 0 starts the
            file anew.
    """

    def __init__(self, folder: str | Path, *, steps: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._steps = steps
        self._columns: list[str] | None = None  # None: the file has not been looked at

    @property
    def name(self) -> str:
        """Nothing: the file lies in the run's folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Nothing, for the same reason."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> "MetricsFile":
        """This object: there is nothing behind it."""
        return self

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Does nothing: `config.yaml` has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a row.

        Args:
            metrics: names and values.
            step: optimiser steps before the one that is logged.
        """
        row = {name: _number(value) for name, value in metrics.items()}
        row = {"step": 0 if step is None else step, **row}
        if self._columns is None:
            self._columns = self._begin()
        new = [name for name in row if name not in self._columns]
        if new:
            rows = _rows(self.path)
            self._columns += new
            self._rewrite(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _begin(self) -> list[str]:
        """Keeps the rows that a continued run will not write again, and returns their columns."""
        kept = [row for row in _rows(self.path) if int(float(row["step"])) < self._steps]
        self._columns = list(kept[0]) if kept else ["step"]
        self._rewrite(kept)
        return self._columns

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        """Writes the whole file again, in one step."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns or ["step"])
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.path)


def _rows(path: Path) -> list[dict[str, Any]]:
    """The complete rows of a file; a kill may have cut the last one short."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(whole.splitlines()) if row.get("step")]


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value
