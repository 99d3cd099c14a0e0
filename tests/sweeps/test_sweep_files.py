"""The sweeps that are shipped: every cell is a run that can be made, and tested as it will be."""

from pathlib import Path

import pytest
import torch

from visionpe.cli.sweep import _require_distinct, _require_valid
from visionpe.sweeps.configs import override
from visionpe.sweeps.grid import read
from visionpe.tasks import Classification

_FOLDER = Path(__file__).parents[2] / "configs" / "sweeps"
_FILES = sorted(_FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_cells_differ_and_are_configurations_of_fit(path: Path) -> None:
    sweep = read(path)
    cells = list(sweep.cells(path.parent))
    _require_distinct(cells)
    _require_valid(cells, {})
    _require_valid(cells[:1], sweep.tests)  # as of all of them


def test_every_encoding_of_y_arrow_learns_and_runs_on_the_canvas_of_each_test() -> None:
    path = _FOLDER / "y_arrow.yaml"
    sweep = read(path)
    every = list(sweep.cells(path.parent))
    cells = [cell for cell in every if cell.labels["seed"] == every[0].labels["seed"]]
    assert len(cells) == 16
    for cell in cells:
        data = cell.config["data"]["init_args"]
        pixels = 9 * data["cell"]
        said: dict[str, int | list[int]] = {
            "num_classes": 4,
            "channels": 1,
            "image_size": [pixels, pixels],
        }
        task = Classification(**cell.config["model"]["init_args"], of_data=said)
        task(torch.randn(2, 1, pixels, pixels)).sum().backward()
        still = [name for name, p in task.named_parameters() if p.grad is None]
        assert not still, cell.name
        for overrides in sweep.tests.values():
            given = override(cell.config, overrides)["data"]["init_args"]
            side = given.get("test_cells", 9) * given["cell"]
            with torch.no_grad():
                assert task.eval()(torch.randn(1, 1, side, side)).shape == (1, 4), cell.name
