"""Taking sources of position out of a model, in place, and putting them back."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeVar, get_args

from torch import nn

from visionpe.attaching.attached import CHILD, attached_to
from visionpe.attaching.folded import require_unfolded
from visionpe.attaching.refusals import image_size, require_memory
from visionpe.inspecting.run import inspect
from visionpe.inspecting.sources import Kind, Source
from visionpe.removing.errors import RemoveError
from visionpe.removing.seeing import sees
from visionpe.removing.silent import Removed, removed_of, set_removed
from visionpe.removing.ways import removals
from visionpe.tracing.refusals import require_plain

Model = TypeVar("Model", bound=nn.Module)
_KINDS = [kind for kind in get_args(Kind) if kind != "padding"]
_ALIASES = {"learned": "absolute"}


def remove(
    model: Model, kind: str | Sequence[str], *, size: tuple[int, int] | None = None
) -> Model:
    """Takes out what tells a model where things are, in place; tokens, weights and keys stay.

    Parameters without a say are frozen, and keep their values and their place in `state_dict`:
    checkpoints load before or after. `restore` puts all back, to the bit. See `docs/remove.md`.

    Args:
        model: has it. What is attached to the model is left alone: that is for `detach`.
        kind: as `visionpe.inspect` names it: "absolute" (or "learned"), "sinusoidal", "relative",
            "relative_mlp", "decomposed", "rotary" or "convolution"; several; or "all".
        size: `(h, w)` of images in pixels, for convolutions only: without them the model is run, to
            see whether it still looks at its images. By default timm's, from its configuration.

    Returns:
        The model.

    Raises:
        TypeError: if `size` is no size.
        ValueError: if the model has nothing of the kind, is wrapped, compiled, scripted, folded or
            on the meta device, or needs a `size`.
        RemoveError: if it has, and cannot do without.

    >>> import torch, visionpe
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.pos_embed = nn.Parameter(torch.ones(1, 4, 2))
    ...     def forward(self, x):
    ...         return x + self.pos_embed
    >>> net = remove(Net(), "learned")
    >>> net(torch.zeros(1, 4, 2)).any(), net.state_dict()["pos_embed"].all()
    (tensor(False), tensor(True))
    """
    require_plain(model)
    require_memory(model)
    require_unfolded(model)
    sources = [s for s in inspect(model).encodings if not _attached(model, s)]
    chosen = _chosen(model, sources, kind)
    found = [(model.get_submodule(s.module), s) for s in chosen]
    removed: dict[nn.Module, list[Removed]] = {}
    for module, source in found:
        removed.setdefault(module, []).extend(removals(source, module))
    paths = [source.module for source in chosen if source.kind == "convolution"]
    size = image_size(model, size) if paths else None
    saw = size is not None and sees(model, size)
    for module, more in removed.items():
        set_removed(module, (*removed_of(module), *more))
        _learn(module, more, learn=False)
        _forget(module)
    if size is not None and saw and not _still_sees(model, size):
        for module, more in removed.items():
            _put_back(module, more)
        raise RemoveError(
            f"`{', '.join(paths)}` cannot be removed: without, {type(model).__name__} no longer "
            "sees its images, since nothing stands beside. Set the padding instead, where the "
            f"position comes from: visionpe.set_padding(model, 'circular', at={paths!r})."
        )
    return model


def restore(model: Model, kind: str | None = None) -> Model:
    """Puts back what `remove` took out: the model computes what it did, to the bit.

    Args:
        model: from which something was removed.
        kind: what to put back; by default everything.

    Raises:
        ValueError: if nothing was removed, or nothing of the kind.
    """
    every = {module: removed_of(module) for module in model.modules() if removed_of(module)}
    kinds = list(dict.fromkeys(each.kind for removed in every.values() for each in removed))
    wanted = kinds if kind in (None, "all") else [_ALIASES.get(str(kind), kind)]
    if not kinds or not set(wanted) <= set(kinds):
        what = f"{', '.join(map(repr, kinds))} was" if kinds else "nothing was"
        raise ValueError(
            f"`kind` must be something that was removed, but from this {type(model).__name__} "
            f"{what}" + (f", not {kind!r}." if kind is not None else ".")
        )
    for module, removed in every.items():
        _put_back(module, [each for each in removed if each.kind in wanted])
    return model


def _attached(model: nn.Module, source: Source) -> bool:
    return attached_to(model) is not None and source.module.partition(".")[0] == CHILD


def _chosen(model: nn.Module, sources: list[Source], kind: str | Sequence[str]) -> list[Source]:
    """The sources of the kinds that are asked for."""
    has = list(dict.fromkeys(source.kind for source in sources))
    name = type(model).__name__
    gone = list(dict.fromkeys(e.kind for m in model.modules() for e in removed_of(m)))
    there = f"{name} has {', '.join(map(repr, has)) or 'none'}"
    there += f", and {', '.join(map(repr, gone))} was removed" if gone else ""
    asked = [kind] if isinstance(kind, str) else list(kind)
    if asked == ["all"]:
        if not sources:
            raise ValueError(f"`model` must have a source of position to remove, but {there}.")
        return sources
    if not asked:
        raise ValueError(f"`kind` must name what to remove, but is empty: {there}.")
    for each in asked:
        if each == "padding":
            raise ValueError(
                "`kind` must be an encoding, but is 'padding': call visionpe.set_padding(model, "
                "'none')."
            )
        if each not in (*_KINDS, *_ALIASES):
            near = get_close_matches(str(each), [*_KINDS, *_ALIASES], 1, 0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            options = ", ".join(map(repr, [*_ALIASES, *_KINDS, "all"]))
            raise ValueError(f"`kind` must be one of {options}, but is {each!r}.{hint}")
        if _ALIASES.get(each, each) not in has:
            raise ValueError(f"`kind` must be what the model has, but is {each!r}: {there}.")
    wanted = {_ALIASES.get(each, each) for each in asked}
    return [source for source in sources if source.kind in wanted]


def _still_sees(model: nn.Module, size: tuple[int, int]) -> bool:
    try:
        return sees(model, size)
    except ValueError:  # it ran before
        return False


def _put_back(module: nn.Module, back: Sequence[Removed]) -> None:
    set_removed(module, tuple(each for each in removed_of(module) if each not in back))
    _learn(module, back, learn=True)
    _forget(module)


def _learn(module: nn.Module, removed: Sequence[Removed], *, learn: bool) -> None:
    parameters = dict(module.named_parameters())
    for each in removed:
        for name in each.learned:
            parameters[name].requires_grad_(learn)


def _forget(module: nn.Module) -> None:
    """Modules that keep what they made of a table forget it when they begin to train (LeViT)."""
    modes = [(part, part.training) for part in module.modules()]
    module.train()
    for part, mode in modes:
        part.training = mode
