"""What `trace` refuses, and whose fault it is."""

import warnings

import torch
from torch import Tensor, nn

from visionpe.tracing.errors import TraceError
from visionpe.tracing.untouched import untouched


def explained(
    model: nn.Module, channels: int, size: tuple[int, int], error: Exception, where: str
) -> Exception:
    """The error to raise: whether the model fails at this size, or the trace does."""
    said = (" ".join(str(error).split()) or type(error).__name__).removesuffix(".") + "."
    image = f"{channels} x {size[0]} x {size[1]}"
    if runs(model, channels, size):
        return TraceError(
            f"{type(model).__name__} takes images of {image}, but `{where}` cannot be followed: "
            f"{type(error).__name__}: {said}"
        )
    return ValueError(
        f"`model` must take images of {image}, but {type(model).__name__} fails in `{where}`: "
        f"{said} Give `h`, `w` and `channels` that it takes."
    )


def runs(model: nn.Module, channels: int, size: tuple[int, int]) -> bool:
    """Whether the model takes such images.

    Tried without arithmetic on the meta device, and then in earnest, where there are weights: some
    operations do not look at what they get on the meta device.
    """
    states = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    on_meta = {name: tensor.detach().to("meta") for name, tensor in states.items()}
    if not _runs(model, on_meta, channels, size):
        return False
    if any(tensor.is_meta for tensor in states.values()):
        return True
    copies = {name: tensor.detach().clone() for name, tensor in states.items()}
    return _runs(model, copies, channels, size)


def _runs(
    model: nn.Module, states: dict[str, Tensor], channels: int, size: tuple[int, int]
) -> bool:
    first = next(iter(states.values()), torch.zeros(()))
    dtype = next((t.dtype for t in states.values() if t.is_floating_point()), torch.float32)
    image = torch.zeros(1, channels, *size, device=first.device, dtype=dtype)
    with untouched(model), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.func.functional_call(model, states, (image,))
        except Exception:
            return False
    return True


def require_plain(model: nn.Module) -> None:
    """Refuses what is no module, and modules that hide the one to trace."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be an `nn.Module`, but is {type(model).__name__}.")
    name = type(model).__name__
    wrapped = isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel)
    if wrapped or name == "FullyShardedDataParallel":
        raise ValueError(
            f"`model` must be the model itself, but is wrapped in {name}. Give its `.module`."
        )
    if hasattr(model, "_orig_mod"):
        raise ValueError(
            f"`model` must be the model itself, but is compiled ({name}). Give its `._orig_mod`."
        )
    for part, module in model.named_modules():
        if getattr(module, "_compiled_call_impl", None) is not None:
            where = f"`{part}`" if part else "it"
            raise ValueError(
                f"`model` must not be compiled yet, but {where} was by `.compile()`, and would go "
                "on as it was then. Do this first, then compile."
            )
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"`model` must be Python, but is {name}, TorchScript. Give the module it was made of."
        )
