"""Accuracy and feature drift of a classifier against what is done to its test images.

With frames the encodings are told where each image sits in its original; without, they take what
they are given for the whole image. Drift is 1 - the cosine between the features before the last
layer and those of the image as it was.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from visionpe.attaching.attached import attached_to
from visionpe.attaching.verbs import disabled
from visionpe.frame import Frame
from visionpe.tasks.classification import Classification
from visionpe.tasks.stress_views import FAMILIES, View, views
from visionpe.tracing.errors import TraceError
from visionpe.tracing.run import trace

Batch = tuple[Tensor, Tensor, Frame | None]
_Z = 1.959964  # of a 95 % interval


@final
@dataclass(frozen=True)
class Point:
    """One view of the test images, with or without frames.

    Attributes:
        family, level: of `visionpe.tasks.stress_views.View`.
        frames: whether the encodings were told where the images sit.
        n: images.
        accuracy: share of right answers, with Wilson's 95 % interval `low` to `high`.
        drift: mean of 1 - cosine to the features of the image as it was; 0: unchanged.
        reason: why there are no numbers; empty: there are.
    """

    family: str
    level: float
    frames: bool
    n: int = 0
    accuracy: float = math.nan
    low: float = math.nan
    high: float = math.nan
    drift: float = math.nan
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data; numbers that are missing are None."""
        plain = asdict(self)
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in plain.items()}


@dataclass
class _Count:
    right: int = 0
    n: int = 0
    drift: float = 0.0
    reason: str = ""


def stress(
    task: Classification,
    batches: Iterable[Batch],
    *,
    only: Sequence[str] = FAMILIES,
    images: int | None = None,
    total: int | None = None,
    seed: int = 0,
) -> list[Point]:
    """Scores a classifier on all views of a test set.

    Views that the backbone refuses (a ViT of one size, at another) have a reason for numbers.

    Args:
        task: on its device; it is put into eval mode and back.
        batches: of unaugmented images, normalised as in training, with classes and frames.
        only: these families.
        images: use so many, evenly spaced over `total`; all by default.
        total: how many there are.
        seed: of the shuffles.

    Raises:
        ValueError: if a family is unknown or there are no images.
    """
    unknown = [name for name in only if name not in FAMILIES]
    if unknown:
        raise ValueError(f"`only` must be of {', '.join(FAMILIES)}, but has {unknown[0]!r}.")
    found = views(task.subject.image_size, multiple=_cell(task), only=tuple(only), seed=seed)
    modes = (True, False) if task.takes_frames else (False,)
    counts = {
        (i, frames): _Count()
        for i, view in enumerate(found)
        for frames in modes
        if view.framed or not frames
    }
    training, network = task.training, task.scored
    task.eval()
    try:
        with torch.no_grad(), _Reading(network, task.subject.num_classes) as reading:
            for batch in thinned(batches, images, total):
                _score(task, reading, found, counts, batch)
    finally:
        task.train(training)
    if not any(count.n or count.reason for count in counts.values()):
        raise ValueError("`batches` must hold at least one image, but are empty.")
    return [_point(found[i], frames, count) for (i, frames), count in counts.items()]


def _score(
    task: Classification,
    reading: "_Reading",
    found: list[View],
    counts: dict[tuple[int, bool], _Count],
    batch: Batch,
) -> None:
    device = task.device
    pictures, target = batch[0].to(device), batch[1].to(device)
    h, w = pictures.shape[-2:]
    frame = batch[2]
    if frame is None:
        frame = Frame.stack([Frame.identity(h, w)] * len(pictures))
    frame = frame.to(device)
    modes = {frames for _, frames in counts}
    clean = {frames: reading(task, pictures, frame if frames else None)[1] for frames in modes}
    for (i, frames), count in counts.items():
        if count.reason:
            continue
        view = found[i]
        changed, where = view.change(pictures, frame)
        try:
            logits, features = reading(task, changed, where if frames else None)
        except Exception as error:  # whatever a backbone does at a size that it is not made for
            if changed.shape == pictures.shape or isinstance(error, torch.OutOfMemoryError):
                raise  # no matter of size
            count.reason = " ".join(str(error).split()) or type(error).__name__
            continue
        count.n += len(target)
        count.right += int((logits.argmax(-1) == target).sum())
        cosine = F.cosine_similarity(features.double(), clean[frames].double(), dim=-1)
        count.drift += float((1 - cosine).clamp(min=0).sum())


def _point(view: View, frames: bool, count: _Count) -> Point:
    if count.reason or not count.n:
        return Point(view.family, view.level, frames, reason=count.reason or "no images")
    low, high = wilson(count.right, count.n)
    return Point(
        view.family,
        view.level,
        frames,
        count.n,
        count.right / count.n,
        low,
        high,
        count.drift / count.n,
    )


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % (J. Am. Stat. Assoc. 22, 1927).

    >>> tuple(round(x, 4) for x in wilson(8, 10))
    (0.4902, 0.9433)
    """
    share, z2 = right / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def thinned(batches: Iterable[Batch], keep: int | None, total: int | None) -> Iterator[Batch]:
    """`keep` samples of the batches, evenly spaced over all `total`; of a stream the first ones.

    >>> rows = [(torch.zeros(n, 1, 2, 2), torch.arange(n), None) for n in (4, 2)]
    >>> [batch[1].tolist() for batch in thinned(rows, 3, 6)]
    [[0, 2], [0]]
    """
    seen = 0
    for pictures, target, frame in batches:
        if keep is not None and total is None and seen >= keep:
            return
        index = torch.arange(seen, seen + len(target))
        seen += len(target)
        if keep is None:
            chosen: Bool[Tensor, " b"] = torch.ones(len(target), dtype=torch.bool)
        elif total is None or keep >= total:
            chosen = index < keep
        else:
            slots: Int64[Tensor, " b"] = index * keep // total
            chosen = slots != (index - 1) * keep // total
        if not bool(chosen.any()):
            continue
        rows = chosen.nonzero().flatten()
        part = None if frame is None else Frame(*(each[rows] for each in frame))
        yield pictures[rows], target[rows], part


class _Reading:
    """Logits, and the features that the last layer makes them of."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        heads = [
            module
            for module in network.modules()
            if isinstance(module, nn.Linear) and module.out_features == classes
        ]
        self.head = heads[-1] if heads else None
        self.features: Tensor | None = None
        self.handle: Any = None

    def __enter__(self) -> "_Reading":
        if self.head is not None:
            self.handle = self.head.register_forward_pre_hook(self._keep)
        return self

    def __exit__(self, *args: object) -> None:
        if self.handle is not None:
            self.handle.remove()

    def __call__(
        self, task: Classification, pictures: Tensor, frame: Frame | None
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d"]]:
        """A forward of the task's scored weights."""
        self.features = None
        logits: Tensor = task(pictures, frame)
        features = logits if self.features is None else self.features
        return logits, features.flatten(1)

    def _keep(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.features = args[0]


def _cell(task: Classification) -> int:
    """Pixels that sizes should be multiples of: the spacing of the first attention's tokens."""
    network = task.scored
    with disabled(network) if attached_to(network) else nullcontext():
        try:
            found = trace(network, *task.subject.image_size, channels=task.subject.channels)
        except (TraceError, ValueError, RuntimeError):
            return 1
    spacings = [site.lattice.spacing for site in found.attention if site.lattice]
    return max(1, round(max(spacings[0]))) if spacings else 1
