"""A classifier's run, killed and gone on with, with workers, in two processes: always the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
WHOLE = {"whole": "::0:32", "one_worker": "::1:32", "two_workers": "::2:32"}
STOPPED = {
    "in_the_last_step_of_an_epoch": "9:4:0:32",
    "with_workers": "9:7:2:32",
    "by_sigterm": "15:6:0:32",
}
HALF = {"half": "::0:bf16-mixed", "half_stopped": "9:4:0:bf16-mixed"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of all runs, and what their processes returned and printed."""
    root = tmp_path_factory.mktemp("runs")
    words = [f"{name}={scenario}" for name, scenario in (WHOLE | STOPPED | HALF).items()]
    done = subprocess.run(
        [sys.executable, str(HERE / "classification_runs.py"), str(root), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return root, json.loads(done.stdout.splitlines()[-1])


def last(folder: Path) -> dict[str, Any]:
    path = folder / "runs" / "tiny" / "latest" / "checkpoints" / "last.ckpt"
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def differing(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two trees of tensors and plain data differ, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return [] if isinstance(b, torch.Tensor) and torch.equal(a, b) else [path]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [path]
        return [each for key in a for each in differing(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [path]
        pairs = enumerate(zip(a, b, strict=True))
        return [each for i, (x, y) in pairs for each in differing(x, y, f"{path}.{i}")]
    return [] if a == b else [path]


@pytest.mark.parametrize("name", [*WHOLE, *STOPPED])
def test_every_run_ends_like_the_one_that_was_left_alone(
    name: str, runs: tuple[Path, dict[str, Any]]
) -> None:
    root, _ = runs
    whole, other = last(root / "whole"), last(root / name)
    assert whole["global_step"] == 10
    assert any(key.startswith("ema.module.visionpe.") for key in whole["state_dict"])
    assert whole["state_dict"]["ema.n_averaged"] == 10
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert not differing(whole[part], other[part], part)
    files = [root / run / "runs" / "tiny" / "latest" / "metrics.csv" for run in ("whole", name)]
    assert files[0].read_text() == files[1].read_text()


def test_a_run_in_bfloat16_goes_on_to_the_bit_with_weights_in_float32(
    runs: tuple[Path, dict[str, Any]],
) -> None:
    root, _ = runs
    whole, half, stopped = (last(root / name) for name in ("whole", "half", "half_stopped"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert not differing(half[part], stopped[part], part)
    assert differing(whole["state_dict"], half["state_dict"])  # it did compute in bfloat16
    assert all(v.dtype != torch.bfloat16 for v in half["state_dict"].values())
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(half["state_dict"][name], value, rtol=0.1, atol=0.1, msg=name)


def test_sigterm_ends_the_run_with_143_after_a_checkpoint(
    runs: tuple[Path, dict[str, Any]],
) -> None:
    (code, printed), (again, _) = runs[1]["by_sigterm"]
    assert (code, again) == (143, 0)
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("interrupted at step ")


def test_two_processes_that_were_stopped_learn_what_one_does_from_the_joined_batches(
    runs: tuple[Path, dict[str, Any]],
) -> None:
    root, outcomes = runs
    assert outcomes["joined"][0] == 0
    assert outcomes["pair"] == [[143, 143], [0, 0]]  # stopped after one step, gone on with
    folders = [path for path in (root / "pair" / "runs" / "tiny").iterdir() if path.is_dir()]
    assert len({path.resolve() for path in folders}) == 1
    one, two = last(root / "joined"), last(root / "pair")
    assert one["global_step"] == two["global_step"] == 10
    for name, value in one["state_dict"].items():
        assert value.dtype == torch.float64 or not value.is_floating_point(), name
        torch.testing.assert_close(two["state_dict"][name], value, rtol=0, atol=1e-12, msg=name)
    moved = one["state_dict"]["network.visionpe.RelativeBias.blocks-0-attn.table"]
    assert moved.abs().max() > 1e-7
