"""What the command line says of commands and configurations that cannot be."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from command import Visionpe

TINY = ("--model", "tiny.Tiny")


def refused(result: tuple[int, str]) -> str:
    """The message of a refused command: short, without a traceback, with exit code 2."""
    code, text = result
    assert code == 2
    assert "Traceback" not in text
    assert "NoneType" not in text
    assert len(text.splitlines()) < 12
    assert text.startswith("visionpe: ")
    return text.removeprefix("visionpe: ").strip()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--config", "none.yaml"], "The configuration file none.yaml does not exist."),
        (["--modl", "Tiny"], "There is no option `--modl`. Did you mean `model`?"),
        (
            [*TINY, "--trainer.max_epoch", "1"],
            "There is no option `--trainer.max_epoch`. Did you mean `trainer.max_epochs`?",
        ),
        (
            ["tiny.yaml"],
            "Options begin with `--`, but 'tiny.yaml' does not. Did you mean `--config tiny.yaml`?",
        ),
        (
            [*TINY, "last.ckpt"],
            "Options begin with `--`, but 'last.ckpt' does not. Did you mean `--ckpt_path "
            "last.ckpt`?",
        ),
        (
            [*TINY, "runs/tiny/latest"],
            "Options begin with `--`, but 'runs/tiny/latest' does not. Of a run, `--config "
            "RUN/config.yaml` is the configuration and `--ckpt_path RUN/checkpoints/best.ckpt` the "
            "trained model.",
        ),
        (
            ["--model.width", "3"],
            "`model` must be given for `model.width`, but is not. Give `--model CLASS` before it, "
            "or `--config FILE.yaml`.",
        ),
        (
            ["--model", "tiny.Tiny", "--data.n", "3"],
            "`data` must be given for `data.n`, but is not. Give `--data CLASS` before it, or "
            "`--config FILE.yaml`.",
        ),
        (
            [*TINY, "--trainer.max_epochs", "three"],
            "`trainer.max_epochs` must be a whole number, but is 'three'.",
        ),
        (
            [*TINY, "--model.widht", "3"],
            "There is no key `model.widht` of tiny.Tiny. Did you mean `width`?",
        ),
        (
            [*TINY, "--model.width", "wide"],
            "`model.init_args.width` must be a whole number, but is 'wide'.",
        ),
        ([*TINY, "--model.width", "0"], "`model` (Tiny): `width` must be at least 1, but is 0."),
        (
            ["--model", "tiny.Tinny"],
            "`model` must be a class, but tiny has no class 'Tinny'. Did you mean `Tiny`?",
        ),
        (
            ["--model", "tiny.TinyData"],
            "`model` must be a subclass of LightningModule, but is tiny.TinyData.",
        ),
        (
            [*TINY, "--data", "tiny.TinyData", "--data.m", "1"],
            "There is no key `data.m` of tiny.TinyData. It has n, seed.",
        ),
        (
            [*TINY, "--model.encoding", "tiny.Scale", "--model.encoding.factor", "0"],
            "`model.init_args.encoding` (Scale): `factor` must not be 0, but is 0.0.",
        ),
        (
            [*TINY, "--model.encoding", "torch.nn.Linear", "--model.encoding.in_features", "x"],
            "`model.init_args.encoding.init_args.in_features` must be a whole number, but is 'x'.",
        ),
        ([*TINY, "--trainer.accelerator", "gpux"], "`trainer` cannot be made as configured: "),
        (
            [*TINY, "--trainer.callbacks", "EarlyStoppin"],
            "`trainer.callbacks` must be a class, but none is known as 'EarlyStoppin'. "
            "Did you mean `EarlyStopping`?",
        ),
        (
            ["--model", "lightning.LightningModule"],
            "`optimizer` must be given for LightningModule, but is not. Give for instance "
            "`--optimizer AdamW --optimizer.lr 1e-3`.",
        ),
        (
            [],
            "`model` must be given, but is not. Give `--config FILE.yaml`, `--model CLASS` or, "
            "for a trained model, `--ckpt_path FILE.ckpt`.",
        ),
    ],
)
def test_a_wrong_command_line_is_refused_with_its_key_its_value_and_a_remedy(
    words: list[str], says: str, visionpe: Visionpe
) -> None:
    text = refused(visionpe("fit", *words))
    assert text == says or (says.endswith(": ") and text.startswith(says))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "model: {class_path: tiny.Tiny\ndata: x\n",
            "The configuration wrong.yaml is not valid YAML at line 2, column 5: ",
        ),
        (
            "model: tiny.Tiny\nseed_everything: 1\nmodel: tiny.Tiny\n",
            "The configuration wrong.yaml is not valid YAML at line 3, column 1: `model` is given "
            "twice, first in line 1.",
        ),
        ("# nothing yet\n", "The configuration wrong.yaml must give values to keys, but is empty."),
        (
            "model:\n  class_path: tiny.Tiny\n  init_args: {widht: 3}\n",
            "There is no key `model.widht` of tiny.Tiny. Did you mean `width`? (in wrong.yaml)",
        ),
        (
            "model: {class_path: tiny.Tiny}\ntrainr: 3\n",
            "There is no key `trainr`. Did you mean `trainer`? (in wrong.yaml)",
        ),
        (
            "model:\n  class_path: tiny.Tiny\n  init_args: {width: wide}\n",
            "`model.init_args.width` must be a whole number, but is 'wide'. (in wrong.yaml)",
        ),
        (
            "model: {class_path: tiny.Tinny}\n",
            "`model` must be a class, but tiny has no class 'Tinny'. "
            "Did you mean `Tiny`? (in wrong.yaml)",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_name_of_its_file(
    content: str, says: str, folder: Path, visionpe: Visionpe
) -> None:
    (folder / "wrong.yaml").write_text(content)
    text = refused(visionpe("fit", "--config", "wrong.yaml"))
    assert text == says or (says.endswith(": ") and text.startswith(says))
    assert not (folder / "runs").exists()


def test_a_module_that_is_not_there_is_named(visionpe: Visionpe) -> None:
    text = refused(visionpe("fit", "--model", "nowhere.Nothing"))
    says = "`model` must be a class, but there is no module nowhere for 'nowhere.Nothing'."
    assert text == says


def test_a_class_of_the_package_is_suggested_by_its_nearest_name(visionpe: Visionpe) -> None:
    assert tiny.Tiny.__name__ == "Tiny"
    text = refused(visionpe("fit", "--model", "Tinyy"))
    assert text == "`model` must be a class, but none is known as 'Tinyy'. Did you mean `Tiny`?"


def test_a_folder_that_cannot_be_written_is_named_with_the_option_that_chooses_it(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    (folder / "file").write_text("")
    text = refused(visionpe("fit", "--config", tiny, "--run.dir", "file/runs"))
    assert re.fullmatch(
        r"The run folder cannot be made: Not a directory \(file/runs.*\)\. "
        r"Choose another place with `--run.dir`\.",
        text,
    )


def test_a_place_for_checkpoints_outside_the_run_is_refused(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    text = refused(visionpe("fit", "--config", tiny, "--trainer.default_root_dir", "mine"))
    assert text == (
        "`trainer.default_root_dir` must not be given, but is 'mine': all that a run writes lies "
        "in a folder of its own. `--run.dir mine` chooses where that is made."
    )
    assert not (folder / "mine").exists()
    assert not (folder / "runs").exists()


def test_a_traceback_is_shown_when_asked_for(
    visionpe: Visionpe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONPE_TRACEBACK", "1")
    code, text = visionpe("fit", *TINY, "--model.width", "0")
    assert code == 2
    assert "Traceback" in text
    assert "raise ValueError" in text


def test_a_command_without_the_verb_that_was_meant_suggests_it(visionpe: Visionpe) -> None:
    code, text = visionpe("fitt")
    assert (code, text) == (
        2,
        "visionpe: there is no verb `fitt`. Did you mean `fit`? `visionpe --help` lists them.\n",
    )


def test_more_processes_than_cores_are_refused_before_any_starts(
    tiny: str, folder: Path, visionpe: Visionpe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    words = ("--trainer.accelerator", "cpu", "--trainer.devices", "99")
    text = refused(visionpe("fit", "--config", tiny, *words))
    assert text == (
        "`trainer.devices` counts processes where there is no GPU: it must be at most 4 on 4 "
        "cores, but is 99."
    )
    assert not (folder / "runs").exists()


def test_a_run_without_data_is_told_how_to_get_some(visionpe: Visionpe) -> None:
    text = refused(visionpe("test", *TINY))
    assert text == (
        "`data` must be given to `test`, but is not. Give `--data CLASS`, or `--config "
        "RUN/config.yaml` of a run that has it."
    )


def test_a_schedule_that_ends_before_the_run_is_refused(tiny: str, visionpe: Visionpe) -> None:
    words = ["--optimizer", "SGD", "--optimizer.lr", "0.1", "--trainer.max_steps", "5"]
    words += ["--lr_scheduler", "OneCycleLR", "--lr_scheduler.init_args.max_lr", "0.1"]
    words += ["--lr_scheduler.init_args.total_steps", "2"]
    code, text = visionpe("fit", "--config", tiny, *words)
    assert code == 2
    assert text.splitlines()[-1] == (
        "visionpe: `lr_scheduler.init_args.total_steps` must be at least the 5 steps of the run, "
        "but is 2. Give `--lr_scheduler.init_args.total_steps 5`, or fewer steps."
    )


def test_a_reader_that_has_enough_is_left_in_peace() -> None:
    read, write = os.pipe()
    os.close(read)  # as `head` does when it has its lines
    lines = subprocess.run(
        [sys.executable, "-m", "visionpe", "list", "encodings"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert lines.returncode == 128 + signal.SIGPIPE
    assert lines.stderr == ""
