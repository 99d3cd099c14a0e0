"""The task, with a Trainer where it takes one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
import trees
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from torchmetrics.functional.classification import multiclass_calibration_error
from torchmetrics.utilities.data import dim_zero_sum as torch_sum

import visionpe
from visionpe.data import BatchAugment, FashionMNIST, Images
from visionpe.data.loader import EpochLoader
from visionpe.errors import ConfigError
from visionpe.tasks import Classification
from visionpe.tasks.callbacks import LastCheckpoint, ReseedEachStep
from visionpe.tasks.networks import subject_of
from visionpe.tasks.nonfinite import NonFiniteError
from visionpe.tasks.schedules import warmup_cosine
from visionpe.tasks.scores import Mean

# torch renames a helper that Lightning 2.6 calls.
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
BACKBONE = {
    "class_path": "visionpe.models.resnet.ResNet",
    "init_args": {"blocks": [1], "width": 4},
}
SIZES: dict[str, Any] = {"num_classes": 10, "channels": 1, "image_size": (28, 28)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.fashion_mnist(tmp_path_factory.mktemp("data"))


def data(root: Path) -> FashionMNIST:
    return FashionMNIST(str(root), batch_size=8, augment=BatchAugment())


def trainer(folder: Path, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 1,
            "default_root_dir": folder,
            "enable_checkpointing": False,
            "num_sanity_val_steps": 0,
            **quiet,
            **options,
        }
    )


class Weights(L.Callback):
    """The weights after each step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        state = pl_module.network.state_dict()
        self.seen.append({name: value.clone() for name, value in state.items()})


def test_the_average_of_the_weights_is_a_loop_over_them(root: Path, tmp_path: Path) -> None:
    task = Classification(BACKBONE, encodings="visionpe.CoordConv", ema=0.7, **SIZES)
    weights = Weights()
    trainer(tmp_path, max_steps=4, callbacks=[weights]).fit(task, data(root))
    assert task.ema is not None
    average = dict(weights.seen[0])
    for state in weights.seen[1:]:
        average = {
            name: value.lerp(state[name], 1 - 0.7) if value.is_floating_point() else state[name]
            for name, value in average.items()
        }
    kept = task.ema.module.state_dict()
    assert "visionpe.CoordConv.conv1.weight" in kept
    for name, value in average.items():
        if value.is_floating_point():
            torch.testing.assert_close(kept[name], value, msg=name)
    assert task.scored is task.ema.module
    task.ema_validate = False
    assert task.scored is task.network


def test_scores_are_those_of_all_images_at_once(root: Path, tmp_path: Path) -> None:
    task = Classification(BACKBONE, encodings="visionpe.CoordConv", **SIZES)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    module = data(root)
    (found,) = trainer(tmp_path).test(task, module, verbose=False)
    batches = list(module.test_dataloader())
    target = torch.cat([batch[1] for batch in batches])
    task.eval()
    with torch.no_grad():
        logits = torch.cat([task(batch[0], batch[2]) for batch in batches])
    right = (logits.topk(5).indices == target[:, None]).float()
    error = multiclass_calibration_error(logits.softmax(-1), target, 10, n_bins=15)
    wanted = {
        "test/loss": F.cross_entropy(logits, target),
        "test/acc1": right[:, 0].mean(),
        "test/acc5": right.sum(1).mean(),
        "test/ece": error,
    }
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5), name


def test_frames_reach_the_encodings_unless_they_are_turned_off() -> None:
    images = torch.randn(2, 1, 28, 28)
    whole = visionpe.Frame.stack([visionpe.Frame.identity(28, 28)] * 2)
    for use in (True, False):
        torch.manual_seed(0)
        task = Classification(BACKBONE, encodings="visionpe.CoordConv", use_frames=use, **SIZES)
        with torch.no_grad():
            task.network.get_parameter("visionpe.CoordConv.conv1.weight").normal_()
        task.eval()
        same = torch.equal(task(images, whole), task(images, whole.hflip()))
        assert same != use
    plain = Classification(BACKBONE, **SIZES).eval()
    assert torch.equal(plain(images, whole.hflip()), plain(images))


