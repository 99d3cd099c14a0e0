"""Image classification: any backbone, any position encodings, frames that survive augmentation.

What can be done without a Trainer is done in the files beside this one; here it meets Lightning.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import lightning as L
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from typing_extensions import override

from visionpe.attaching.attached import attached_to
from visionpe.data.loader import EpochLoader
from visionpe.errors import ConfigError
from visionpe.frame import Frame
from visionpe.tasks.decay import parameter_groups
from visionpe.tasks.networks import make_network, subject_of
from visionpe.tasks.nonfinite import loss_error, require_finite_weights
from visionpe.tasks.schedules import warmup_constant, warmup_cosine
from visionpe.tasks.scores import Mean, make_scores

Batch = tuple[Tensor, Tensor, Frame | None]  # images b c h w; classes b, or shares b k; frames


@final
class Classification(L.LightningModule):
    """A backbone trained to name the class of an image.

    Logs `train/loss`, and of validation and test `loss`, `acc1`, `acc5` (where there are more than
    five classes) and `ece`, the expected calibration error in 15 bins.

    Args:
        backbone: a name of timm or torchvision, the path of a class, or a mapping of `class_path`
            and `init_args`: `visionpe.tasks.backbones.make_backbone`.
        backbone_args: more of the backbone's own arguments.
        pretrained: start from the library's weights.
        weights: start from this file, `.safetensors` or `.pth`, read without running what is in
            it. A head of another number of classes is left out; nothing else may differ.
        encodings: position encodings to attach, one line each: `visionpe.RelativeBias`, or a
            mapping with `class_path`, `init_args`, `at`, `share`, `name`. Heads, widths, channels
            and cells that a line leaves out are those of each site.
        replace: kinds of position to take out of the backbone first: `visionpe.remove`.
        use_frames: tell the encodings where augmented images sit in their originals.
        num_classes, channels, image_size: of the data, which says them if left out.
        of_data: what the data says, `num_classes`, `channels`, `image_size`; filled in by the
            command line.
        optimizer: a name of timm's, or a mapping of `opt`, `lr`, `weight_decay` and whatever else
            `timm.optim.create_optimizer_v2` takes. An `optimizer` section of the configuration
            takes its place.
        schedule: of the learning rate: "cosine" to zero over the run, or "constant".
        warmup: share of the run in which the rate rises. Of a run whose steps cannot be counted
            ahead, there is no share: with streams, give `trainer.max_steps`.
        label_smoothing: of the training loss.
        ema: decay of an average of the weights (0.999, for instance); null: none.
        ema_validate: validate and test the average, if there is one.
        channels_last: keep maps as `b h w c` in memory: faster convolutions, on most machines.
        compile: run the backbone through `torch.compile`.

    Raises:
        ValueError: if a name is unknown, a number out of range, or the data's and the arguments'
            numbers differ.
        CheckpointError: if `weights` cannot be used.
        ConfigError: when training starts, if `schedule` or `warmup` need the number of steps and
            the trainer cannot tell it.
    """

    monitor = "val/acc1"
    monitor_mode = "max"
    # What a checkpoint makes superfluous: nothing is fetched for weights that are replaced.
    superseded: ClassVar[dict[str, Any]] = {"pretrained": False, "weights": None}

    def __init__(
        self,
        backbone: str | dict[str, Any] = "resnet18",
        backbone_args: dict[str, Any] | None = None,
        pretrained: bool = False,
        weights: str | None = None,
        encodings: str | dict[str, Any] | list[str | dict[str, Any]] | None = None,
        replace: str | list[str] | None = None,
        use_frames: bool = True,
        num_classes: int | None = None,
        channels: int | None = None,
        image_size: tuple[int, int] | None = None,
        of_data: dict[str, int | list[int]] | None = None,
        optimizer: str | dict[str, Any] = "adamw",
        schedule: Literal["cosine", "constant"] = "cosine",
        warmup: float = 0.05,
        label_smoothing: float = 0.0,
        ema: float | None = None,
        ema_validate: bool = True,
        channels_last: bool = False,
        compile: bool = False,  # noqa: A002 # torch's word
    ) -> None:
        super().__init__()
        _require_share("warmup", warmup)
        _require_share("label_smoothing", label_smoothing)
        if ema is not None:
            _require_share("ema", ema)
        self.subject = subject_of(num_classes, channels, image_size, of_data)
        self.save_hyperparameters()
        self.network = make_network(
            backbone,
            self.subject,
            backbone_args,
            pretrained=pretrained,
            weights=weights,
            encodings=encodings,
            replace=replace,
        )
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=self.layout)
        self.takes_frames = use_frames and attached_to(self.network) is not None
        self.optimizer = {"opt": optimizer} if isinstance(optimizer, str) else dict(optimizer)
        self.schedule, self.warmup = schedule, warmup
        self.label_smoothing = label_smoothing
        self.ema = None
        self.ema_validate = ema_validate
        if ema is not None:
            average = partial(_move, decay=ema)
            self.ema = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
            self.ema.requires_grad_(False)
        if compile:
            self.network.compile()
        self.scores = nn.ModuleDict(
            {part: make_scores(self.subject.num_classes) for part in ("val", "test")}
        )
        self.losses = nn.ModuleDict({part: Mean() for part in ("val", "test")})

    @override
    def forward(
        self, images: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b k"]:
        """Logits of the weights that are validated."""
        return self._logits(self.scored, images, frame)

    @property
    def scored(self) -> nn.Module:
        """The backbone, or its average where that is validated."""
        if self.ema is not None and self.ema_validate:
            average: nn.Module = self.ema.module
            return average
        return self.network

    @override
    def setup(self, stage: str) -> None:
        """Refuses a precision that would round what must not be rounded.

        Raises:
            ConfigError: if it is half precision throughout, and there are frames or an average.
        """
        precision = str(self.trainer.precision)
        for wanted, what in ((self.takes_frames, "frames"), (self.ema is not None, "`ema`")):
            if wanted and precision in ("16-true", "bf16-true"):
                raise ConfigError(
                    f"`trainer.precision` must not be {precision} with {what}, which it would "
                    f"round away. Take {precision.replace('true', 'mixed')}."
                )

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, target, frame = batch
        logits = self._logits(self.network, images, frame)
        loss = F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        if not bool(loss.detach().isfinite()):
            raise self._failure(loss, images, batch_idx)
        self.log("train/loss", loss, batch_size=len(images))
        return loss

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score("val", batch)

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score("test", batch)

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "b k"]:
        """Probabilities of the classes."""
        logits: Tensor = self(batch[0], batch[2])
        return logits.float().softmax(-1)

    @override
    def configure_optimizers(self) -> Any:
        from timm.optim import create_optimizer_v2

        options = {"opt": "adamw", "lr": 1e-3, "weight_decay": 0.05, **self.optimizer}
        decay = options.pop("weight_decay")
        try:
            groups = self.parameter_groups(decay, options.pop("layer_decay", None))
            for group in groups:  # what timm's schedules would read, torch's do not
                group["lr"] = options["lr"] * group.pop("lr_scale", 1.0)
            optimizer = create_optimizer_v2(groups, **options)
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            given = ", ".join(f"{key}: {value!r}" for key, value in self.optimizer.items())
            raise ConfigError(
                f"`optimizer` must be arguments of `timm.optim.create_optimizer_v2`, but with "
                f"{{{given}}} none can be made: {error}. `timm.optim.list_optimizers()` has the "
                "names for `opt`."
            ) from error
        if self.schedule == "constant" and not self.warmup:
            return optimizer
        steps = _steps_of(self.trainer)
        warmup = round(self.warmup * steps)
        course = warmup_constant if self.schedule == "constant" else warmup_cosine
        factor = partial(course, steps=steps, warmup=warmup)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }

    def parameter_groups(
        self, weight_decay: float, layer_decay: float | None = None
    ) -> list[dict[str, Any]]:
        """What is trained, with decay and without: `visionpe.tasks.decay`."""
        return parameter_groups(self.network, weight_decay, layer_decay)

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step, after which the average of the weights takes them in."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update_parameters(self.network)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to write weights that are not finite over the last good ones."""
        require_finite_weights(self.network, self.global_step)

    def _logits(self, network: nn.Module, images: Tensor, frame: Frame | None) -> Tensor:
        images = images.contiguous(memory_format=self.layout)
        shared = not self.takes_frames or frame is None or frame.whole()  # places of the samples
        out: Any = network(images) if shared else network(images, frame=frame)
        logits: Tensor = getattr(out, "logits", out)  # torchvision's with auxiliary heads
        return logits

    def _score(self, part: str, batch: Batch) -> None:
        images, target, frame = batch
        logits = self(images, frame)
        scores: Any = self.scores[part]  # a MetricCollection
        scores.update(logits.float().softmax(-1), target)
        loss = F.cross_entropy(logits.float(), target)
        mean: Any = self.losses[part]
        mean.update(loss, len(images))
        self.log(f"{part}/loss", mean, on_epoch=True)
        self.log_dict({f"{part}/{name}": metric for name, metric in scores.items()}, on_epoch=True)

    def _failure(self, loss: Tensor, images: Tensor, batch: int) -> Exception:
        trainer = self.trainer
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        return loss_error(
            float(loss.detach()),
            step=trainer.global_step,
            epoch=trainer.current_epoch,
            batch=batch,
            samples=_samples(trainer.train_dataloader, trainer.current_epoch, batch),
            images_finite=bool(images.isfinite().all()),
            checkpoint=last if last.is_file() else None,
        )


