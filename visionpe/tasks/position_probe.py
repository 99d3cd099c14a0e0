"""The trained probe of arXiv 2001.08248: PosENet learns to read a position off frozen features.

Read-out, targets, recipe, loss and scores are those of `visionpe.probe`, which fits a linear rule
in closed form by default; here is what a Trainer adds: a run that is kept, resumed and reported.
"""

from typing import Any, final

import lightning as L
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer
from typing_extensions import override

from visionpe.data.normalise import Normalise
from visionpe.data.photographs import IMAGENET_MEAN, IMAGENET_STD
from visionpe.models.posenet import PosENet
from visionpe.paddings.modes import Mode
from visionpe.paddings.swap import set_padding
from visionpe.probing.features import record
from visionpe.probing.layers import find_layers
from visionpe.probing.scores import mae, r2, spearman
from visionpe.probing.targets import TARGETS, published, target
from visionpe.probing.training import Recipe, loss, optimisers
from visionpe.tasks.backbones import Subject, make_backbone
from visionpe.tasks.scores import Mean
from visionpe.tasks.weights import load_weights
from visionpe.tracing.run import trace

Batch = tuple[UInt8[Tensor, "b c h w"]]
_CLASSES = 1000  # of ImageNet; the head is not probed


@final
class PositionProbe(L.LightningModule):
    """Trains PosENet on the maps of a frozen network, or on the images alone.

    Logs `train/loss`, and of the test images `test/spc` (Spearman's rank correlation), `test/mae`
    and `test/r2`, means over images.

    Args:
        backbone: a name of timm or torchvision, the path of a class, or a mapping of `class_path`
            and `init_args`: `visionpe.tasks.backbones.make_backbone`. None: the image itself is
            read, the paper's "PosENet alone".
        layers: modules or patterns of their names; their maps are concatenated, as published. None:
            the stages.
        pretrained: with the library's weights.
        weights: from this file, read without running what is in it.
        random_seed: of the backbone's weights, where they are random.
        backbone_padding: give the backbone another padding, as `visionpe.set_padding`.
        target: one of `visionpe.probing.targets`; H, V, G, HS and VS come from the released images.
        kernel, depth, padding: of PosENet's convolutions.
        height, width: of the images, in pixels.
        mean, std: what the backbone expects of each channel, for values in [0, 1]; None: those of
            ImageNet. Without a backbone values stay in [0, 1], as published: a zero is black.
        lr, decay_at, momentum, weight_decay: of SGD, as published; the rate is a tenth from epoch
            `decay_at` on.

    Raises:
        ValueError: if the target, a layer or the backbone is unknown, or a number out of range.
        CheckpointError: if `weights` cannot be used.
    """

    truth: Tensor
    monitor = "train/loss"
    monitor_mode = "min"

    def __init__(
        self,
        backbone: str | dict[str, Any] | None = None,
        layers: list[str] | None = None,
        pretrained: bool = False,
        weights: str | None = None,
        random_seed: int = 0,
        backbone_padding: Mode | None = None,
        target: str = "H",
        kernel: int = 3,
        depth: int = 1,
        padding: int = 0,
        height: int = 224,
        width: int = 224,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        lr: float = 0.1,
        decay_at: int = 10,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.means = nn.ModuleDict({name: Mean() for name in ("spc", "mae", "r2")})
        self.recipe = Recipe(lr=lr, decay_at=decay_at, momentum=momentum, weight_decay=weight_decay)
        plain = backbone is None
        self.normalise = Normalise(
            mean or ((0.0,) * 3 if plain else IMAGENET_MEAN),
            std or ((1.0,) * 3 if plain else IMAGENET_STD),
        )
        self.size = (height, width)
        self.network: nn.Module | None = None
        channels = 3
        if backbone is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(random_seed)
                self.network = make_backbone(
                    backbone, Subject(_CLASSES, 3, self.size), pretrained=pretrained
                )
            if weights is not None:
                load_weights(self.network, weights, num_classes=_CLASSES)
            if backbone_padding is not None:
                set_padding(self.network, backbone_padding)
            self.network.eval().requires_grad_(False)
            found = trace(self.network, *self.size, channels=3)
            self.layers = find_layers(found, self.network, layers)
            channels = sum(layer.channels for layer in self.layers)
        elif weights or pretrained or layers or backbone_padding:
            raise ValueError(
                "`backbone` must be given with `weights`, `pretrained`, `layers` or "
                "`backbone_padding`, but is None."
            )
        self.readout = PosENet(
            channels, kernel=kernel, depth=depth, padding=padding, size_out=self.size
        )
        self.register_buffer("truth", truth_of(target, *self.size), persistent=False)

    @override
    def forward(self, images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """The map that is read."""
        predicted: Tensor = self.readout(self.features(images))
        return predicted

    def features(self, images: UInt8[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """What PosENet reads: the maps of the layers, or the image itself."""
        given = self.normalise(images)
        if self.network is None:
            return [given]
        with record(self.network, self.layers, self.size) as maps_of:
            return list(maps_of(given).values())

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean squared error."""
        value = loss(self(batch[0]), self.truth)
        self.log("train/loss", value, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return value

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the scores of the test images."""
        predicted = self(batch[0]).flatten(1)
        wanted = self.truth.flatten().expand_as(predicted)
        for name, score in (("spc", spearman), ("mae", mae), ("r2", r2)):
            mean: Any = self.means[name]
            mean.update(score(predicted, wanted).float().mean(), len(predicted))
            self.log(f"test/{name}", mean, prog_bar=name == "spc", on_epoch=True)

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx)

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "b 1 h w"]:
        """The maps that are read."""
        predicted: Tensor = self(batch[0])
        return predicted

    @override
    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """The published ones."""
        rule, schedule = optimisers(self.readout.parameters(), self.recipe)
        return [rule], [schedule]


def truth_of(name: str, h: int, w: int) -> Float[Tensor, "1 1 h w"]:
    """A target as the paper's code has it where it is the paper's, and exact where it is not.

    Raises:
        ValueError: if there is no such target.
    """
    made = target(name)
    try:
        return published(name, h, w)[None, None]
    except ValueError:
        assert name in TARGETS
        return made(h, w)[None, None]