def test_frames_of_whole_images_are_not_handed_on_and_all_others_are() -> None:
    task = Classification(BACKBONE, encodings="visionpe.CoordConv", **SIZES)
    given: list[object] = []

    class Network(nn.Module):
        def forward(self, images: Tensor, frame: visionpe.Frame | None = None) -> Tensor:
            given.append(frame)
            return images.flatten(1)

    task.network = Network()
    images, image = torch.randn(2, 1, 28, 28), visionpe.Frame.identity(28, 28)
    mixed = visionpe.Frame.stack([image, image.hflip()])
    for frame in (visionpe.Frame.stack([image] * 2), mixed, None):
        task(images, frame)
    assert [each is mixed for each in given] == [False, True, False]
    assert given[0] is given[2] is None


def test_targets_may_be_shares_of_classes(root: Path) -> None:
    task = Classification(BACKBONE, label_smoothing=0.1, **SIZES)
    task.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    images, target = torch.randn(4, 1, 28, 28), torch.tensor([1, 2, 3, 4])
    shares = F.one_hot(target, 10).float()
    hard = task.training_step((images, target, None), 0)
    torch.testing.assert_close(task.training_step((images, shares, None), 0), hard)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_an_optimiser_of_timm_gets_two_groups_and_a_schedule(
    name: str, root: Path, tmp_path: Path
) -> None:
    options = {"opt": name, "lr": 0.02, "weight_decay": 0.3}
    task = Classification(BACKBONE, optimizer=options, warmup=0.4, **SIZES)
    run = trainer(tmp_path, max_steps=5)
    run.fit(task, data(root))
    (optimizer,) = run.optimizers
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert run.lr_scheduler_configs[0].interval == "step"
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)  # at the end


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine() -> None:
    factors = [warmup_cosine(step, steps=110, warmup=10) for step in range(111)]
    assert factors[:10] == [pytest.approx((i + 1) / 10) for i in range(10)]
    assert factors[60] == pytest.approx(0.5)
    assert factors[110] == 0
    pairs = zip(factors[10:], factors[::-1], strict=False)
    assert all(a + b == pytest.approx(1) for a, b in pairs)  # point symmetric about the middle


def test_checkpoints_hold_plain_data_and_make_the_task_anew(root: Path, tmp_path: Path) -> None:
    line = {"class_path": "visionpe.Learned2d", "init_args": {"init_std": 0.1}, "at": "layer1"}
    task = Classification(BACKBONE, encodings=line, ema=0.9, **SIZES)
    run = trainer(tmp_path, max_steps=2)
    run.fit(task, data(root))
    run.save_checkpoint(tmp_path / "a.ckpt")
    again = Classification.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(again.eval()(images), task.eval()(images))