def _move(
    averages: list[Tensor], current: list[Tensor], updates: Tensor | int, *, decay: float
) -> None:
    """Moves averages towards numbers of one type; whole numbers, such as indices, are copied."""
    if averages[0].is_floating_point():
        get_ema_multi_avg_fn(decay)(averages, current, updates)
        return
    for average, now in zip(averages, current, strict=True):
        average.copy_(now)


def _steps_of(trainer: L.Trainer) -> int:
    """Optimiser steps of the whole run.

    Raises:
        ConfigError: if there is no telling: the data have no length, or the run has no end.
    """
    steps = trainer.estimated_stepping_batches  # of a stream: `max_steps`, -1 where that is not set
    if trainer.limit_train_batches == 0 or 0 <= steps < math.inf:
        return int(steps)
    raise ConfigError(
        "`trainer.max_steps` must be given where `schedule` or `warmup` count the steps of a run "
        f"that has no last one (a stream, or `max_epochs` of -1), but is {trainer.max_steps}. Give "
        "it, or `trainer.limit_train_batches` with `trainer.max_epochs`, or `schedule: constant` "
        "with `warmup: 0`."
    )


def _samples(loader: object, epoch: int, batch: int) -> list[int] | None:
    """The rows of the training part that a batch is made of, where the loader can tell."""
    if not isinstance(loader, EpochLoader):
        return None
    rows: Int64[Tensor, " b"] = loader.orders(epoch)[batch].rows
    return [int(row) for row in rows]


def _require_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"`{name}` must be at least 0 and below 1, but is {value}.")
