"""The modules of a model that pad their maps."""

from typing import Literal, NamedTuple

from torch import nn

from visionpe.paddings.forwards import mode_of
from visionpe.paddings.modes import Mode
from visionpe.paddings.reading import calls_pad, pads_itself
from visionpe.paddings.windows import both, convolution

Kind = Literal["conv", "pool", "pad", "call"]
_PAD_MODES = ("reflect", "replicate", "circular")
_TO_ZERO = (nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d)


class Padding(NamedTuple):
    """A module that pads.

    Attributes:
        module: its name.
        kind: "conv" and "pool"; "pad", a layer of padding; "call", a call in a forward, which may
            depend on the size of the input.
        made_with: what the model was made with: "zeros", "reflect", "replicate", "circular", or
            "ignored" (pools that leave out what is beyond).
        mode: what it pads with now.
    """

    module: str
    kind: Kind
    made_with: str
    mode: str


def paddings(model: nn.Module) -> list[Padding]:
    """All of them, in the order of the model.

    >>> paddings(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)))
    [Padding(module='0', kind='conv', made_with='zeros', mode='zeros')]
    """
    reads: dict[type, bool] = {}
    found = []
    for name, module in model.named_modules():
        kind = _kind(module, reads)
        if kind is not None:
            made = _made_with(module)
            now: Mode = mode_of(module)
            found.append(Padding(name, kind, made, made if _as_made(made, now) else now))
    return found


def _as_made(made: str, now: Mode) -> bool:
    return now == "original" or (now == "zeros" and made == "ignored")


def _kind(module: nn.Module, reads: dict[type, bool]) -> Kind | None:
    match module:
        case nn.Conv2d() if _reaches_out(module):
            return "conv"
        case nn.ConvTranspose2d() if any(
            k > s for k, s in zip(module.kernel_size, module.stride, strict=True)
        ):
            return "conv"
        case nn.MaxPool2d() | nn.AvgPool2d() if module.ceil_mode or any(both(module.padding)):
            return "pool"
        case nn.Unfold() if any(both(module.padding)):
            return "call"
        case nn.ZeroPad2d() | nn.ReflectionPad2d() | nn.ReplicationPad2d() | nn.CircularPad2d():
            return "pad" if any(module.padding) else None
        case _ if type(module).__module__.startswith("torch.nn"):
            return None
    kind = type(module)
    if kind not in reads:
        reads[kind] = pads_itself(kind)
    if not reads[kind]:
        return None
    if isinstance(module, nn.Conv2d):  # TensorFlow's padding: of the input's size
        return "conv" if max(module.kernel_size) > 1 and not _standard(module) else None
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return "pool"
    kernel = getattr(module, "kernel_size", None)  # of a convolution that is no `nn.Conv2d`
    return None if kernel in (1, (1, 1), [1, 1]) else "call"


def _standard(conv: nn.Conv2d) -> bool:
    """Whether it hands its own padding to `conv2d`, which is none, and pads by nothing else."""
    return not calls_pad(type(conv))


def _reaches_out(conv: nn.Conv2d) -> bool:
    padding = conv.padding
    pads: tuple[int | str, ...] = (padding,) * 2 if isinstance(padding, str) else both(padding)
    return any(
        any(convolution(k, s, d, p).reach)
        for k, s, d, p in zip(conv.kernel_size, conv.stride, conv.dilation, pads, strict=True)
    )


def _made_with(module: nn.Module) -> str:
    match module:
        case nn.ReflectionPad2d():
            return "reflect"
        case nn.ReplicationPad2d():
            return "replicate"
        case nn.CircularPad2d():
            return "circular"
        case nn.MaxPool2d():
            return "ignored"
        case nn.AvgPool2d() if not module.count_include_pad:
            return "ignored"
        case nn.ConvTranspose2d():
            return "zeros"
        case _:
            mode = getattr(module, "padding_mode", None) or getattr(module, "pad_mode", None)
            return mode if mode in _PAD_MODES else "zeros"