def test_a_loss_that_is_no_number_names_step_samples_and_checkpoint(
    root: Path, tmp_path: Path
) -> None:
    task = Classification(BACKBONE, optimizer={"opt": "sgd", "lr": 0.1}, **SIZES)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"")

    class Spoil(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step == 2:
                with torch.no_grad():
                    task.network.get_parameter("fc.bias")[3] = float("nan")

    module = data(root)
    with pytest.raises(NonFiniteError) as caught:
        trainer(tmp_path, callbacks=[Spoil()]).fit(task, module)
    loader = module.train_dataloader()
    assert isinstance(loader, EpochLoader)
    rows = loader.orders(0)[2].rows.tolist()
    assert str(caught.value) == (
        f"The loss is nan at step 2 (epoch 0, batch 2, samples {', '.join(map(str, rows))} of "
        "the training part); the "
        f"weights were not changed by it. The last good checkpoint is {tmp_path}/checkpoints/"
        "last.ckpt. Lower the learning rate, lengthen its warm-up, or clip gradients "
        "(`--trainer.gradient_clip_val 1`)."
    )


def test_images_that_are_not_finite_are_told_from_weights_that_diverged() -> None:
    from visionpe.tasks.nonfinite import loss_error

    error = loss_error(
        float("inf"), step=0, epoch=0, batch=0, samples=None, images_finite=False, checkpoint=None
    )
    assert str(error) == (
        "The loss is inf at step 0 (epoch 0, batch 0); the weights were not changed by it. There "
        "is no checkpoint yet. The images of this batch hold values that are not finite: mend the "
        "data."
    )


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint() -> None:
    task = Classification(BACKBONE, **SIZES)
    with torch.no_grad():
        task.network.get_parameter("fc.bias")[3] = float("inf")
    with pytest.raises(NonFiniteError, match=r"^`fc.bias` is not finite after step 0: "):
        task.on_save_checkpoint({})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warmup": 1.0}, "`warmup` must be at least 0 and below 1, but is 1.0."),
        ({"ema": -0.1}, "`ema` must be at least 0 and below 1, but is -0.1."),
        (
            {"of_data": {"num_classes": 7}},
            "`num_classes` must be the data's, 7, but is 10. Leave it out.",
        ),
    ],
)
def test_numbers_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        Classification(BACKBONE, **SIZES, **options)
    assert str(caught.value) == says


def test_what_the_data_does_not_say_must_be_given() -> None:
    with pytest.raises(ValueError, match="`channels` must be given, since no data says it"):
        subject_of(10, None, (8, 8), {"num_classes": 10})


def test_a_compiled_backbone_keeps_its_keys(unchecked: None) -> None:
    plain = Classification(BACKBONE, **SIZES)
    task = Classification(BACKBONE, compile=True, **SIZES)
    assert task.state_dict().keys() == plain.state_dict().keys()
    assert task.network._compiled_call_impl is not None


