import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from visionpe.__main__ import main
from visionpe.data.normalise import Normalise
from visionpe.data.probe_images import ProbeImages
from visionpe.errors import DataError
from visionpe.models.posenet import PosENet
from visionpe.probing.features import record
from visionpe.probing.scores import mae, spearman
from visionpe.probing.targets import gaussian, published
from visionpe.probing.training import Recipe, loss, optimisers, train_step
from visionpe.tasks.position_probe import PositionProbe, truth_of

NET: dict[str, Any] = {"backbone": "test_resnet", "layers": ["layer1", "layer2"]}


def probe(**options: Any) -> PositionProbe:
    return PositionProbe(height=32, width=40, **options)


def images(n: int = 4) -> Tensor:
    return torch.randint(256, (n, 3, 32, 40), dtype=torch.uint8)


def test_the_steps_of_the_task_are_those_of_the_packages_own_loop() -> None:
    torch.manual_seed(0)
    task = probe(padding=1)
    torch.manual_seed(0)
    net = PosENet(3, padding=1, size_out=(32, 40))
    rule, _ = optimisers(net.parameters(), Recipe())
    (mine,), _ = task.configure_optimizers()
    truth = published("H", 32, 40)[None, None]
    for _ in range(3):
        batch = images()
        train_step(net, rule, batch / 255, truth)
        value = loss(task(batch), task.truth)
        mine.zero_grad()
        value.backward()
        mine.step()
    for ours, theirs in zip(task.readout.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_schedule_is_the_published_one() -> None:
    task = probe()
    (rule,), (schedule,) = task.configure_optimizers()
    assert rule.defaults["momentum"] == 0.9
    assert rule.defaults["weight_decay"] == 1e-4
    rates = []
    for _ in range(15):
        rates.append(schedule.get_last_lr()[0])
        rule.step()
        schedule.step()
    assert rates == pytest.approx([0.1] * 10 + [0.01] * 5)


def test_features_are_those_of_the_frozen_backbone() -> None:
    task = probe(**NET).train()
    batch = images()
    assert task.network is not None
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with record(task.network, ["layer1", "layer2"], (32, 40)) as maps_of:
        wanted = maps_of(Normalise(mean, std)(batch))
    found = task.features(batch)
    assert [tuple(a.shape) for a in found] == [tuple(b.shape) for b in wanted.values()]
    for a, b in zip(found, wanted.values(), strict=True):
        assert torch.equal(a, b)
    before = {key: value.clone() for key, value in task.network.state_dict().items()}
    loss(task(batch), task.truth).backward()
    assert not any(p.requires_grad for p in task.network.parameters())
    assert all(torch.equal(before[k], v) for k, v in task.network.state_dict().items())
    assert all(p.grad is not None for p in task.readout.parameters())


def test_a_backbone_of_random_weights_is_the_same_for_the_same_seed() -> None:
    one, same, other = (probe(**NET, random_seed=seed) for seed in (1, 1, 2))
    batch = images()
    assert torch.equal(one.features(batch)[0], same.features(batch)[0])
    assert not torch.equal(one.features(batch)[0], other.features(batch)[0])


def test_the_backbones_padding_can_be_another() -> None:
    batch = torch.full((1, 3, 32, 40), 128, dtype=torch.uint8)
    zeros = probe(**NET).features(batch)[0]
    circular = probe(**NET, backbone_padding="circular")
    (flat,) = circular.features(batch)[:1]
    assert float(zeros.std((2, 3)).max()) > 1e-3
    assert float(flat.std((2, 3)).max()) < 1e-5  # a constant image stays constant


def test_targets_are_the_released_images_or_exact() -> None:
    assert torch.equal(truth_of("G", 32, 40)[0, 0], published("G", 32, 40))
    assert truth_of("radius", 32, 40).shape == (1, 1, 32, 40)
    assert not torch.equal(published("G", 32, 40), gaussian(32, 40))


def test_an_unknown_target_or_half_a_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^`targets` must be among .* but has 'h'"):
        probe(target="h")
    with pytest.raises(ValueError, match="`backbone`") as caught:
        probe(pretrained=True)
    assert str(caught.value) == (
        "`backbone` must be given with `weights`, `pretrained`, `layers` or `backbone_padding`, "
        "but is None."
    )


def test_a_run_logs_the_scores_and_reads_the_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    size = ["--model.height", "32", "--model.width", "40", "--data.height", "32"]
    data = [
        "--data.train",
        "64",
        "--data.test",
        "8",
        "--data.width",
        "40",
        "--data.batch_size",
        "8",
    ]
    words = ["fit", "--model", "PositionProbe", "--data", "ProbeImages", *size, *data]
    words += ["--model.padding", "2", "--model.target", "G", "--trainer.max_epochs", "8"]
    assert main([*words, "--run.name", "probe"]) == 0
    with (tmp_path / "runs/probe/latest/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("test/spc")]
    first, last = float(rows[0]["test/spc"]), float(rows[-1]["test/spc"])
    assert last > 0.3
    assert last > first
    assert all(math.isfinite(float(row["test/r2"])) for row in rows)


def test_scores_are_means_over_images(monkeypatch: pytest.MonkeyPatch) -> None:
    task = probe().eval()
    logged: dict[str, Any] = {}
    monkeypatch.setattr(task, "log", lambda name, value, **options: logged.update({name: value}))
    batch = images()
    with torch.no_grad():
        task.validation_step((batch,), 0)
        predicted = task(batch).flatten(1)
    wanted = task.truth.flatten()
    by_image = torch.stack([spearman(p, wanted) for p in predicted])
    assert float(logged["test/spc"].compute()) == pytest.approx(float(by_image.mean()), abs=1e-6)
    assert float(logged["test/mae"].compute()) == pytest.approx(
        float(mae(predicted, wanted.expand_as(predicted)).mean())
    )


def test_leaves_are_the_same_for_the_same_seed_and_parted() -> None:
    def make(seed: int) -> ProbeImages:
        data = ProbeImages(train=3, test=2, height=12, width=16, seed=seed)
        data.setup("fit")
        return data

    one, same, other = make(0), make(0), make(1)
    assert one.parts["train"].shape == (3, 3, 12, 16)
    assert torch.equal(one.parts["train"], same.parts["train"])
    assert not torch.equal(one.parts["train"], other.parts["train"])
    assert not torch.equal(one.parts["train"][:2], one.parts["test"])
    (batch,) = next(iter(one.train_dataloader()))
    assert batch.dtype == torch.uint8


def test_no_photograph_is_trained_and_tested_on(tmp_path: Path) -> None:
    from PIL import Image

    for shade in range(7):
        Image.new("RGB", (20, 16), (shade, shade, shade)).save(tmp_path / f"{shade}.png")
    data = ProbeImages(str(tmp_path), train=14, test=6, height=12, width=16)
    data.setup("fit")
    train, test = (set(data.parts[part].flatten().tolist()) for part in ("train", "test"))
    assert not train & test
    assert train | test == set(range(7))


def test_bad_folders_and_numbers_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    with pytest.raises(ValueError, match="`train`") as caught:
        ProbeImages(train=0)
    assert str(caught.value) == "`train` must be at least 1, but is 0."
    Image.new("RGB", (20, 16)).save(tmp_path / "only.png")
    with pytest.raises(DataError) as refused:
        ProbeImages(str(tmp_path)).setup("fit")
    assert str(refused.value) == (
        f"The folder {tmp_path} must hold 2 photographs at least, one to test on, but holds 1."
    )


def test_batch_norms_of_the_backbone_do_not_move() -> None:
    task = probe(**NET)
    assert task.network is not None
    norm = next(m for m in task.network.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    task.train()
    task(images())
    assert torch.equal(norm.running_mean, before)
