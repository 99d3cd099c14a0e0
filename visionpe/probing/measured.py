"""Scores of single images and sums of predicted maps, as they come in batch by batch."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Column(NamedTuple):
    """What a read-out predicts: a target as it is, or one of its nulls.

    Attributes:
        target: its name.
        null: None, "shuffled" or "control task".
        split: the split that it is for; None: all.
    """

    target: str
    null: str | None
    split: int | None


class Scores(NamedTuple):
    """Scores of images, for one layer, column and split.

    Attributes:
        spearman, mae, r2: of each image.
        groups: the number of its group.
    """

    spearman: Float[Tensor, " n"]
    mae: Float[Tensor, " n"]
    r2: Float[Tensor, " n"]
    groups: Int[Tensor, " n"]


Key = tuple[str, Column, int]  # layer, column, split


class Measured:
    """What was measured under one condition.

    Attributes:
        scores: of every tested image.
        sums, counts: of predicted maps, by layer and column.
        truths: by layer and target.
    """

    def __init__(self) -> None:
        self.parts: dict[Key, list[Scores]] = {}
        self.sums: dict[tuple[str, str, str | None], Tensor] = {}
        self.counts: dict[tuple[str, str, str | None], int] = {}
        self.truths: dict[tuple[str, str], Tensor] = {}

    @property
    def scores(self) -> dict[Key, Scores]:
        """Of each layer, column and split, in the order of testing."""
        return {
            key: Scores(*(torch.cat(part) for part in zip(*parts, strict=True)))
            for key, parts in self.parts.items()
        }

    def add(
        self,
        layer: str,
        column: Column,
        split: int,
        predicted: Float[Tensor, "m i j"],
        scores: Scores,
    ) -> None:
        """Takes in the predictions for some images."""
        self.parts.setdefault((layer, column, split), []).append(scores)
        key = (layer, column.target, column.null)
        total = predicted.double().sum(0).cpu()
        self.sums[key] = self.sums[key] + total if key in self.sums else total
        self.counts[key] = self.counts.get(key, 0) + len(predicted)
