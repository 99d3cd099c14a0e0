"""An image for torchvision's transforms that knows where it sits in its original.

A tensor type of our own, for which each functional that moves pixels by an affine map is registered
with that map, and each that changes values with none: nothing is fitted.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from visionpe.data.place import Place, Size
from visionpe.errors import GeometryError


class Placed(tv_tensors.Image):  # type: ignore[misc] # torchvision has no types
    """An image that knows its place; results of unregistered functionals have none."""

    place: Place

    @staticmethod
    def at(image: Tensor, place: Place) -> "Placed":
        """The image as one at a place."""
        placed: Placed = image.as_subclass(Tensor).as_subclass(Placed)
        placed.place = place
        return placed


Rule = Callable[..., Place]  # of the place before, the size after, and the functional's arguments


def _register(functional: Callable[..., Any], rule: Rule) -> None:
    """Lets a functional move the place along with the image."""

    def kernel(image: Placed, *args: Any, **options: Any) -> Placed:
        result = functional(image.as_subclass(tv_tensors.Image), *args, **options)
        place = rule(image.place, tuple(result.shape[-2:]), *args, **options)
        return Placed.at(result, place)

    F.register_kernel(functional, Placed)(kernel)


def _kept(place: Place, view: Size, /, *args: Any, **options: Any) -> Place:
    return place


def _hflip(place: Place, view: Size, /) -> Place:
    return place.warp((1.0, 0.0, 0.0), (0.0, -1.0, view[1]), view)


def _vflip(place: Place, view: Size, /) -> Place:
    return place.warp((-1.0, 0.0, view[0]), (0.0, 1.0, 0.0), view)


def _resize(place: Place, view: Size, /, *args: Any, **options: Any) -> Place:
    return place.resize(view)


def _crop(place: Place, view: Size, /, top: int, left: int, height: int, width: int) -> Place:
    return place.crop(top, left, view)


def _centre_crop(place: Place, view: Size, /, output_size: Sequence[int]) -> Place:
    # An image that is too small is padded by whole pixels first, more at the end.
    top, left = (
        -((new - old) // 2) if new > old else round((old - new) / 2)
        for old, new in zip(place.view, view, strict=True)
    )
    return place.crop(top, left, view)


def _resized_crop(
    place: Place,
    view: Size,
    /,
    top: int,
    left: int,
    height: int,
    width: int,
    *args: Any,
    **options: Any,
) -> Place:
    return place.crop(top, left, (height, width)).resize(view)


def _pad(
    place: Place,
    view: Size,
    /,
    padding: Sequence[int] | int,
    fill: Any = None,
    padding_mode: str = "constant",
) -> Place:
    if padding_mode in ("reflect", "symmetric"):
        raise GeometryError(
            "`transforms` must move pixels by an affine map, but a pad is of mode "
            f"{padding_mode!r}: take 'constant' or 'edge'."
        )
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top = (sides * 2)[:2]
    return place.crop(-top, -left, view)


def _rotate(
    place: Place,
    view: Size,
    /,
    angle: float,
    interpolation: Any = None,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = None,
) -> Place:
    return _about(place, view, center, angle=-angle)


def _affine(
    place: Place,
    view: Size,
    /,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float] | float,
    interpolation: Any = None,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Place:
    # As torchvision reads it: one number is of x alone, one in a list of both.
    shears = [shear, 0.0] if isinstance(shear, int | float) else [*shear, *shear][:2]
    return _about(place, view, center, angle=angle, scale=scale, shear=shears, shift=translate)


def _about(
    place: Place,
    view: Size,
    centre: Sequence[float] | None,
    *,
    angle: float,
    scale: float = 1.0,
    shear: Sequence[float] = (0.0, 0.0),
    shift: Sequence[float] = (0.0, 0.0),
) -> Place:
    """Shears, enlarges and turns clockwise about a centre `(x, y)`, the middle by default."""
    sx, sy = (math.tan(math.radians(each)) for each in shear)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # From the image to the view: x sheared by y, then y by x, then both turned and enlarged.
    xx, xy = scale * (cos + sin * sy), scale * (-cos * sx - sin * (1 + sx * sy))
    yx, yy = scale * (sin - cos * sy), scale * (-sin * sx + cos * (1 + sx * sy))
    determinant = xx * yy - xy * yx
    h, w = place.view
    x, y = (w / 2, h / 2) if centre is None else centre
    # Where the centre is in the view, which may be larger on all sides.
    here_x, here_y = x + (view[1] - w) / 2 + shift[0], y + (view[0] - h) / 2 + shift[1]
    a, b, c, d = (each / determinant for each in (xx, -yx, -xy, yy))  # back, as (y, x)
    rows = (a, b, y - a * here_y - b * here_x), (c, d, x - c * here_y - d * here_x)
    return place.warp(*rows, view)


def _refused(functional: Callable[..., Any]) -> Rule:
    def rule(*args: Any, **options: Any) -> Place:
        raise GeometryError(
            f"`transforms` must move pixels by an affine map, but {functional.__name__} does not: "
            "take it out."
        )

    return rule


_MOVES: dict[Callable[..., Any], Rule] = {
    F.horizontal_flip: _hflip,
    F.vertical_flip: _vflip,
    F.resize: _resize,
    F.crop: _crop,
    F.center_crop: _centre_crop,
    F.resized_crop: _resized_crop,
    F.pad: _pad,
    F.rotate: _rotate,
    F.affine: _affine,
}
_KEEPS = (
    F.adjust_brightness,
    F.adjust_contrast,
    F.adjust_gamma,
    F.adjust_hue,
    F.adjust_saturation,
    F.adjust_sharpness,
    F.autocontrast,
    F.equalize,
    F.erase,
    F.gaussian_blur,
    F.gaussian_noise,
    F.grayscale_to_rgb,
    F.invert,
    F.jpeg,
    F.normalize,
    F.permute_channels,
    F.posterize,
    F.rgb_to_grayscale,
    F.solarize,
    F.to_dtype,
)

for _functional, _rule in _MOVES.items():
    _register(_functional, _rule)
for _functional in _KEEPS:
    _register(_functional, _kept)
for _functional in (F.perspective, F.elastic):
    _register(_functional, _refused(_functional))
