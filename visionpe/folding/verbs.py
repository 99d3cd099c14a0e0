"""Folding a model's places into constants, in place, and unfolding them again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from visionpe.attaching.folded import folded_of, require_unfolded
from visionpe.attaching.refusals import image_channels, image_size, require_memory
from visionpe.folding.behind import norms_behind
from visionpe.folding.convs import FoldedTerm
from visionpe.folding.errors import FoldError
from visionpe.folding.guard import Guard, Stand
from visionpe.folding.listening import Listener, listening
from visionpe.folding.report import Folding, Line
from visionpe.tracing.refusals import require_plain

Model = TypeVar("Model", bound=nn.Module)


def fold(model: nn.Module, size: tuple[int, int] | None = None) -> Folding:
    """Makes constants of all that a model's encodings do by place alone, for one size of images.

    In place, for deployment; `unfold` undoes it. Constant are: coordinate terms of convolutions
    (one map), what is added to maps and tokens, biases of attention, turns of queries and keys.
    What looks at the content stays as it is and is listed. Reaches what is attached, and
    visionpe's own encodings wherever they are parts of a model. See `docs/fold.md`.

    The model runs three or four times on a random image, in evaluation mode; a model that does not
    compute the same with its constants is left as it was.

    Args:
        model: has encodings; takes a batch of images `b c h w`.
        size: `(h, w)` of the images in pixels; by default timm's, from the model's configuration.

    Returns:
        What was folded, and what was not.

    Raises:
        TypeError: if `size` is no size.
        ValueError: if there is nothing to fold, the model does not take images of this size, or it
            is folded, wrapped, compiled, scripted or on the meta device.
        FoldError: if the model would not compute the same.

    >>> import visionpe
    >>> net = nn.Sequential(visionpe.CoordConv2d(3, 8, 3, zero_init=False), nn.ReLU())
    >>> fold(net, (5, 7))
    <Sequential folded for 5 x 7: 1 folded, 0 not>
    >>> _ = unfold(net)
    """
    require_plain(model)
    require_memory(model)
    require_unfolded(model)
    size = image_size(model, size)
    with _evaluating(model):
        images = _images(model, size)
        try:
            wanted = model(images)
        except Exception as error:
            raise ValueError(
                f"`size` must be that of images that {type(model).__name__} takes, but with "
                f"{size[0]} x {size[1]} pixels it fails: {' '.join(str(error).split())}"
            ) from error
        with listening(model) as listeners:
            model(images)
        if not listeners:
            raise ValueError(
                f"`model` must have encodings to fold, but {type(model).__name__} has none. "
                "Attach one: visionpe.attach."
            )
        baked = [one for one in listeners if one.calls and one.why is None]
        if not baked:
            raise ValueError(
                f"`model` must have encodings that can be folded, but of {type(model).__name__} "
                f"none can: {'; '.join(sorted({_why(one) for one in listeners}))}."
            )
        for one in baked:
            one.stand.put(one.constants)
        guard = Guard(model, size, [one.stand for one in baked])
        try:
            _put_behind(model, images, guard)
            difference, allowed = _difference(model(images), wanted)
        except BaseException:
            guard.close()
            raise
        if not difference <= allowed:
            guard.close()
            raise FoldError(
                f"{type(model).__name__} would not compute the same: with constants an output "
                f"differs by {difference:.1e} of the largest, more than {allowed:.0e}. It was left "
                "as it was."
            )
    return _report(model, size, listeners, difference)


def unfold(model: Model) -> Model:
    """Takes the constants of `fold` out: the model is as it was, to the bit.

    Raises:
        ValueError: if it is not folded.

    >>> unfold(nn.ReLU())
    Traceback (most recent call last):
    ValueError: `model` must be folded, but ReLU is not.
    """
    guard = folded_of(model)
    if not isinstance(guard, Guard):
        raise ValueError(f"`model` must be folded, but {type(model).__name__} is not.")
    guard.close()
    return model


def _put_behind(model: nn.Module, images: Tensor, guard: Guard) -> None:
    """Has the normalisations behind convolutions add their maps."""
    terms = {
        stand.encoding: constants
        for stand in guard.stands
        if isinstance(constants := stand.encoding.get_submodule(stand.child), FoldedTerm)
    }
    if terms:
        for constants, behind in norms_behind(model, lambda: model(images), terms):
            stand = Stand(behind.norm[0], "forward")
            stand.put(behind)
            guard.norms.append(stand)
            constants.behind = (behind,)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, all modules are in evaluation mode, and random numbers are the same each time."""
    training = [(module, module.training) for module in model.modules()]
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.eval()
        try:
            yield
        finally:
            for module, mode in training:
                module.training = mode


def _images(model: nn.Module, size: tuple[int, int]) -> Tensor:
    """One image."""
    tensors = [*model.parameters(), *model.buffers()]
    like = next((t for t in tensors if t.is_floating_point()), torch.zeros(()))
    return torch.randn(1, image_channels(model, size), *size).to(like.device, like.dtype)


def _difference(given: Any, wanted: Any) -> tuple[float, float]:
    """The largest difference of two outputs, relative to the largest number; and that allowed."""
    worst, allowed = 0.0, 0.0
    for a, b in zip(tree_leaves(given), tree_leaves(wanted), strict=True):
        if isinstance(b, Tensor) and b.is_floating_point() and b.numel():
            largest = b.abs().max().clamp(min=torch.finfo(b.dtype).tiny)
            worst = max(worst, float((a - b).abs().max() / largest))
            allowed = max(allowed, {2: 2e-2, 4: 1e-5, 8: 1e-12}.get(b.element_size(), 1e-1))
    return worst, allowed


def _report(
    model: nn.Module, size: tuple[int, int], listeners: list[Listener], difference: float
) -> Folding:
    lines = [
        Line(
            one.module,
            one.constants.encoding,
            one.constants.what,
            one.constants.numbers(),
            _why(one),
        )
        for one in listeners
    ]
    ran = {one.module for one in listeners if one.calls}
    kept = [
        line
        for line, one in zip(lines, listeners, strict=True)
        if line.why and (one.calls or one.module not in ran)
    ]
    baked = [line for line in lines if not line.why]
    return Folding(type(model).__name__, size, baked, kept, difference)


def _why(one: Listener) -> str:
    return (one.why or "") if one.calls else "it does not run"
