"""Where a run begins: the checkpoint, the seed and the time that its command line says."""

import os
from pathlib import Path
from typing import Any

import pytest
import tiny as subject
import torch
import yaml
from command import Visionpe

BEST = "runs/tiny/latest/checkpoints/best.ckpt"


def config(folder: Path, name: str = "tiny") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (folder / "runs" / name / "latest" / "config.yaml").read_text()
    )
    return content


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The first layer's weights at each test step."""
    seen: list[torch.Tensor] = []
    step = subject.Tiny.test_step

    def look(self: subject.Tiny, batch: Any, batch_idx: int) -> None:
        layer = self.net[1]
        assert isinstance(layer, torch.nn.Linear)
        seen.append(layer.weight.detach().clone())
        step(self, batch, batch_idx)

    monkeypatch.setattr(subject.Tiny, "test_step", look)
    return seen


@pytest.fixture
def trained(folder: Path, tiny: str, visionpe: Visionpe) -> Path:
    """A finished run."""
    assert visionpe("fit", "--config", tiny)[0] == 0
    return (folder / "runs" / "tiny" / "latest").resolve()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_checkpoint_counts_wherever_it_stands_on_the_command_line(
    first: bool, old: bool, trained: Path, visionpe: Visionpe, seen: list[torch.Tensor]
) -> None:
    file = trained / "config.yaml"
    if old:
        file.write_text(file.read_text() + "ckpt_path: null\n")
    words = ["--ckpt_path", BEST, "--config", str(file)]
    code, text = visionpe("test", *(words if first else words[2:] + words[:2]))
    assert code == 0, text
    assert "untrained" not in text
    wanted = torch.load(BEST, weights_only=True)["state_dict"]["net.1.weight"]
    assert torch.equal(seen[0], wanted)


def test_a_name_counts_wherever_it_stands_on_the_command_line(
    folder: Path, trained: Path, visionpe: Visionpe
) -> None:
    words = ("--run.name", "mine", "--model.lr", "0.5", "-c", str(trained / "config.yaml"))
    code, text = visionpe("fit", *words)
    assert code == 0, text
    assert config(folder, "mine")["model"]["init_args"]["lr"] == 0.5


def test_what_is_of_one_call_is_not_in_the_runs_configuration(
    folder: Path, tiny: str, trained: Path, visionpe: Visionpe
) -> None:
    assert "ckpt_path" not in config(folder)
    assert set(config(folder)["run"]) == {"dir", "name"}
    (trained / "done.json").unlink()
    assert visionpe("fit", "--config", tiny, "--run.resume", str(trained))[0] == 0
    code, text = visionpe("fit", "--config", tiny, "--ckpt_path", BEST)
    assert code == 0, text
    assert "ckpt_path" not in config(folder)
    assert (
        visionpe(
            "test", "--config", tiny, "--ckpt_path", str(trained / "checkpoints" / "best.ckpt")
        )[0]
        == 0
    )
    (scored,) = folder.glob("runs/tiny/*-test-*/config.yaml")
    assert yaml.safe_load(scored.read_text())["ckpt_path"].endswith("best.ckpt")


