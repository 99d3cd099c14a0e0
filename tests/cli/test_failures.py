"""What a run that fails leaves behind, and what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny as subject
import torch
from command import Visionpe


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the tenth step of a run, of its second epoch, fail."""
    step = subject.Tiny.training_step

    def fail(self: subject.Tiny, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 10:
            raise ZeroDivisionError("nothing\nto divide by")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(subject.Tiny, "training_step", fail)


@pytest.fixture
def unfinished(folder: Path, tiny: str, visionpe: Visionpe) -> Path:
    """A run that was stopped, as far as its folder says."""
    assert visionpe("fit", "--config", tiny)[0] == 0
    run = (folder / "runs" / "tiny" / "latest").resolve()
    (run / "done.json").unlink()
    return run


def folders(root: Path) -> list[Path]:
    return sorted(path for path in (root / "runs" / "tiny").iterdir() if not path.is_symlink())


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("logger", [(), ("--trainer.logger", "false")])
def test_a_failed_run_keeps_its_checkpoints_and_its_traceback(
    logger: tuple[str, ...], folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe("fit", "--config", tiny, "--trainer.max_epochs", "2", *logger)
    assert code == 1
    (run,) = folders(folder)
    assert (run / "checkpoints" / "best.ckpt").is_file()
    place = f"runs/tiny/{run.name}/traceback.txt"
    says = f"visionpe: ZeroDivisionError: nothing (the traceback is in {place})"
    assert text.splitlines()[-1] == says
    assert "Traceback" not in text
    assert "in fail" in (run / "traceback.txt").read_text()


@pytest.mark.usefixtures("failing")
def test_the_traceback_is_printed_when_asked_for(
    tiny: str, visionpe: Visionpe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONPE_TRACEBACK", "1")
    code, text = visionpe("fit", "--config", tiny, "--trainer.max_epochs", "2")
    assert code == 1
    assert "in fail" in text


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")  # nor has it training data
def test_a_failed_start_leaves_latest_where_it_pointed(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    assert visionpe("fit", "--config", tiny)[0] == 0
    (good,) = folders(folder)
    code, _ = visionpe("fit", "--config", tiny, "--data", "lightning.LightningDataModule")
    assert code == 2
    assert folders(folder) == [good]
    assert (folder / "runs" / "tiny" / "latest").readlink() == Path(good.name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["fit", "--trainer.val_check_interval", "100"],
            "ValueError: `val_check_interval` (100) must ",
        ),
        (["test", "--ckpt_path", "best"], 'ValueError: `.test(ckpt_path="best")` '),
        (
            ["fit", "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor", "nothing"],
            "RuntimeError: Early stopping conditioned on metric `nothing` which is not available",
        ),
        (["fit", "--trainer.accumulate_grad_batches", "0"], "ZeroDivisionError: "),
    ],
)
def test_an_error_that_nobody_foresaw_is_one_line(
    words: list[str], says: str, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe(words[0], "--config", tiny, *words[1:])
    assert code == 1
    assert "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith(f"visionpe: {says}")
    assert last.endswith(("traceback.txt)", "(VISIONPE_TRACEBACK=1 shows the traceback)"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--data", "visionpe.data.ImageFolder", "--data.root", "nowhere"],
            "visionpe: `data` (ImageFolder): ",
        ),
        (
            [
                *("--model", "visionpe.tasks.Classification", "--model.weights", "nowhere.pth"),
                *("--model.backbone", "resnet18", "--model.num_classes", "2"),
                *("--model.channels", "3", "--model.image_size", "[32, 48]"),
            ],
            "visionpe: `model` (Classification): ",
        ),
    ],
)
def test_what_a_constructor_refuses_is_one_line(
    words: list[str], says: str, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe("fit", "--config", tiny, *words)
    assert code == 2
    assert text.startswith(says)
    assert "nowhere" in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("spoilt", [None, b"", b"{", b"\xff\xfe"])
def test_a_run_beside_that_cannot_be_read_is_not_mentioned(
    spoilt: bytes | None, unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    (unfinished / "config.yaml").unlink()
    if spoilt is not None:
        (unfinished / "config.yaml").write_bytes(spoilt)
    code, text = visionpe("fit", "--config", tiny, "--model.lr", "0.5")
    assert code == 0, text
    assert "unfinished" not in text


def test_a_named_run_whose_configuration_is_damaged_is_refused(
    unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    (unfinished / "config.yaml").write_text("{")
    assert visionpe("fit", "--config", tiny, "--run.resume", str(unfinished)) == (
        2,
        f"visionpe: The configuration {unfinished}/config.yaml must be YAML, but is damaged. Begin "
        "a new run with `--run.name`.\n",
    )


def test_a_damaged_record_of_the_machine_is_written_anew(
    unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    (unfinished / "env.json").write_text('{"command": ')
    more = ("--run.resume", str(unfinished), "--run.changed", "true", "--trainer.max_epochs", "2")
    code, text = visionpe("fit", "--config", tiny, *more)
    assert code == 0, text
    assert json.loads((unfinished / "env.json").read_text())["packages"]["torch"]


def test_a_callback_that_would_write_over_the_last_checkpoint_is_refused(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    words = ("--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_last", "true")
    assert visionpe("fit", "--config", tiny, *words) == (
        2,
        "visionpe: `save_last` of ModelCheckpoint must not be given, but is True: the run keeps "
        "checkpoints/last.ckpt itself, to go on from it exactly. Leave it out.\n",
    )
    assert folders(folder) == []


def test_a_checkpoint_of_weights_alone_is_not_gone_on_from(
    unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    last = unfinished / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    del content["optimizer_states"]
    torch.save(content, last)
    (last.parent / "manifest.json").unlink()
    code, text = visionpe("fit", "--config", tiny)
    assert code == 2
    assert text.splitlines()[-1].endswith(
        "must hold the optimiser's state to be gone on from, but holds weights alone. Use another "
        "checkpoint of the run with `--ckpt_path`, or remove the file to start that run again."
    )
