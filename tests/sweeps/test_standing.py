"""A cell that is done, and a sweep file that asks for other tests or for stress afterwards."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from visionpe.sweeps import running
from visionpe.sweeps.configs import Overrides, override
from visionpe.sweeps.folder import SweepFolder
from visionpe.sweeps.grid import Cell, Sweep
from visionpe.sweeps.standing import settle

_CELL = Cell({"seed": "0"}, {"data": {"side": 9}, "trainer": {"logger": False}})


def _sweep(tests: dict[str, Overrides], *, stress: bool = False) -> Sweep:
    return Sweep("toy", ["base.yaml"], {}, {}, tests, stress, None, 0, 1, 0)


class Commands:
    """In the place of the commands: writes what they would, and notes what they were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        monkeypatch.setattr(running, "_run", self)

    def __call__(
        self, folder: SweepFolder, cell: Cell, commands: Sequence[Sequence[str]], cpus: int
    ) -> None:
        for verb, *words in commands:
            self.ran.append(verb)
            if verb == "stress":
                _write(Path(words[-1], "stress.json"), json.dumps({"points": [{"level": 1.0}]}))
                continue
            config = yaml.safe_load(Path(words[1]).read_text())
            at = Path(config["run"]["dir"], config["run"]["name"], "1")
            if verb == "fit":
                _write(at / "done.json", json.dumps({"metrics": {"val/acc1": 0.5}}))
                (at.parent / "latest").symlink_to(at.name)
            elif (config.get("trainer") or {}).get("logger") is not False:
                _write(at / "metrics.csv", f"step,test/acc1\n0,{config['data']['side']}\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _folder(path: Path) -> SweepFolder:
    folder = SweepFolder(path / "toy")
    folder.begin("name: toy\n", [_CELL])
    return folder


def _tests(folder: SweepFolder) -> dict[str, Any]:
    found: dict[str, Any] = (folder.outcome(_CELL.id) or {})["tests"]
    return found


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(monkeypatch)


def test_a_test_that_changed_is_run_again_and_nothing_else(
    tmp_path: Path, commands: Commands
) -> None:
    folder = _folder(tmp_path)
    first = _sweep({"same": {}, "big": {"data.side": 12}})
    running.run_cell(folder, _CELL, first)
    assert commands.ran == ["fit", "test", "test"]
    assert settle(folder, _CELL, first)

    changed = _sweep({"same": {}, "big": {"data.side": 14}, "huge": {"data.side": 23}})
    assert not settle(folder, _CELL, changed)
    assert _tests(folder) == {"same": {"test/acc1": 9.0}}  # nothing that is no longer asked for
    commands.ran.clear()
    running.run_cell(folder, _CELL, changed)
    assert commands.ran == ["test", "test"]
    assert [metrics["test/acc1"] for metrics in _tests(folder).values()] == [9.0, 14.0, 23.0]
    assert settle(folder, _CELL, changed)

    assert not settle(folder, _CELL, first)
    commands.ran.clear()
    running.run_cell(folder, _CELL, first)
    assert not commands.ran  # its numbers are where they were
    assert [metrics["test/acc1"] for metrics in _tests(folder).values()] == [9.0, 12.0]


def test_a_test_that_is_taken_out_leaves_the_outcome(tmp_path: Path, commands: Commands) -> None:
    folder = _folder(tmp_path)
    running.run_cell(folder, _CELL, _sweep({"same": {}, "big": {"data.side": 12}}))
    assert settle(folder, _CELL, _sweep({"same": {}}))
    folder.sum_up()
    line = json.loads((folder.path / "results.jsonl").read_text())
    assert line["tests"] == {"same": {"test/acc1": 9.0}}
    assert list(line["test_digests"]) == ["same"]


def test_stress_that_is_asked_for_later_is_run_without_training(
    tmp_path: Path, commands: Commands
) -> None:
    folder = _folder(tmp_path)
    running.run_cell(folder, _CELL, _sweep({}))
    assert not settle(folder, _CELL, _sweep({}, stress=True))
    running.run_cell(folder, _CELL, _sweep({}, stress=True))
    assert commands.ran == ["fit", "stress"]
    assert settle(folder, _CELL, _sweep({}, stress=True))
    assert (folder.outcome(_CELL.id) or {})["stress"] == [{"level": 1.0}]
    assert settle(folder, _CELL, _sweep({}))
    assert "stress" not in (folder.outcome(_CELL.id) or {})


def _earlier(folder: SweepFolder, tests: dict[str, Overrides]) -> None:
    """What a sweep left before tests had digests."""
    run = folder.runs(_CELL) / "1"
    _write(run / "done.json", "{}")
    (run.parent / "latest").symlink_to(run.name)
    for name, overrides in tests.items():
        kept = {"run": {"dir": str(run / "tests"), "name": name}}
        config = override(_CELL.config, overrides)
        folder.write(f"cells/{_CELL.id}.{name}.yaml", yaml.safe_dump(config | kept))
        side = config["data"]["side"]
        _write(run / "tests" / name / "1" / "metrics.csv", f"step,test/acc1\n0,{side}\n")
    found = {name: {"test/acc1": 1.0} for name in tests}
    folder.put(_CELL.id, {"id": _CELL.id, "status": "done", "tests": found})


def test_an_outcome_without_digests_counts_where_its_tests_are_the_same(
    tmp_path: Path, commands: Commands
) -> None:
    tests: dict[str, Overrides] = {"same": {}, "big": {"data.side": 12}}
    folder = _folder(tmp_path)
    _earlier(folder, tests)
    changed = _sweep(tests | {"big": {"data.side": 14}})
    assert settle(folder, _CELL, _sweep(tests))
    assert list((folder.outcome(_CELL.id) or {})["test_digests"]) == ["same", "big"]
    assert not settle(folder, _CELL, changed)
    running.run_cell(folder, _CELL, changed)
    assert commands.ran == ["test"]
    assert _tests(folder) == {"same": {"test/acc1": 9.0}, "big": {"test/acc1": 14.0}}
    running.run_cell(folder, _CELL, _sweep(tests))
    assert commands.ran == ["test"]
    assert _tests(folder)["big"] == {"test/acc1": 12.0}


def test_an_outcome_whose_test_cannot_be_known_is_tested_again(
    tmp_path: Path, commands: Commands
) -> None:
    folder = _folder(tmp_path)
    _earlier(folder, {"big": {"data.side": 12}})
    folder.test_config(_CELL.id, "big").unlink()
    assert not settle(folder, _CELL, _sweep({"big": {"data.side": 12}}))


def test_a_cell_that_failed_is_not_done(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert not settle(folder, _CELL, _sweep({}))
    folder.put(_CELL.id, {"id": _CELL.id, "status": "failed"})
    assert not settle(folder, _CELL, _sweep({}))


def test_a_test_without_numbers_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    folder = _folder(tmp_path)
    running.run_cell(folder, _CELL, _sweep({}))
    monkeypatch.setattr(running, "_run", lambda *_: None)
    with pytest.raises(running.CellError, match="`visionpe test` left no numbers in "):
        running.run_cell(folder, _CELL, _sweep({"big": {}}))


def test_an_outcome_says_what_went_wrong_whatever_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = _folder(tmp_path)
    monkeypatch.setattr(running, "_run", full)
    with pytest.raises(OSError, match="No space left"):
        running.run_cell(folder, _CELL, _sweep({}))
    outcome = folder.outcome(_CELL.id) or {}
    assert outcome["status"] == "failed"
    assert outcome["error"] == "OSError: [Errno 28] No space left on device"
