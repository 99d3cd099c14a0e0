"""Loaders whose order survives a stop in mid-epoch.

The order of an epoch is a pure function of `(seed, epoch)`, and the place in it is part of a
checkpoint: Lightning saves and restores every loader that has `state_dict` and `load_state_dict`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class EpochSampler:
    """Holds the epoch of a loader: `Trainer` calls `set_epoch` on `loader.sampler` alone."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the batches to come.

        Args:
            epoch: counted from 0.
        """
        self.epoch = epoch


class Order(NamedTuple):
    """What makes a batch: the rows of the data in it, and the numbers that its randomness is of.

    Attributes:
        epoch: counted from 0.
        number: of the batch in its epoch, over all processes.
        rows: the samples, in order.
    """

    epoch: int
    number: int
    rows: Tensor


class ResumableLoader(ABC):
    """Knows how many batches of an epoch it yielded, and goes on behind them in a resumed run."""

    def __init__(self) -> None:
        self.sampler = EpochSampler()
        self.batch_sampler = None  # Lightning asks whatever has a `sampler` for this one too
        self._at = (0, 0)  # epoch, batches yielded in it
        self._resume: tuple[int, int] | None = None

    @abstractmethod
    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of an epoch, without the first `start`."""

    def __iter__(self) -> Iterator[Any]:
        # A generator: its body waits for the first batch, when the epoch has been set.
        epoch, start = self.sampler.epoch, 0
        if self._resume is not None and self._resume[0] == epoch:
            start = self._resume[1]
        self._resume = None
        self._at = (epoch, start)
        for index, batch in enumerate(self.batches(epoch, start), start + 1):
            self._at = (epoch, index)  # before the yield: a trainer may never come back
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The place in the data: the epoch, and how many of its batches were yielded."""
        epoch, batches = self._resume or self._at
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on behind the batches of `state`, once; later epochs start at their first batch."""
        self._resume = (state["epoch"], state["batches"])
        self.sampler.set_epoch(state["epoch"])


class EpochLoader(ResumableLoader):
    """Yields the batches of `n` samples, in an order that a stop does not change.

    When several processes train together, each yields its share, and as many batches as the others.

    Args:
        n: samples of an epoch.
        batch_size: samples a batch (and process), at least 1.
        shuffle: a new order each epoch; otherwise the order of the data.
        seed: with the epoch's number, decides the order. Not used without `shuffle`.
        drop_last: leave out the last batch if it is smaller than the others.
        fill: give each process as many samples, the order filled up from its start, as
            `DistributedSampler` does; otherwise each sample comes once, for metrics that are
            exact, and some batches are smaller by one. (Where a process would be left with fewer
            samples than batches, the order is filled up all the same.)

    Raises:
        ValueError: if `batch_size` is below 1 or `drop_last` would leave no batch at all.
    """

    def __init__(
        self,
        n: int,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        fill: bool = True,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}.")
        if drop_last and batch_size > n:
            raise ValueError(
                f"`batch_size` must be at most the {n} samples there are when `drop_last` "
                f"is set, but is {batch_size}; no batch would be left."
            )
        self.n = n
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.fill = fill

    @abstractmethod
    def load(self, orders: list[Order]) -> Iterator[Any]:
        """The batches of `orders`, one after the other."""

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of an epoch, without the first `start`."""
        return self.load(self.orders(epoch)[start:])

    def __len__(self) -> int:
        samples = -(-self.n // processes()[1])
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def orders(self, epoch: int) -> list[Order]:
        """This process's batches of an epoch."""
        n = self.n
        if self.shuffle:
            # A digest of the pair: `seed + epoch` would give seed 1 the orders of seed 0, one late.
            generator = torch.Generator().manual_seed(stable_seed(self.seed, epoch))
            order = torch.randperm(n, generator=generator)
        else:
            order = torch.arange(n)
        rank, world = processes()
        count = len(self)
        if world > 1 and not self.fill and n >= world * count:
            parts = order[rank::world].tensor_split(count)
        else:
            if world > 1:
                total = -(-n // world) * world
                order = order.repeat(-(-total // n))[rank:total:world]
            parts = order.split(self.batch_size)[:count]
        return [Order(epoch, i * world + rank, rows) for i, rows in enumerate(parts)]


class TensorLoader(EpochLoader):
    """Yields tuples of batches, taken from the tensors by one indexing each.

    No worker processes and no per-sample collate: for data that fit in memory, as toy sets do.

    Args:
        tensors: any number of them, with one length along their first axis.
        batch_size: samples a batch (and process), at least 1.
        shuffle: a new order each epoch; otherwise the order of the tensors.
        seed: with the epoch's number, decides the order. Not used without `shuffle`.
        drop_last: leave out the last batch if it is smaller than the others.

    Raises:
        ValueError: if there is no tensor, lengths differ or `batch_size` is below 1, or if
            `drop_last` would leave no batch at all.

    >>> loader = TensorLoader(torch.arange(5), torch.arange(5) * 10, batch_size=2)
    >>> [batch[1].tolist() for batch in loader]
    [[0, 10], [20, 30], [40]]
    """

    def __init__(
        self,
        *tensors: Tensor,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if not tensors or any(tensor.dim() == 0 for tensor in tensors):
            raise ValueError(
                "`tensors` must be at least one tensor with a first axis of samples, but are "
                f"{[tuple(tensor.shape) for tensor in tensors]}."
            )
        lengths = [len(tensor) for tensor in tensors]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"`tensors` must have one length along their first axis, but have {lengths}."
            )
        super().__init__(
            lengths[0], batch_size=batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last
        )
        self.tensors = tensors

    def load(self, orders: list[Order]) -> Iterator[tuple[Tensor, ...]]:
        """One indexing for each tensor."""
        for order in orders:
            yield tuple(tensor[order.rows.to(tensor.device)] for tensor in self.tensors)


def stable_seed(*numbers: int) -> int:
    """A 63-bit seed that is the same on every machine, and another one for any other numbers."""
    return int.from_bytes(sha256(repr(numbers).encode()).digest()[:8], "big") >> 1


def processes() -> tuple[int, int]:
    """This process's rank and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
