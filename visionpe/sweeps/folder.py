"""The folder of a sweep: what was asked for, each cell's configuration, and how it came out.

DIR/NAME/sweep.yaml          the sweep file, as it was last given
DIR/NAME/cells/ID.yaml       the cell: `visionpe fit --config` runs it by hand
DIR/NAME/cells/ID.TEST,DIGEST.yaml  a test of its last checkpoint, known by its configuration
DIR/NAME/cells/ID.log        what its runs printed
DIR/NAME/cells/ID.json       its outcome
DIR/NAME/runs/CELL,ID/...    its run folder
DIR/NAME/results.jsonl       the outcomes of all cells of the grid, a line each
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import yaml

from visionpe.errors import RunFolderError
from visionpe.sweeps.grid import Cell
from visionpe.writing import write


@final
class SweepFolder:
    """Where a sweep is kept.

    Args:
        path: made if it is missing.

    Raises:
        RunFolderError: if it cannot be written, or holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.grid: list[str] = []
        foreign = self.path.is_dir() and any(self.path.iterdir())
        if foreign and not (self.path / "sweep.yaml").is_file():
            raise RunFolderError(
                f"The sweep's folder {path} must be new or a sweep's, but holds other files. "
                "Choose another `name` or `--dir`."
            )
        try:
            (self.path / "cells").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"The sweep's folder {path} cannot be made: {error.strerror}."
            ) from error

    def begin(self, text: str, cells: Sequence[Cell]) -> None:
        """Writes the sweep file and the configurations of all cells of its grid."""
        self.grid = [cell.id for cell in cells]
        self.write("sweep.yaml", text)
        for cell in cells:
            runs = self.runs(cell)
            run = {"dir": str(runs.parent), "name": runs.name}
            head = f"# {cell.name}\n#   visionpe fit --config THIS_FILE\n"
            body = yaml.safe_dump({**cell.config, "run": run}, sort_keys=False)
            self.write(f"cells/{cell.id}.yaml", head + body)

    def runs(self, cell: Cell) -> Path:
        """Where the runs of a cell are: not those of another configuration with its labels."""
        name = f"{cell.name},{cell.id}"
        if ".." in Path(name).parts:  # of a label such as `../../weights.pth`: it stays in here
            name = name.replace("/", "_")
        return self.path / "runs" / name

    def config(self, cell_id: str) -> Path:
        """The cell's configuration."""
        return self.path / "cells" / f"{cell_id}.yaml"

    def test_config(self, cell_id: str, test: str) -> Path:
        """The configuration of a test of the cell."""
        return self.path / "cells" / f"{cell_id}.{test}.yaml"

    def log(self, cell_id: str) -> Path:
        """What the cell's runs print."""
        return self.path / "cells" / f"{cell_id}.log"

    def outcome(self, cell_id: str) -> dict[str, Any] | None:
        """How a cell came out, if it was run."""
        path = self.path / "cells" / f"{cell_id}.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return None
        return content

    def put(self, cell_id: str, outcome: dict[str, Any]) -> None:
        """Keeps how a cell came out."""
        self.write(f"cells/{cell_id}.json", json.dumps(outcome) + "\n")

    def sum_up(self) -> None:
        """Writes `results.jsonl`: outcomes of the grid that `begin` was given, of any time."""
        outcomes = [found for each in self.grid if (found := self.outcome(each)) is not None]
        self.write("results.jsonl", "".join(json.dumps(line) + "\n" for line in outcomes))

    def write(self, name: str, text: str) -> Path:
        """Writes a file in one step; returns its path."""
        path = self.path / name
        try:
            return write(path, text)
        except OSError as error:
            raise RunFolderError(f"{path} cannot be written: {error.strerror}.") from error
