"""Going on with a run whose configuration is no longer the same."""

import os
from pathlib import Path

import pytest
import yaml
from command import Visionpe

CHANGED = ("--trainer.max_epochs", "2")


@pytest.fixture
def unfinished(folder: Path, tiny: str, visionpe: Visionpe) -> Path:
    """A run that was stopped, as far as its folder says."""
    assert visionpe("fit", "--config", tiny)[0] == 0
    run = (folder / "runs" / "tiny" / "latest").resolve()
    (run / "done.json").unlink()
    return run


def test_a_run_goes_on_as_asked_with_its_own_configuration(
    unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe("fit", "--config", tiny, "--run.resume", str(unfinished))
    assert code == 0, text
    assert f"{unfinished}: going on at step 8" in text
    assert (unfinished / "done.json").exists()


def test_another_configuration_is_shown_and_refused_unless_told(
    unfinished: Path, folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    place = os.path.relpath(unfinished)
    words = ("fit", "--config", tiny, *CHANGED, "--run.resume", place)
    code, text = visionpe(*words)
    assert code == 2
    assert text == (
        f"visionpe: {place} was made with another configuration. Go on with the run's own, or say "
        "`--run.changed true`:\n  trainer.max_epochs: 1 in the run, 2 now\n"
    )
    assert not (unfinished / "done.json").exists()
    code, text = visionpe(*words, "--run.changed", "true")
    assert code == 0, text
    assert "trainer.max_epochs: 1 in the run, 2 now" in text.splitlines()
    assert "validation  step 16" in text
    assert (unfinished / "done.json").exists()
    kept = [yaml.safe_load(p.read_text()) for p in sorted(unfinished.glob("config*.yaml"))]
    assert sorted(config["trainer"]["max_epochs"] for config in kept) == [1, 2]


def test_a_checkpoint_to_go_on_from_is_compared_in_the_same_way(
    unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    path = unfinished / "checkpoints" / "last.ckpt"
    words = ("fit", "--config", tiny, *CHANGED, "--ckpt_path", str(path), "--model.lr", "0.5")
    code, text = visionpe(*words)
    assert code == 2
    assert text == (
        f"visionpe: {path} was made with another configuration. Go on with the run's own, or say "
        "`--run.changed true`:\n  trainer.max_epochs: 1 in the run, 2 now\n"
        "  model.init_args.lr: 0.1 in the run, 0.5 now\n"
    )
    assert visionpe(*words, "--run.changed", "true")[0] == 0


def test_the_optimisers_numbers_are_the_checkpoints_and_cannot_change(
    unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    optimizer = ("--optimizer", "SGD", "--optimizer.lr", "0.1")
    words = ("fit", "--config", tiny, *optimizer, "--run.resume", str(unfinished))
    code, text = visionpe(*words, "--run.changed", "true")
    assert code == 2
    assert text.startswith(
        f"visionpe: {unfinished} cannot go on with another optimizer: the optimiser's state in its "
        "checkpoint would overrule it. Begin a new run from its weights, `--model.weights`, or "
        "leave them as they were:\n  optimizer: None in the run, "
    )


def test_a_new_run_mentions_the_unfinished_one_of_another_configuration(
    unfinished: Path, tiny: str, visionpe: Visionpe
) -> None:
    code, text = visionpe("fit", "--config", tiny, "--model.lr", "0.5")
    assert code == 0, text
    place = os.path.relpath(unfinished)
    lines = text.splitlines()
    at = lines.index(f"unfinished: {place}, of another configuration:")
    assert lines[at + 1] == "  model.init_args.lr: 0.1 there, 0.5 here"
    assert not (unfinished / "done.json").exists()


def test_only_an_unfinished_runs_folder_can_be_gone_on_in(
    unfinished: Path, folder: Path, tiny: str, visionpe: Visionpe
) -> None:
    words = ("fit", "--config", tiny, "--run.resume")
    says = "visionpe: `run.resume` must be the folder of an unfinished run, but"
    (unfinished / "done.json").write_text("{}")
    assert visionpe(*words, str(unfinished)) == (
        2,
        f"{says} {unfinished} is of a run that is done.\n",
    )
    assert visionpe(*words, "nowhere") == (2, f"{says} {folder}/nowhere is no run's folder.\n")