def test_an_optimiser_of_the_command_line_gets_the_groups_and_a_checkpoint_needs_no_weights(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visionpe.__main__ import main
    from visionpe.cli import noise
    from visionpe.cli.lightning import VisionPECLI

    monkeypatch.chdir(tmp_path)
    data = ["--data", "visionpe.data.FashionMNIST", "--data.root", str(root)]
    words = ["--model", "visionpe.tasks.Classification", "--model.backbone", str(BACKBONE), *data]
    words += ["--model.encodings", "visionpe.CoordConv", "--trainer.accelerator", "cpu"]
    optimizer = ["--optimizer", "AdamW", "--optimizer.weight_decay", "0.2"]
    schedule = ["--lr_scheduler", "CosineAnnealingLR", "--lr_scheduler.T_max", "9"]
    with noise.quiet(scoring=False):
        cli = VisionPECLI("fit", [*words, *optimizer, *schedule, "--trainer.fast_dev_run", "1"])
    ((made,), (stepped,)) = cli.model.configure_optimizers()
    assert [group["weight_decay"] for group in made.param_groups] == [0.2, 0.0]
    kernel = cli.model.network.get_parameter("visionpe.CoordConv.conv1.weight")
    assert any(kernel is parameter for parameter in made.param_groups[1]["params"])
    assert stepped.optimizer is made

    weights = tmp_path / "w.pth"
    torch.save(Classification(BACKBONE, **SIZES).network.state_dict(), weights)
    assert main(["fit", *words, "--model.weights", "w.pth", "--trainer.max_steps", "1"]) == 0
    weights.unlink()
    path = str(tmp_path / "runs" / "classification" / "latest" / "checkpoints" / "last.ckpt")
    assert main(["test", "--ckpt_path", path, *data, "--trainer.accelerator", "cpu"]) == 0


class Stream(IterableDataset[Any]):
    """Ten batches of four images."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for i in range(40):
            generator = torch.Generator().manual_seed(i)
            image = torch.randint(0, 256, (1, 28, 27), dtype=torch.uint8, generator=generator)
            yield image, i % 10


def stream() -> Images:
    return Images(10, train=Stream(), image_size=(28, 28), batch_size=4, channels=1)


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ({}, {"max_epochs": 2}),
        ({}, {"max_epochs": -1}),
        ({"schedule": "constant"}, {"max_epochs": 2}),
        ({"warmup": 0.0}, {"max_epochs": 2}),
    ],
)
def test_a_schedule_over_steps_that_cannot_be_counted_is_refused(
    task: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    message = (
        "`trainer.max_steps` must be given where `schedule` or `warmup` count the steps of a run "
        "that has no last one (a stream, or `max_epochs` of -1), but is -1. Give it, or "
        "`trainer.limit_train_batches` with `trainer.max_epochs`, or `schedule: constant` with "
        "`warmup: 0`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        trainer(tmp_path, **options).fit(Classification(BACKBONE, **task, **SIZES), stream())


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
@pytest.mark.parametrize(
    ("task", "options", "rates"),
    [
        ({}, {"max_epochs": -1, "max_steps": 20}, True),
        ({}, {"max_epochs": 2, "limit_train_batches": 10}, True),
        ({"schedule": "constant", "warmup": 0.0}, {"max_epochs": 2}, False),
    ],
)
def test_a_stream_trains_to_its_end_when_its_steps_are_known_or_not_needed(
    task: dict[str, Any], options: dict[str, Any], rates: bool, tmp_path: Path
) -> None:
    made = trainer(tmp_path, **options)
    rated = Rates()
    made.callbacks.append(rated)  # type: ignore[attr-defined]
    made.fit(Classification(BACKBONE, **task, **SIZES), stream())
    assert made.global_step == 20
    expected = [warmup_cosine(step, steps=20, warmup=1) if rates else 1.0 for step in range(20)]
    assert rated.seen == pytest.approx([1e-3 * factor for factor in expected])


class Rates(L.Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


class Killed(Exception):  # noqa: N818 # no error
    """The run was killed."""


class Kill(L.Callback):
    """Ends the run before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise Killed


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
@pytest.mark.parametrize("options", [{"max_epochs": -1, "max_steps": 20}, {"max_epochs": 2}])
def test_a_stream_goes_on_from_the_last_checkpoint_as_if_it_had_not_been_stopped(
    options: dict[str, Any], tmp_path: Path
) -> None:
    kind: dict[str, Any] = {} if "max_steps" in options else {"schedule": "constant", "warmup": 0.0}

    def fit(name: str, *kills: int) -> Classification:
        file = tmp_path / name / "last.ckpt"
        for kill in (*kills, -1):
            torch.manual_seed(0)
            task = Classification(BACKBONE, **kind, **SIZES)
            last = LastCheckpoint(str(file.parent), steps=1)
            callbacks = [ReseedEachStep(), Kill(kill), last]
            made = trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True, **options)
            try:
                path = file if file.is_file() else None
                made.fit(task, stream(), ckpt_path=path, weights_only=True if path else None)
            except Killed:
                continue
        return task

    whole, resumed = fit("whole"), fit("stopped", 4, 10, 11, 17)
    assert whole.trainer.global_step == resumed.trainer.global_step == 20
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_whole_numbers_of_the_average_are_copied_not_rounded(root: Path, tmp_path: Path) -> None:
    swin = {"window_size": 4, "depths": (1, 1), "num_heads": (2, 2), "embed_dim": 16}
    task = Classification("swin_tiny_patch4_window7_224", swin, ema=0.9999, **SIZES)
    trainer(tmp_path, max_steps=3).fit(task, data(root))
    assert task.ema is not None
    indices = 0
    for own, average in zip(task.network.buffers(), task.ema.module.buffers(), strict=True):
        if not own.is_floating_point():
            assert torch.equal(own, average)
            indices += own.numel() > 1
    assert indices


