"""A run that was stopped and gone on with is the run that was not stopped, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from visionpe.tasks.callbacks import LastCheckpoint

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
SCENARIOS = {
    "before_the_first_checkpoint": "9:1",
    "in_mid_epoch": "9:5",
    "in_the_last_step_of_an_epoch": "9:15",
    "in_the_first_step_of_an_epoch": "9:16",
    "in_the_last_epoch": "9:30",
    "by_ctrl_c": "2:12",
    "by_ctrl_c_in_the_last_step_of_an_epoch": "2:15",
    "by_sigterm": "15:18",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of all scenarios, and what their processes returned and printed."""
    root = tmp_path_factory.mktemp("runs")
    words = ["whole=", *(f"{name}={kill}" for name, kill in SCENARIOS.items())]
    done = subprocess.run(
        [sys.executable, str(HERE / "scenarios.py"), str(root), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return root, json.loads(done.stdout)


def last(folder: Path) -> dict[str, Any]:
    path = folder / "runs" / "tiny" / "latest" / "checkpoints" / "last.ckpt"
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def same(a: Any, b: Any) -> bool:
    """Whether two trees of tensors and plain data are equal, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_stopped_run_ends_like_one_that_was_not(
    name: str, runs: tuple[Path, dict[str, Any]]
) -> None:
    root, _ = runs
    whole, stopped = last(root / "whole"), last(root / name)
    assert whole["global_step"] == 32
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert same(whole[part], stopped[part]), part


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_stopped_run_leaves_the_metrics_of_one_that_was_not(
    name: str, runs: tuple[Path, dict[str, Any]]
) -> None:
    root, _ = runs
    files = [root / run / "runs" / "tiny" / "latest" / "metrics.csv" for run in ("whole", name)]
    assert files[0].read_text() == files[1].read_text()


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_stopped_run_goes_on_in_its_folder_and_is_then_done(
    name: str, runs: tuple[Path, dict[str, Any]]
) -> None:
    root, outcomes = runs
    folders = [path for path in (root / name / "runs" / "tiny").iterdir() if not path.is_symlink()]
    assert len(folders) == 1
    done = json.loads((folders[0] / "done.json").read_text())
    assert (done["steps"], done["epochs"]) == (32, 4)
    parts = json.loads((folders[0] / "env.json").read_text())["resumed"]
    assert len(parts) == 1
    assert (parts[0]["step"] == 0) == (name == "before_the_first_checkpoint")
    assert outcomes[name][1][0] == 0
    assert str(Path(*folders[0].parts[-3:])) in outcomes[name][1][1]


@pytest.mark.parametrize(
    ("name", "code", "step"),
    [
        ("in_mid_epoch", -9, None),
        ("by_ctrl_c", 130, 13),
        ("by_ctrl_c_in_the_last_step_of_an_epoch", 130, 17),
        ("by_sigterm", 143, 19),
    ],
)
def test_a_signal_ends_the_run_with_its_code_and_one_line_that_says_how_to_go_on(
    name: str, code: int, step: int | None, runs: tuple[Path, dict[str, Any]]
) -> None:
    root, outcomes = runs
    (returned, printed), _ = outcomes[name]
    assert returned == code
    assert "Traceback" not in printed
    if step is not None:
        folder = (root / name / "runs" / "tiny" / "latest").readlink()
        line = f"interrupted at step {step}; the same command resumes from runs/tiny/{folder}"
        assert printed.splitlines()[-1] == line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seconds": -1.0}, "`seconds` must be at least 0, but is -1.0."),
        ({"steps": 0}, "`steps` must be at least 1, but is 0."),
    ],
)
def test_times_between_checkpoints_that_cannot_be_are_refused(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        LastCheckpoint(**options)


def test_the_classification_of_the_readme_survives_a_kill_from_outside(tmp_path: Path) -> None:
    """The configuration itself, through the command line: sampled cells, one cycle, validation."""
    (tmp_path / "short.yaml").write_text(
        "lr_scheduler: {init_args: {total_steps: 40}}\n"
        "trainer:\n"
        "  max_steps: 40\n"
        "  val_check_interval: 15\n"
        "  limit_val_batches: 2\n"
        "  callbacks:\n"
        "  - {class_path: visionpe.tasks.callbacks.LastCheckpoint, init_args: {steps: 12}}\n"
        "  - tiny.Signal\n"
    )
    config = HERE.parents[1] / "configs" / "coord_toy" / "classification.yaml"
    words = ["--config", str(config), "--config", "short.yaml", "--run.name", "tiny"]
    command = [sys.executable, "-m", "visionpe", "fit", *words, "--run.dir"]
    places = [str(HERE.parent), str(HERE.parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}

    def start(folder: str, kill: str = "") -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*command, f"{folder}/runs"],
            cwd=tmp_path,
            env=environment | {"TINY_SIGNAL": kill},
            stdout=subprocess.DEVNULL,
        )

    whole, first = start("whole"), start("stopped", f"{signal.SIGSTOP:d}:32")
    while _state(first.pid) != "T":  # it stops itself in step 32, after a checkpoint at 24
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert last(tmp_path / "stopped")["global_step"] == 24
    assert start("stopped").wait() == 0
    assert whole.wait() == 0
    unkilled, resumed = last(tmp_path / "whole"), last(tmp_path / "stopped")
    assert unkilled["global_step"] == 40
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert same(unkilled[part], resumed[part]), part


def _state(pid: int) -> str:
    """The state of a process, as the kernel writes it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