def test_a_model_that_is_scored_without_a_checkpoint_is_said_to_be_untrained(
    tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe("test", "--config", tiny)
    assert code == 0, text
    says = "no `--ckpt_path`: the weights are untrained, as the model is made with them"
    assert text.splitlines().count(says) == 1


def test_a_checkpoint_to_begin_from_counts_more_than_an_unfinished_run(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    often = ("--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps", "3")
    words = ("fit", "--config", tiny, *often)
    assert visionpe(*words)[0] == 0
    trained = (folder / "runs" / "tiny" / "latest").resolve()
    weights = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    (trained / "done.json").unlink()
    (trained / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    (middle,) = trained.glob("checkpoints/*step=6.ckpt")
    begin = (*words, "--ckpt_path", str(middle))
    code, text = visionpe(*begin)
    assert code == 0, text
    assert f"unfinished: runs/tiny/{trained.name}, of the same configuration" in text.splitlines()
    begun = (folder / "runs" / "tiny" / "latest").resolve()
    assert begun != trained
    ended = torch.load(begun / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(ended[name], weights[name]) for name in weights)
    # The same command goes on with what it began.
    (begun / "done.json").unlink()
    code, text = visionpe(*begin)
    assert code == 0, text
    assert f"runs/tiny/{begun.name}: going on at step 8" in text


def test_a_run_to_go_on_in_takes_no_other_checkpoint(
    tiny: str, trained: Path, visionpe: Visionpe
) -> None:
    (trained / "done.json").unlink()
    words = ("--run.resume", str(trained), "--ckpt_path", BEST)
    assert visionpe("fit", "--config", tiny, *words) == (
        2,
        f"visionpe: `ckpt_path` must not be given with `run.resume`, but is '{BEST}': a run goes "
        "on from its own last.ckpt. Leave out `--run.resume` to begin a new run there.\n",
    )


def test_the_best_checkpoint_is_kept_when_the_runs_are_moved(
    folder: Path, tiny: str, visionpe: Visionpe, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 2.0])

    def worse(self: subject.Tiny, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and not self.trainer.sanity_checking:
            self.log("val/loss", next(losses))

    monkeypatch.setattr(subject.Tiny, "validation_step", worse)
    words = ["fit", "--config", tiny]
    assert visionpe(*words)[0] == 0
    run = (folder / "runs" / "tiny" / "latest").resolve()
    (run / "done.json").unlink()
    (folder / "runs").rename(folder / "moved")
    run = folder / "moved" / run.relative_to(folder / "runs")
    words += ["--run.resume", str(run), "--run.changed", "true", "--trainer.max_epochs", "2"]
    code, text = visionpe(*words)
    assert code == 0, text
    assert "validation  step 16" in text
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 8
    assert not list(run.glob("checkpoints/best-*"))


def test_the_seed_of_the_run_is_that_of_its_data_unless_they_have_their_own(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    def seed(*words: str) -> int:
        code, text = visionpe("fit", "--config", tiny, *words)
        assert code == 0, text
        found: int = config(folder)["data"]["init_args"]["seed"]
        return found

    assert seed() == 0
    assert seed("--seed_everything", "3") == 3
    assert seed("--seed_everything", "3", "--data.seed", "1") == 1
    assert seed("--seed_everything", "3", "--data.init_args.seed=1") == 1
    given = '{"class_path": "tiny.TinyData", "init_args": {"seed": 2}}'
    assert seed("--seed_everything", "3", "--data", given) == 2
    (folder / "more.yaml").write_text("data: {class_path: tiny.TinyData, init_args: {seed: 5}}\n")
    assert seed("--config", "more.yaml", "--run.name", "tiny", "--seed_everything", "3") == 5


def test_a_run_that_is_out_of_time_is_not_done_and_goes_on_to_the_same_end(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    slow = ("--config", tiny, "--trainer.max_epochs", "3", "--model.pause", "0.2")
    code, text = visionpe("fit", *slow, "--run.name", "whole")
    assert code == 0, text
    words = ("fit", *slow, "--trainer.max_time", "00:00:00:02")
    code, text = visionpe(*words)
    assert code == 0, text
    run = (folder / "runs" / "tiny" / "latest").resolve()
    last = run / "checkpoints" / "last.ckpt"
    step = torch.load(last, weights_only=True)["global_step"]
    assert 0 < step < 24
    place = os.path.relpath(run)
    assert (
        text.splitlines()[-1] == f"out of time at step {step}; the same command goes on in {place}"
    )
    calls = 1
    while not (run / "done.json").exists():
        code, text = visionpe(*words)
        assert code == 0, text
        assert f"{place}: going on at step {step}" in text
        step, before = torch.load(last, weights_only=True)["global_step"], step
        assert step > before
        calls += 1
    assert calls > 2
    whole = folder / "runs" / "whole" / "latest" / "checkpoints" / "last.ckpt"
    wanted = torch.load(whole, weights_only=True)["state_dict"]
    found = torch.load(last, weights_only=True)["state_dict"]
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_timer_that_would_end_a_run_for_good_is_refused(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    (folder / "timer.yaml").write_text(
        "trainer:\n  callbacks:\n  - class_path: lightning.pytorch.callbacks.Timer\n"
        "    init_args: {duration: '00:00:01:00', interval: step}\n"
    )
    assert visionpe("fit", "--config", tiny, "--config", "timer.yaml") == (
        2,
        "visionpe: `duration` of Timer must not be given, but is 60 s: it ends an epoch in its "
        "middle, and the run could not go on. Use `--trainer.max_time`.\n",
    )
