"""The model that a command line names: of timm, of torchvision, a run of ours, or any factory."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from visionpe.cli.named import find
from visionpe.errors import ConfigError

_ENDINGS = (".ckpt", ".pt", ".pth", ".safetensors")
_TORCHVISION = "torchvision:"
_CLASSES = 1000  # of ImageNet; a head is not probed, but weights may hold one


class Probed(NamedTuple):
    """A model and what it expects of images.

    Attributes:
        model: in eval mode.
        size: `(h, w)` in pixels.
        mean, std: of each channel, for values in [0, 1]; None where nothing says.
        channels: of the images; None where nothing says.
    """

    model: nn.Module
    size: tuple[int, int]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int | None = None


def find_model(
    name: str,
    *,
    size: tuple[int, int] | None = None,
    weights: str | None = None,
    pretrained: bool = False,
) -> Probed:
    """The model of that name.

    Args:
        name: of timm; `torchvision:NAME`; the folder of a run or its checkpoint; or
            `PACKAGE.MODULE:FACTORY`, called without arguments.
        size: of the images, for models of one size; None: the model's own, or 224 x 224.
        weights: a file to load, tensors and plain data alone.
        pretrained: the library's weights.

    Raises:
        ConfigError: if there is no such model.
        CheckpointError: if weights or a checkpoint cannot be used.
    """
    if _is_path(name):
        if weights or pretrained:
            raise ConfigError(
                f"`--weights` and `--pretrained` are of models without weights; {name} has its own."
            )
        return _of_run(Path(name), size)
    if ":" in name and not name.startswith(_TORCHVISION):
        if pretrained:
            raise ConfigError(
                f"`--pretrained` is of models of timm and torchvision, not of {name}."
            )
        made = _of_factory(name)
        if weights:
            _fill(made, weights)
        return Probed(made.eval(), size or (224, 224))
    return _of_library(name, size, weights, pretrained)


def _of_library(
    name: str, size: tuple[int, int] | None, weights: str | None, pretrained: bool
) -> Probed:
    from visionpe.tasks.backbones import Subject, make_backbone

    plain = name.removeprefix(_TORCHVISION)
    config = _config(plain) if plain == name else None
    size = size or (config.input_size[1:] if config else (224, 224))
    channels = config.input_size[0] if config else 3
    library = "torchvision/" if plain != name else ""
    try:
        made = make_backbone(
            library + plain, Subject(_CLASSES, channels, size), pretrained=pretrained
        )
    except ValueError as error:
        said = str(error).replace("`backbone`", "MODEL").replace(library + plain, name)
        raise ConfigError(said) from error
    if weights:
        _fill(made, weights)
    mean, std = (tuple(config.mean), tuple(config.std)) if config else (None, None)
    return Probed(made.eval(), size, mean, std, channels)


def _is_path(name: str) -> bool:
    """Whether a name is a file or a folder; one without a checkpoint does not hide a model."""
    path = Path(name)
    if path.is_dir() and not any((*path.glob("*.ckpt"), *path.glob("*/*.ckpt"))):
        from timm.models import is_model

        return not is_model(name.partition(".")[0])
    return path.exists() or name.endswith(_ENDINGS)


def _config(name: str) -> Any:
    """What timm knows of a name's weights; None for names that it does not know."""
    from timm.models import get_pretrained_cfg, is_model

    return get_pretrained_cfg(name) if is_model(name.partition(".")[0]) else None


def _fill(model: nn.Module, weights: str) -> None:
    from visionpe.tasks.weights import load_weights

    load_weights(model, weights, num_classes=_CLASSES)


def _of_run(path: Path, size: tuple[int, int] | None) -> Probed:
    """The network of a `Classification` run, its averaged weights where it has them."""
    from visionpe.cli import trained
    from visionpe.report import read_files

    file = read_files(path, metrics=False).checkpoint if path.is_dir() else path
    try:
        task, checkpoint = trained.load(file)
    except trained.OtherTaskError as error:
        raise ConfigError(
            f"The checkpoint {file} must be of the task Classification, but is of "
            f"{error.task or 'none that it names'}. Of other networks, give "
            "PACKAGE.MODULE:FACTORY and `--weights FILE`."
        ) from error
    channels = task.subject.channels
    mean, std = _normalisation(checkpoint, channels)
    return Probed(task.scored, size or task.subject.image_size, mean, std, channels)


def _normalisation(
    checkpoint: dict[str, Any], channels: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation of a run's data, which need not be at hand; None if it says no data."""
    from visionpe.data.folder import statistics

    data = (checkpoint.get("visionpe") or {}).get("data") or {}
    if not data.get("class_path"):
        return None, None
    package, _, name = str(data["class_path"]).rpartition(".")
    try:
        kind = getattr(import_module(package or "visionpe.data"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"The data of the run must be importable to tell its normalisation, but "
            f"{data['class_path']} is not. Run where it was trained."
        ) from error
    said = data.get("init_args") or {}
    mean, std = (said.get(key) or getattr(kind, key, None) for key in ("mean", "std"))
    return statistics(channels, mean and tuple(mean), std and tuple(std))


def _of_factory(target: str) -> nn.Module:
    """What `PACKAGE.MODULE:NAME` makes; modules of the current folder are found too."""
    found = find(target, "MODEL", example="torchvision.models:resnet18")
    made = found if isinstance(found, nn.Module) else found()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"MODEL must make a module, but {target} makes a {type(made).__name__}.")
    return made
