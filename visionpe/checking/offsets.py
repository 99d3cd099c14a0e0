"""A part of an image keeps the code that it has in the whole."""

from collections.abc import Iterator

import torch
from torch import Tensor

from visionpe.checking.result import Verdict, failed, ok, skipped
from visionpe.checking.subject import Subject, distance, flat, reason, run
from visionpe.encodings.base import PointEncoding
from visionpe.frame import Frame
from visionpe.places import Places

_CLOSE = 1e-5


def offsets(subject: Subject) -> Verdict:
    """A crop, or a sequence that starts later, has the code of its own place."""
    if subject.layout == "attention":
        return _places(subject)
    if subject.takes_frame and subject.layout == "bchw":
        return _frames(subject)
    if subject.offset is None:
        return skipped("takes no frame, and no `offset` was given")
    return _shift(subject)


def _frames(subject: Subject) -> Verdict:
    """A view, however it was cut and turned, has the code of its pixels in the image."""
    module = subject.fresh()
    h, w = subject.base
    top, left = h // 2, w // 2
    (x,) = subject.args()
    image = Frame.identity(h, w)
    whole = run(module, (x,), frame=image)
    gap = distance(whole, run(module, (x,)))
    if gap > _CLOSE:
        return failed("the frame of the whole image is not the same as no frame", difference=gap)
    part = x[..., top:, left:]
    frame = image.crop(top, left, h=h - top, w=w - left)
    try:
        cropped = run(module, (part,), frame=frame)
    except ValueError as error:
        if subject.sizes is None:
            raise
        return skipped(f"refuses a crop: {reason(error)}")
    change = distance(cropped, run(module, (part,)))
    if not isinstance(module, PointEncoding):
        if change == 0:
            return skipped("nothing in the result depends on the frame")
        return skipped(
            "the frame reaches the result, but what a crop should give is known of a "
            "`PointEncoding` alone: other cells may see their neighbours",
            change=change,
        )
    gap = distance(cropped, [out[..., top:, left:] for out in whole])
    if gap > _CLOSE:
        return failed("a pixel of a crop has another code than in the image", difference=gap)
    for says, gap in _views(module, x, whole, (top, left)):
        if gap > _CLOSE:
            return failed(says, difference=gap)
    return ok("a view's code is the image's, cut and turned", difference=gap, change=change)


def _views(
    module: PointEncoding, x: Tensor, whole: list[Tensor], corner: tuple[int, int]
) -> Iterator[tuple[str, float]]:
    """What would be wrong with other views than a crop of one pixel a cell, and by how much.

    Args:
        whole: the code of the map `x` as the whole image.
        corner: the first row and column of a crop.
    """
    (h, w), (top, left) = x.shape[-2:], corner
    fine, image = Frame.identity(4 * h, 4 * w), Frame.identity(h, w)
    part, wanted = x[..., top:, left:], [out[..., top:, left:] for out in whole]
    frame = fine.crop(4 * top, 4 * left, h=4 * (h - top), w=4 * (w - left))
    gap = distance(run(module, (part,), frame=frame), wanted)
    yield "with 4 pixels a cell, a pixel of a crop has another code than in the image", gap
    flips = ((-1, "left to right", image.hflip()), (-2, "top to bottom", image.vflip()))
    for axis, how, mirrored in flips:
        turned = run(module, (x.flip(axis),), frame=mirrored)
        gap = distance(turned, [out.flip(axis) for out in whole])
        yield f"a view mirrored {how} does not have the image's code, mirrored", gap
    first = image.crop(0, 0, h=h - top, w=w - left)
    second = image.crop(top, left, h=h - top, w=w - left)
    batch = run(module, (part[:2],), frame=Frame.stack([first, second]))
    for index, own in enumerate((first, second)):
        alone = run(module, (part[index : index + 1],), frame=own)
        gap = distance([out[index : index + 1] for out in batch], alone)
        yield f"in a batch of two frames, sample {index} has another code than alone", gap
    # float64: places must lose nothing that the map's coordinates do not.
    places = Places.of(h - top, w - left, frame, dtype=torch.float64)
    with torch.no_grad():
        tokens = flat(module.tokens(part.flatten(2).mT, places))
    gap = distance(tokens, [out.flatten(2).mT for out in wanted])
    yield "`tokens` gives another code at a map's places than the map has", gap


def _places(subject: Subject) -> Verdict:
    """Any list of places gives what the lattice gives, in any order of tokens."""
    module = subject.fresh()
    h, w = subject.base
    (x,) = subject.args()
    lattice = run(module, (x,))
    places = Places.of(h, w)
    listed = run(module, (x,), places=Places.at(places.positions, places.extent))
    gap = distance(listed, lattice)
    if gap > _CLOSE:
        return failed("places listed one by one give another result than a lattice", difference=gap)
    order = torch.randperm(h * w)
    mixed = x.flatten(2)[..., order].reshape(x.shape)
    shuffled = run(module, (mixed,), places=Places.at(places.positions[order], places.extent))
    gap = distance(shuffled, [out[:, :, order] for out in lattice])
    if gap > _CLOSE:
        return failed("the order of the tokens matters, not their places", difference=gap)
    moved = Places.at(places.positions + torch.tensor([0.0, 1.0]), places.extent)
    change = distance(run(module, (x,), places=moved), lattice)
    return ok("the result depends on places, not on the order of tokens", change_by_a_shift=change)


def _shift(subject: Subject) -> Verdict:
    """The later part of a longer input is the shorter input at an offset."""
    assert subject.offset is not None
    module = subject.fresh()
    h, w = subject.base
    maps = subject.layout in ("bchw", "bhwc")
    top, left = (2, 3) if maps else (0, 3)
    size = (h + top, w + left) if maps else (1, h * w + left)
    args = subject.args(size)
    whole = run(subject.fresh(), args)
    part = tuple(_later(subject, arg, top, left) for arg in args)
    run(module, part)  # a cache that forgets the offset would now hold the wrong code
    got = run(module, part, **subject.offset(top, left))
    gap = distance(got, [_later(subject, out, top, left) for out in whole])
    figures = {"y": top, "x": left, "difference": gap}
    if gap > _CLOSE:
        return failed("at an offset, the code is not that of the longer input there", **figures)
    return ok("at an offset, the code is that of the longer input there", **figures)


def _later(subject: Subject, x: Tensor, top: int, left: int) -> Tensor:
    match subject.layout:
        case "bchw":
            return x[..., top:, left:]
        case "bhwc":
            return x[:, top:, left:]
        case _:
            return x[..., left:, :]
