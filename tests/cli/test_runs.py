"""The folder of a run."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command import Visionpe

from visionpe.cli.folder import Run, RunFolder, digest
from visionpe.cli.metrics import MetricsFile


def folders(root: Path, name: str = "tiny") -> list[Path]:
    return sorted(path for path in (root / "runs" / name).iterdir() if not path.is_symlink())


def test_a_run_leaves_what_is_needed_to_read_it_and_to_run_it_again(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe("fit", "--config", tiny)
    assert code == 0, text
    (run,) = folders(folder)
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", run.name)
    assert (run.parent / "latest").readlink() == Path(run.name)
    assert {path.name for path in run.iterdir()} >= {
        *(
            "checkpoints",
            "config.yaml",
            "done.json",
            "env.json",
            "figures",
            "metrics.csv",
            "tensorboard",
        )
    }
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {"best.ckpt", "last.ckpt", "manifest.json"}
    assert list((run / "tensorboard").glob("events.*"))
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [*range(8), 7]
    done = json.loads((run / "done.json").read_text())
    assert (done["steps"], done["epochs"]) == (8, 1)
    assert done["metrics"]["val/loss"] == float(rows[-1]["val/loss"])
    assert done["wall_seconds"] > 0
    assert done["cpu_seconds"] > 0
    env = json.loads((run / "env.json").read_text())
    assert env["packages"]["torch"]
    assert env["cpus"] == os.cpu_count()


def test_a_finished_run_is_never_touched_again(folder: Path, tiny: str, visionpe: Visionpe) -> None:
    assert visionpe("fit", "--config", tiny)[0] == 0
    (first,) = folders(folder)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    code, text = visionpe("fit", "--config", str(first / "config.yaml"))
    assert code == 0, text
    assert before == {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    runs = folders(folder)
    assert len(runs) == 2
    assert (
        len({re.sub(r"-\d+$", "", run.name[16:]) for run in runs}) == 1
    )  # one configuration, one hash
    assert (runs[0] / "metrics.csv").read_text() == (runs[1] / "metrics.csv").read_text()
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert configs[0] == configs[1]


def test_a_trial_run_writes_nothing(folder: Path, tiny: str, visionpe: Visionpe) -> None:
    code, text = visionpe("fit", "--config", tiny, "--trainer.fast_dev_run", "true")
    assert code == 0, text
    assert sorted(path.name for path in folder.iterdir()) == [tiny]


def test_a_run_is_named_after_its_model_when_there_is_no_file(
    folder: Path, visionpe: Visionpe
) -> None:
    words = ["--model", "tiny.Tiny", "--data", "tiny.TinyData", "--trainer.max_epochs", "1"]
    code, text = visionpe("fit", *words, "--trainer.accelerator", "cpu", "--run.dir", "kept")
    assert code == 0, text
    assert [path.name for path in (folder / "kept").iterdir()] == ["tiny"]
    code, text = visionpe("fit", *words, "--trainer.accelerator", "cpu", "--run.name", "other")
    assert code == 0, text
    assert len(folders(folder, "other")) == 1


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")  # nor has it training data
def test_a_run_that_fails_before_its_first_step_leaves_no_folder(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    code, _ = visionpe("fit", "--config", tiny, "--data", "lightning.LightningDataModule")
    assert code == 2
    assert not list((folder / "runs" / "tiny").iterdir())


def test_loggers_and_checkpoints_of_the_user_take_the_place_of_ours(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe(
        *(
            "fit",
            "--config",
            tiny,
            "--trainer.logger",
            "false",
            "--trainer.callbacks+=ModelCheckpoint",
        ),
        *("--trainer.callbacks.filename", "mine"),
    )
    assert code == 0, text
    (run,) = folders(folder)
    assert not (run / "metrics.csv").exists()
    assert not (run / "tensorboard").exists()
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {"mine.ckpt", "last.ckpt", "manifest.json"}


def test_other_verbs_have_folders_of_their_own(folder: Path, tiny: str, visionpe: Visionpe) -> None:
    assert visionpe("fit", "--config", tiny)[0] == 0
    code, text = visionpe(
        *(
            "test",
            "--ckpt_path",
            "runs/tiny/latest/checkpoints/best.ckpt",
            "--data",
            "tiny.TinyData",
        ),
        *("--trainer.accelerator", "cpu"),
    )
    assert code == 0, text
    fitted, tested = folders(folder)
    assert re.fullmatch(r"\d{8}-\d{6}-test-[0-9a-f]{8}", tested.name)
    assert (tested / "metrics.csv").read_text().startswith("step,test/loss")
    assert (folder / "runs" / "tiny" / "latest").readlink() == Path(fitted.name)


def test_what_does_not_change_a_result_does_not_change_the_hash() -> None:
    config = {"model": {"lr": 0.1}, "run": {"dir": "a"}, "trainer": {"enable_progress_bar": True}}
    other = {"model": {"lr": 0.1}, "run": {"dir": "b"}, "trainer": {}, "ckpt_path": None}
    assert digest(config) == digest(other)
    assert digest(config) != digest({**config, "ckpt_path": "x"})  # it begins elsewhere
    assert digest(config) != digest({**config, "model": {"lr": 0.2}})


def test_an_unfinished_run_is_gone_on_with_unless_a_living_process_holds_it(folder: Path) -> None:
    def opened() -> tuple[Path, bool]:
        run = RunFolder.open(Run("runs", "held"), "0" * 8)
        run.close()
        return run.path, run.resumed

    first, resumed = opened()
    assert not resumed
    holder = (
        "import fcntl, sys\n"
        f"file = open({str(first / '.lock')!r}, 'a')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        second, resumed = opened()
        assert second != first
        assert not resumed
        (second / "done.json").write_text("{}")
        other.communicate("")
    assert opened() == (first, True)


def test_what_a_killed_process_left_half_written_is_removed(folder: Path) -> None:
    first = RunFolder.open(Run("runs", "killed"), "0" * 8)
    stale = first.path / "checkpoints" / ".last.ckpt.1.part"
    stale.write_bytes(b"half")
    first.close()
    RunFolder.open(Run("runs", "killed"), "0" * 8).close()
    assert not stale.exists()


def test_metrics_behind_the_checkpoint_are_dropped_and_written_again(folder: Path) -> None:
    first = MetricsFile(folder)
    for step in range(4):
        first.log_metrics({"loss": step / 2}, step)
    with first.path.open("a") as file:
        file.write("4,1.")  # cut by a kill
    second = MetricsFile(folder, steps=2)
    second.log_metrics({"loss": 7.0, "extra": 1.0}, 2)
    assert first.path.read_text().splitlines() == [
        "step,loss,extra",
        "0,0.0,",
        "1,0.5,",
        "2,7.0,1.0",
    ]
