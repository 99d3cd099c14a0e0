"""The maps of any modules of any model, recorded while it runs, and the model left as it was."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visionpe.attaching.refusals import image_channels
from visionpe.probing.errors import FeatureError
from visionpe.probing.layers import Layer, find_layers
from visionpe.tracing.run import trace

Maps = dict[str, Float[Tensor, "b _ _ _"]]
Recorder = Callable[[Tensor], Maps]


@contextmanager
def record(
    model: nn.Module,
    layers: Sequence[str] | Sequence[Layer] | None,
    size: tuple[int, int] | None = None,
    *,
    gradients: bool = False,
) -> Iterator[Recorder]:
    """Inside, a function of images that returns the layers' maps, `b c h w`, float32, by name.

    The model runs in evaluation mode, and no map is kept. Behind it the model is as it was: hooks,
    training flags, what forwards keep on modules, and torch's random numbers.

    Args:
        model: takes images `b c h w`.
        layers: names or globs, None for the stages (both traced: `find_layers`), or `Layer`s.
        size: `(h, w)` of the images; not needed for `Layer`s.
        gradients: keep the graph, so that maps can be differentiated.

    Raises:
        ValueError: as of `find_layers` and `visionpe.trace`; if names come without `size`.

    Calling the function raises a `FeatureError` if a layer is not reached, is of another shape than
    at `size`, or holds NaN or infinity.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU())
    >>> with record(net, ["1"], (8, 12)) as maps_of:
    ...     maps_of(torch.zeros(5, 3, 8, 12))["1"].shape
    torch.Size([5, 8, 2, 3])
    """
    chosen = _chosen(model, layers, size)
    caught: Maps = {}
    with frozen(model):
        hooks = [
            model.get_submodule(layer.name).register_forward_hook(_catch(layer, caught))
            for layer in chosen
        ]
        try:
            yield lambda images: _run(model, images, chosen, caught, gradients)
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; behind it, it is as it was.

    Training flags are set one by one, and what modules hold is put back: some keep tables between
    forwards. Random numbers drawn inside are not drawn outside.
    """
    kept = [(m, dict(vars(m)), _contents(m)) for m in model.modules()]
    with torch.random.fork_rng(devices=devices(model)):
        try:
            for module, _, _ in kept:
                module.training = False
            yield
        finally:
            for module, attributes, contents in kept:
                vars(module).clear()
                vars(module).update(attributes)
                for name, content in contents.items():
                    held = attributes[name]
                    held.clear()
                    held.extend(content) if isinstance(held, list) else held.update(content)


def _contents(module: nn.Module) -> Mapping[str, Any]:
    return {
        name: value.copy()
        for name, value in vars(module).items()
        if isinstance(value, dict | list | set)
    }


def devices(model: nn.Module) -> list[int]:
    """The accelerators that hold its parameters, whose random numbers a run may draw."""
    found = {p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"}
    return sorted(found)


def _chosen(
    model: nn.Module, layers: Sequence[str] | Sequence[Layer] | None, size: tuple[int, int] | None
) -> list[Layer]:
    given = list(layers or [])
    if given and all(isinstance(layer, Layer) for layer in given):
        return [layer for layer in given if isinstance(layer, Layer)]
    if size is None:
        raise ValueError("`size` must be the (h, w) of the images for layers by name, but is None.")
    names = None if layers is None else [str(name) for name in given]
    return find_layers(trace(model, *size, channels=image_channels(model, size)), model, names)


def _catch(layer: Layer, caught: Maps) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        maps = layer.maps(first).float()
        # A copy: the next module may work in place. MPS lacks the float64 that read-outs need.
        caught[layer.name] = maps.cpu() if maps.device.type == "mps" else maps.clone()

    return hook


def _run(
    model: nn.Module, images: Tensor, layers: list[Layer], caught: Maps, gradients: bool
) -> Maps:
    like = next(model.parameters(), images)
    dtype = like.dtype if like.is_floating_point() else images.dtype
    try:
        with torch.set_grad_enabled(gradients):
            model(images.to(like.device, dtype).clone())  # it may work in place
        for layer in layers:
            _require_sound(layer, caught.get(layer.name))
        return dict(caught)
    finally:
        caught.clear()


def _require_sound(layer: Layer, maps: Tensor | None) -> None:
    if maps is None:
        raise FeatureError(
            f"Layer {layer.name!r} must run in each forward, but did not. Its model takes other "
            "ways for other images."
        )
    if maps.shape[1:] != (layer.channels, layer.h, layer.w):
        raise FeatureError(
            f"Layer {layer.name!r} must give maps of {layer.channels} x {layer.h} x {layer.w}, as "
            f"when it was traced, but gives {' x '.join(map(str, maps.shape[1:]))}."
        )
    bad = ~maps.detach().isfinite().flatten(1).all(1)
    if bool(bad.any()):
        raise FeatureError(
            f"Layer {layer.name!r} must give finite features, but those of {int(bad.sum())} of "
            f"{len(bad)} images hold NaN or infinity. Check the weights, and the images' range."
        )
