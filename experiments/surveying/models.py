"""The models of the census: names, and how each is made without weights and with little memory."""

import inspect
import math
from collections import Counter
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from timm.models import _registry
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

VISION = "torchvision:"
LARGE = 2**16  # numbers: smaller tensors are each module's own
COPIES = 4  # of a shape, in turn: queries, keys, values and outputs are not made by the same matrix
SHUT = 1e-3  # what a branch is multiplied by at the start, at most, so that it is as good as shut
_IN_PLACE = {"__imul__", "__iadd__", "__isub__", "__itruediv__", "__setitem__"}


class Subject(NamedTuple):
    """A model of the census.

    Attributes:
        name: timm's, or torchvision's behind `torchvision:`.
        module: the file that defines it.
        size: `(h, w)` that it was made for, in pixels.
        channels: of its images.
    """

    name: str
    module: str
    size: tuple[int, int]
    channels: int = 3


def subjects() -> list[Subject]:
    """All names of `timm.list_models()`, and torchvision's models of classification."""
    found = []
    for name in timm.list_models():
        channels, h, w = timm.get_pretrained_cfg(name).input_size
        found.append(Subject(name, _registry._model_to_module[name], (h, w), channels))
    for name in torchvision.models.list_models(module=torchvision.models):
        # Without weights a model is made for the smallest of the sizes that they are for.
        made_for = torchvision.models.get_model_weights(name)
        side = min(
            inspect.signature(w.transforms).parameters["crop_size"].default for w in made_for
        )
        home = torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]
        found.append(Subject(VISION + name, VISION + home, (side, side)))
    return found


def make(subject: Subject, **options: Any) -> nn.Module:
    """The model, in evaluation mode, without its own weights.

    Large weights of one shape share their numbers, drawn four times: all modules are there and run,
    but a model of 7 billion parameters takes no more memory than its different shapes. Norms, gates
    and scales of layers that start at zero or close to it, and so would hide what happens before
    them, are set to one.
    """
    torch.manual_seed(0)
    with Shared():
        if subject.name.startswith(VISION):
            name = subject.name.removeprefix(VISION)
            if name in ("googlenet", "inception_v3"):
                options["init_weights"] = False
            model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        else:
            model = timm.create_model(subject.name, pretrained=False, **options)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        a_number_a_channel = parameter.dim() == 0 or parameter.numel() == len(parameter)
        if a_number_a_channel and "bias" not in name and not (parameter.abs() > SHUT).any():
            parameter.fill_(1.0)
    return model.eval()


class Shared(TorchFunctionMode):
    """Large tensors that are made inside are a few for each shape, in turn, and are filled once."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}
        self.made: Counter[tuple[tuple[int, ...], torch.dtype]] = Counter()
        self.held: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function; nothing where it would fill what is shared."""
        kwargs = kwargs or {}
        if func is torch.empty:
            return self._empty(args, kwargs)
        name = getattr(func, "__name__", "")
        if (name.endswith("_") and not name.endswith("__")) or name in _IN_PLACE:
            target = args[0] if args else kwargs.get("tensor")
            if isinstance(target, Tensor) and target.data_ptr() in self.held:
                return target
        return func(*args, **kwargs)

    def _empty(self, args: Any, kwargs: dict[str, Any]) -> Tensor:
        with torch.device("meta"):
            like = torch.empty(*args, **{k: v for k, v in kwargs.items() if k != "device"})
        device = torch.device(kwargs.get("device") or "cpu")
        if like.numel() < LARGE or not like.is_floating_point() or device.type != "cpu":
            return torch.empty(*args, **kwargs)
        key = (tuple(like.shape), like.dtype)
        drawn = self.pool.setdefault(key, [])
        turn = self.made[key] % COPIES
        self.made[key] += 1
        if turn == len(drawn):
            fan = math.prod(like.shape[1:])
            # Between LeCun's and He's: neither fades nor bursts in a hundred layers.
            drawn.append(torch.randn(like.shape, dtype=like.dtype) * math.sqrt(1.5 / fan))
            self.held.add(drawn[turn].data_ptr())
        return drawn[turn].view(like.shape)