def rates(task: Classification, root: Path, tmp_path: Path) -> dict[str, float]:
    """How far a step of SGD moves each parameter, of its gradient."""
    before = {name: p.detach().clone() for name, p in task.network.named_parameters()}
    module = data(root)
    trainer(tmp_path, max_steps=1).fit(task, module)
    return {
        name: float((p.detach() - before[name]).norm() / p.grad.norm())
        for name, p in task.network.named_parameters()
        if p.grad is not None and p.grad.norm() > 0
    }


def test_layer_decay_slows_the_first_layers(root: Path, tmp_path: Path) -> None:
    optimizer = {"opt": "momentum", "lr": 0.1, "momentum": 0}
    optimizer |= {"weight_decay": 0, "layer_decay": 0.5}
    options: dict[str, Any] = {"optimizer": optimizer, "schedule": "constant", "warmup": 0.0}
    task = Classification("test_vit", {"patch_size": 7}, **options, **SIZES)
    found = rates(task, root, tmp_path)
    assert found["head.weight"] == pytest.approx(0.1, rel=1e-3)
    depth = len(task.network.blocks)  # type: ignore[arg-type] # a Sequential
    assert found[f"blocks.{depth - 1}.attn.qkv.weight"] == pytest.approx(0.05, rel=1e-2)
    assert found["patch_embed.proj.weight"] == pytest.approx(0.1 * 0.5 ** (depth + 1), rel=2e-2)


def test_the_default_optimiser_stays_when_only_its_rate_is_given(
    root: Path, tmp_path: Path
) -> None:
    task = Classification(BACKBONE, optimizer={"lr": 0.01}, **SIZES)
    run = trainer(tmp_path, max_steps=1)
    run.fit(task, data(root))
    assert type(run.optimizers[0]).__name__ == "AdamW"


def test_an_optimiser_that_cannot_be_made_is_named_with_what_was_given(
    root: Path, tmp_path: Path
) -> None:
    task = Classification(BACKBONE, optimizer={"opt": "adamx"}, **SIZES)
    with pytest.raises(
        ConfigError,
        match=r"^`optimizer` must be arguments of .*, but with \{opt: 'adamx'\} none can be made: ",
    ):
        trainer(tmp_path, max_steps=1).fit(task, data(root))


@pytest.mark.parametrize(
    ("options", "what"),
    [({"encodings": "visionpe.CoordConv"}, "frames"), ({"ema": 0.9}, "`ema`")],
)
def test_half_precision_throughout_is_refused_where_it_would_round_too_much(
    root: Path, tmp_path: Path, options: dict[str, Any], what: str
) -> None:
    message = (
        f"`trainer.precision` must not be bf16-true with {what}, which it would round away. Take "
        "bf16-mixed."
    )
    task = Classification(BACKBONE, **options, **SIZES)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        trainer(tmp_path, precision="bf16-true").fit(task, data(root))


def test_a_mean_of_several_processes_weighs_their_samples() -> None:
    one, other = Mean(), Mean()
    one.update(torch.tensor(2.0), 11)
    other.update(torch.tensor(5.0), 9)
    other.update(torch.tensor(1.0), 1)
    both = one.total + other.total, one.samples + other.samples  # as `dist_reduce_fx` sums them
    assert set(one._reductions.values()) == {torch_sum}
    assert float(both[0] / both[1]) == pytest.approx((22 + 45 + 1) / 21)
    other.update(torch.tensor(float("nan")), 1)
    assert other.compute().isnan()


def test_outputs_with_auxiliary_heads_are_trained_by_their_logits() -> None:
    sizes: dict[str, Any] = {"num_classes": 3, "channels": 3, "image_size": (64, 64)}
    task = Classification("torchvision/googlenet", {"init_weights": False}, **sizes)
    images = torch.randn(2, 3, 64, 64)
    assert task.train()._logits(task.network, images, None).shape == (2, 3)
