"""The images of a probe: read batch by batch, several times, and the same each time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visionpe.probing.dead_leaves import dead_leaves
from visionpe.probing.errors import ProbeError

GENERATED = 64  # images, if none are given


@final
class Images:
    """Batches `b c h w` that can be read repeatedly; no batch is kept.

    Args:
        source: a tensor `b c h w`, or an iterable of batches (a list, a `DataLoader`): tensors, or
            tuples, lists and dicts whose first value is one.
        batch_size: of a tensor of images; other sources have their own.
        origin: where they come from, in words.
        groups: a number for each image, alike for images that tell of one another, such as crops
            of one photograph; None: each image is alone.

    Raises:
        TypeError: if `source` is nothing of the kind.
        ValueError: if it can be read only once, or a tensor is not `b c h w` of floats.

    >>> [len(batch) for batch in Images(torch.zeros(5, 3, 4, 6), batch_size=2)]
    [2, 2, 1]
    """

    def __init__(
        self,
        source: Tensor | Iterable[Any],
        *,
        batch_size: int = 16,
        origin: str | None = None,
        groups: Int[Tensor, " n"] | Sequence[int] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}.")
        if isinstance(source, Tensor):
            _require_images(source)
        elif not isinstance(source, Iterable) or isinstance(source, str | bytes | dict):
            raise TypeError(
                "`images` must be a tensor `b c h w` or an iterable of such batches, but is "
                f"{type(source).__name__}."
            )
        elif isinstance(source, Iterator):
            raise ValueError(
                "`images` must be readable several times, but is an iterator, "
                f"{type(source).__name__}, which ends after one. Give a list or a DataLoader."
            )
        self.source = source
        self.batch_size = batch_size
        self.origin = origin or f"given, {type(source).__name__}"
        self.groups = None if groups is None else torch.as_tensor(groups, dtype=torch.int64).cpu()

    def __iter__(self) -> Iterator[Float[Tensor, "b c h w"]]:
        """The batches.

        Raises:
            ProbeError: if one cannot be read.
            ValueError: if one is no batch of images.
        """
        if isinstance(self.source, Tensor):
            yield from self.source.split(self.batch_size)
            return
        number = 0
        # Loaders draw a seed from the global generator each time they start.
        state = torch.random.get_rng_state()
        try:
            for item in self.source:
                batch = _first(item)
                _require_images(batch)
                yield batch
                number += 1
        except (OSError, RuntimeError, KeyError, IndexError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise ProbeError(f"Batch {number} of `images` cannot be read: {said}") from error
        finally:
            torch.random.set_rng_state(state)

    def first(self, n: int) -> Float[Tensor, "b c h w"]:
        """The first `n` images, or all if there are fewer."""
        kept: list[Tensor] = []
        for batch in self:
            kept.append(batch[: n - sum(map(len, kept))])
            if sum(map(len, kept)) >= n:
                break
        return torch.cat(kept)


def generated(
    h: int, w: int, *, channels: int = 3, n: int = GENERATED, batch_size: int = 16
) -> Images:
    """Periodic dead leaves, with the mean 0 and variance 1 that models are used to.

    >>> generated(4, 6, n=2).origin
    'generated: 2 dead-leaves images'
    """
    images = (
        dead_leaves(n, h, w, channels=channels, periodic=True) - 0.5
    ) * 12**0.5  # colours are uniform in [0, 1]
    return Images(images, batch_size=batch_size, origin=f"generated: {n} dead-leaves images")


@final
@dataclass(frozen=True)
class Survey:
    """What one reading of the images tells.

    Attributes:
        n: how many images.
        channels, h, w: of each.
        low, high: the smallest and largest value of each channel: black and white.
        batches: how many batches.
        groups: the number of each image's group.
        prints: one number an image, to see whether the next reading gives the same.
    """

    n: int
    channels: int
    h: int
    w: int
    low: Float[Tensor, " c"]
    high: Float[Tensor, " c"]
    batches: int
    groups: Int[Tensor, " n"]
    prints: Float[Tensor, " n"]

    def again(self, images: Images) -> Iterator[tuple[int, Float[Tensor, "b c h w"]]]:
        """The number of its first image and the batch, for each batch of the same images.

        Raises:
            ProbeError: if they are not those of the survey, or fewer or more.
        """
        first = 0
        for batch in images:
            self._require_same(first, batch)
            yield first, batch
            first += len(batch)
        if first < self.n:
            raise ProbeError(
                f"`images` must be the same in each reading, but this one ends after {first} of "
                f"{self.n} images."
            )

    def _require_same(self, first: int, batch: Float[Tensor, "b c h w"]) -> None:
        here = _prints(batch)
        known = self.prints[first : first + len(here)]
        if len(known) == len(here) and torch.equal(known, here):
            return
        differs = [i for i, (a, b) in enumerate(zip(known, here, strict=False)) if a != b]
        number = first + (differs[0] if differs else len(known))
        raise ProbeError(
            f"`images` must be the same in each reading, but image {number} differs from the first "
            "reading's. Turn off shuffling and random augmentation."
        )


def survey(images: Images) -> Survey:
    """Reads all images once: how many, how large, between which values.

    Raises:
        ValueError: if there are none, their sizes differ, one holds NaN or infinity, or there is
            not one group for each.

    >>> survey(Images(torch.arange(48.0).reshape(2, 3, 4, 2))).high.tolist()
    [31.0, 39.0, 47.0]
    """
    shape: tuple[int, ...] | None = None
    low = high = torch.empty(0)
    prints: list[Tensor] = []
    n = 0
    for batch in images:
        if shape is None:
            shape = tuple(batch.shape[1:])
            low, high = (
                batch.new_full((shape[0],), torch.inf),
                batch.new_full((shape[0],), -torch.inf),
            )
        if tuple(batch.shape[1:]) != shape:
            raise ValueError(
                f"`images` must be of one size, but image {n} is {_by(batch.shape[1:])} and the "
                f"first {_by(shape)}. Resize or crop them."
            )
        bad = ~batch.isfinite().flatten(1).all(1)
        if bool(bad.any()):
            raise ValueError(
                f"`images` must be finite, but image {n + int(bad.nonzero()[0])} holds NaN or "
                "infinity."
            )
        low = torch.minimum(low, batch.amin((0, 2, 3)))
        high = torch.maximum(high, batch.amax((0, 2, 3)))
        prints.append(_prints(batch))
        n += len(batch)
    if shape is None or not n:
        raise ValueError("`images` must hold images, but has none.")
    groups = torch.arange(n) if images.groups is None else images.groups
    if tuple(groups.shape) != (n,):
        raise ValueError(
            f"`groups` must hold a number for each of the {n} images, but holds "
            f"{_by(groups.shape) or 'one number'}."
        )
    c, h, w = shape
    black, white = low.float().cpu(), high.float().cpu()
    return Survey(n, c, h, w, black, white, len(prints), groups, torch.cat(prints))


def _prints(batch: Tensor) -> Float[Tensor, " b"]:
    """One number an image, which depends on each value and on its place."""
    values = batch.double().flatten(1).cpu()
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(values.shape[1], generator=generator, dtype=torch.float64)
    return (values * weights).sum(1)  # no product of matrices: its rounding depends on the batch


def _first(item: Any) -> Any:
    if isinstance(item, dict):
        return next(iter(item.values()), None)
    if isinstance(item, tuple | list) and item:
        return item[0]
    return item


def _require_images(batch: Any) -> None:
    if not isinstance(batch, Tensor):
        raise TypeError(
            f"`images` must hold tensors `b c h w`, but has {type(batch).__name__}. Give batches "
            "of tensors, or tuples and dicts that begin with one."
        )
    if batch.dim() != 4:
        raise ValueError(
            f"`images` must be batches `b c h w`, but has {batch.dim()} dimensions: "
            f"{_by(batch.shape) or 'a number'}."
        )
    if not batch.is_floating_point():
        raise ValueError(
            f"`images` must be floats, normalised as the model expects, but are {batch.dtype}. "
            "Give `images / 255`, or with the mean and deviation of the model's training."
        )


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
