"""Loaders without a length under a Trainer: a stop changes nothing, and overfitting overfits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, TensorDataset
from trees import shard

from visionpe.data import Images, ProbeImages, ResizedCrop, WebShards, YArrow
from visionpe.data.loader import ResumableLoader
from visionpe.data.under_lightning import ExactResume

# torch renames a helper that Lightning 2.6 calls.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:You requested to overfit"),
    pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero"),
]
N, BATCHES = 22, 6  # samples and batches of an epoch


class Stream(IterableDataset[Any]):
    """Images that tell their number."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for row in range(N):
            yield torch.full((3, 12, 9), 10 * row, dtype=torch.uint8), row


class Recorder(L.LightningModule):
    """Keeps what it sees, and learns from it with a momentum."""

    def __init__(self, *, estimates: bool = False) -> None:
        super().__init__()
        self.net = nn.Linear(3, 1)
        nn.init.constant_(self.net.weight, 0.1)
        nn.init.zeros_(self.net.bias)
        self.estimates = estimates
        self.seen: list[tuple[int, int, list[int], float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, target = batch[:2]
        self.seen.append((self.current_epoch, batch_idx, target.tolist(), float(images.sum())))
        loss: Tensor = (self.net(images.mean((2, 3))) - target[:, None] / N).square().mean()
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: it only takes place."""

    def configure_optimizers(self) -> Any:
        if self.estimates:  # opens the loader before the checkpoint is read
            assert self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class Stopped(Exception):  # noqa: N818 # no error
    """The run was stopped by its test."""


class Stop(L.Callback):
    """Saves at a step and stops there."""

    def __init__(self, hook: str, step: int, file: Path) -> None:
        self.step, self.file = step, file
        setattr(self, hook, self.stop)

    def stop(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not trainer.sanity_checking:
            trainer.save_checkpoint(self.file, weights_only=False)
            raise Stopped


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


def images(workers: int, *, validates: bool = False) -> Images:
    return Images(
        N,
        train=Stream(),
        val=Stream() if validates else None,
        image_size=(6, 5),
        augment=ResizedCrop((6, 5)),
        batch_size=4,
        num_workers=workers,
    )


def stopped(
    folder: Path, stops: list[tuple[str, int]], workers: int, options: dict[str, Any], **kind: bool
) -> Recorder:
    """A run that was stopped and resumed again and again; what all its parts saw."""
    file, seen = folder / "stopped.ckpt", []
    validates = kind.pop("validates", False)
    for i, (hook, step) in enumerate([*stops, ("", 0)]):
        model = Recorder(**kind)
        callbacks: list[Any] = [Stop(hook, step, file)] if hook else []
        made = trainer(folder, callbacks=callbacks, **options)
        data = images(workers if i % 2 == 0 else 0, validates=validates)
        try:
            made.fit(model, data, ckpt_path=file if i else None, weights_only=True if i else None)
        except Stopped:
            assert hook
        else:
            assert not hook
        seen += model.seen
    model.seen = seen
    return model


EACH_BATCH, EACH_EPOCH, EACH_VALIDATION = (
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_validation_end",
)
STOPS = {
    "in_mid_epoch": [(EACH_BATCH, 1), (EACH_BATCH, 4), (EACH_BATCH, 11)],
    "behind_the_last_batch": [(EACH_BATCH, 6), (EACH_BATCH, 8), (EACH_BATCH, 12)],
    "at_the_end_of_an_epoch": [(EACH_EPOCH, 6), (EACH_EPOCH, 12), (EACH_BATCH, 14)],
}
TRAINERS: dict[str, dict[str, Any]] = {
    "of_epochs": {"max_epochs": 3},
    "of_steps": {"max_steps": 3 * BATCHES},
    "of_epochs_of_known_length": {"max_epochs": 3, "limit_train_batches": BATCHES},
}


@pytest.mark.parametrize(("workers", "estimates"), [(0, True), (2, False)])
@pytest.mark.parametrize("options", TRAINERS.values(), ids=TRAINERS)
@pytest.mark.parametrize("stops", STOPS.values(), ids=STOPS)
def test_a_stopped_run_of_a_stream_sees_and_learns_what_one_that_was_not_does(
    estimates: bool,
    stops: list[tuple[str, int]],
    options: dict[str, Any],
    workers: int,
    tmp_path: Path,
) -> None:
    whole = stopped(tmp_path, [], 0, options, estimates=estimates)
    assert len(whole.seen) == 3 * BATCHES
    model = stopped(tmp_path, stops, workers, options, estimates=estimates)
    assert model.seen == whole.seen
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("options", list(TRAINERS.values())[:2], ids=list(TRAINERS)[:2])
def test_a_run_of_a_stream_that_was_saved_in_a_validation_goes_on(
    options: dict[str, Any], tmp_path: Path
) -> None:
    whole = stopped(tmp_path, [], 0, options, validates=True)
    stops = [(EACH_VALIDATION, 6), (EACH_BATCH, 9), (EACH_VALIDATION, 12)]
    model = stopped(tmp_path, stops, 0, options, validates=True)
    assert model.seen == whole.seen
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_checkpoint_counts_the_batches_that_were_trained_on(tmp_path: Path) -> None:
    stop = Stop(EACH_BATCH, 3, tmp_path / "a.ckpt")
    with pytest.raises(Stopped):
        trainer(tmp_path, max_epochs=1, callbacks=[stop]).fit(Recorder(), images(0))
    kept = torch.load(tmp_path / "a.ckpt", weights_only=True)["loops"]["fit_loop"]["state_dict"]
    assert kept["combined_loader"] == [{"epoch": 0, "batches": 3}]


def test_the_callback_is_added_once(tmp_path: Path) -> None:
    made, data = trainer(tmp_path, max_epochs=1), images(0)
    made.fit(Recorder(), data)
    made.fit(Recorder(), data)
    callbacks: list[Any] = vars(made)["callbacks"]
    assert sum(isinstance(callback, ExactResume) for callback in callbacks) == 1


def modules(folder: Path) -> dict[str, L.LightningDataModule]:
    rows = torch.arange(N)
    pixels = torch.arange(N, dtype=torch.uint8)[:, None, None, None].expand(N, 3, 6, 5)
    shard(folder / "a.tar", n=N, classes=N)
    kind: dict[str, Any] = {"image_size": (6, 5), "batch_size": 4}
    return {
        "with a length": Images(N, train=TensorDataset(pixels, rows), **kind),
        "of a stream": Images(N, train=WebShards(str(folder / "a.tar"), shuffle=9), **kind),
    }


@pytest.mark.parametrize("name", ["with a length", "of a stream"])
def test_overfitting_takes_the_same_samples_each_epoch(name: str, tmp_path: Path) -> None:
    model = Recorder()
    made = trainer(tmp_path, max_epochs=3, overfit_batches=2)
    made.fit(model, modules(tmp_path)[name])
    seen = [target for _, _, target, _ in model.seen]
    assert len(seen) == 6
    assert seen[:2] == seen[2:4] == seen[4:]
    usual = Recorder()
    trainer(tmp_path, max_epochs=3, limit_train_batches=2).fit(usual, modules(tmp_path)[name])
    assert usual.seen[:2] != usual.seen[2:4]


def test_overfitting_takes_the_same_samples_of_what_is_generated(tmp_path: Path) -> None:
    kind: dict[str, Any] = {"batch_size": 4}
    for data in (YArrow(train_images=N, **kind), ProbeImages(train=N, height=9, width=8, **kind)):
        data.setup("fit")
        assert not same(data.train_dataloader())
        data.trainer = trainer(tmp_path, overfit_batches=2)
        assert same(data.train_dataloader())


def same(loader: ResumableLoader) -> bool:
    """Whether the first batches of two epochs have the same images."""
    firsts = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        firsts.append(next(iter(loader))[0])
    return torch.equal(*firsts)
