"""Checkpoints and the command line."""

import os
import pickle  # noqa: TID251 # to make the files that are refused
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Visionpe

from visionpe.cli.checkpoints import AtomicCheckpointIO, read
from visionpe.errors import CheckpointError

REMEDY = (
    "Give the path of a file that `visionpe fit` wrote, such as "
    "runs/NAME/latest/checkpoints/best.ckpt."
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a short run."""
    from visionpe.__main__ import main

    root = tmp_path_factory.mktemp("trained")
    words = ["--model", "tiny.Tiny", "--model.width", "8", "--model.lr", "0.01"]
    words += [
        "--model.encoding",
        "tiny.Scale",
        "--model.encoding.factor",
        "2.0",
        "--data",
        "tiny.TinyData",
    ]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--run.dir", str(root)]
    assert main(["fit", *words]) == 0
    return root / "tiny" / "latest" / "checkpoints" / "last.ckpt"


def run(visionpe: Visionpe, path: Path | str, *words: str, verb: str = "test") -> tuple[int, str]:
    data = ("--data", "tiny.TinyData", "--trainer.accelerator", "cpu")
    outcome: tuple[int, str] = visionpe(verb, "--ckpt_path", str(path), *data, *words)
    return outcome


def test_a_checkpoint_knows_its_model(trained: Path, visionpe: Visionpe) -> None:
    code, text = run(visionpe, trained)
    assert code == 0, text
    assert "is used" not in text
    kept = torch.load(trained, weights_only=True)["hyper_parameters"]
    assert kept["encoding"] == {"class_path": "tiny.Scale", "init_args": {"factor": 2.0}}


# Lightning's advice when a module is given by hand; here it comes from plain data.
@pytest.mark.filterwarnings("ignore:Attribute 'encoding' is an instance of `nn.Module`")
def test_a_model_with_a_module_as_argument_is_rebuilt_from_plain_data(trained: Path) -> None:
    import tiny

    model = tiny.Tiny.load_from_checkpoint(trained, weights_only=True)
    assert isinstance(model.net[0], tiny.Scale)


def test_the_command_line_wins_over_the_checkpoint_and_says_so(
    trained: Path, visionpe: Visionpe
) -> None:
    code, text = run(visionpe, trained, "--model.lr", "0.5")
    assert code == 0, text
    line = "model.init_args.lr: 0.01 in the checkpoint, 0.5 from the command line is used"
    assert line in text.splitlines()


def test_a_configuration_wins_over_the_checkpoint_and_says_so(
    trained: Path, folder: Path, visionpe: Visionpe
) -> None:
    (folder / "c.yaml").write_text("model: {class_path: tiny.Tiny, init_args: {lr: 0.02}}\n")
    code, text = run(visionpe, trained, "--config", "c.yaml")
    assert code == 0, text
    says = [line for line in text.splitlines() if "is used" in line]
    assert says == [
        "model.init_args.lr: 0.01 in the checkpoint, 0.02 from the command line is used"
    ]


def test_another_model_than_the_checkpoints_is_refused(trained: Path, visionpe: Visionpe) -> None:
    code, text = run(visionpe, trained, "--model", "tiny.Other")
    assert code == 2
    assert text == (
        f"visionpe: The checkpoint {trained} must be of the model that is asked for, tiny.Other, "
        "but is of tiny.Tiny. Leave out `--model`.\n"
    )


def test_weights_of_another_shape_are_refused_shortly(trained: Path, visionpe: Visionpe) -> None:
    code, text = run(visionpe, trained, "--model.width", "9")
    assert code == 2
    assert "Traceback" not in text
    assert len(text.splitlines()) < 12
    assert f"The weights of the checkpoint {trained} do not fit the model" in text
    assert "net.1.weight" in text


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    weights = torch.load(path, weights_only=True)["state_dict"]["net.1.weight"]
    content[content.find(weights.numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)


def _hostile(path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, ("executed",)

    torch.save({"state_dict": {}, "x": Payload()}, path)


def _foreign(path: Path) -> None:
    torch.save({"weights": torch.ones(2)}, path)


def _plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps([1, 2]))


def _missing(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_missing, f"does not exist. {REMEDY}"),
        (_folder, f"is a folder. {REMEDY}"),
        (_empty, "is damaged: it is empty. "),
        (_short, "is damaged: it is cut short or no file of torch. "),
        (_noise, "is damaged: it is "),
        (_flipped, "is damaged: the checksum of "),
        (_plain_pickle, "is damaged: it is cut short or no file of torch. "),
        (
            _hostile,
            "holds more than tensors and plain data, and is refused: loading it could run code. ",
        ),
        (
            _foreign,
            "must hold a `state_dict`, but holds the keys weights, ...: it is not of ",
        ),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_shortly(
    spoil: Any, says: str, trained: Path, folder: Path, visionpe: Visionpe
) -> None:
    path = folder / "spoilt.ckpt"
    shutil.copy(trained, path)
    spoil(path)
    code, text = run(visionpe, path, "--model", "tiny.Tiny", "--model.width", "8")
    assert code == 2
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 2
    assert text.splitlines()[-1].startswith(f"visionpe: The checkpoint {path} {says}")
    assert not (folder / "executed").exists()


def test_an_unfinished_run_with_a_damaged_checkpoint_says_which_file_to_remove(
    folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    assert visionpe("fit", "--config", tiny)[0] == 0
    run = folder / "runs" / "tiny" / "latest"
    (run / "done.json").unlink()
    _short(run / "checkpoints" / "last.ckpt")
    code, text = visionpe("fit", "--config", tiny)
    assert code == 2
    assert "last.ckpt is damaged" in text
    assert "remove the file to start that run again" in text
    (run / "checkpoints" / "last.ckpt").unlink()
    assert visionpe("fit", "--config", tiny)[0] == 0
    assert (run / "done.json").exists()


def test_a_checkpoint_is_written_beside_its_place_and_has_the_usual_mode(folder: Path) -> None:
    path = folder / "new" / "a.ckpt"
    before = os.umask(0o027)
    try:
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}}, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.ckpt", "manifest.json"]
    assert read(path) == {"state_dict": {}}


def test_a_writing_that_fails_keeps_the_checkpoint_before_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"n": 1}}, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError) as caught:
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"n": 2}}, path)
    assert "No space left on device" in str(caught.value)
    assert "The one before it is kept" in str(caught.value)
    assert read(path) == {"state_dict": {"n": 1}}
    assert sorted(file.name for file in folder.iterdir()) == ["a.ckpt", "manifest.json"]
