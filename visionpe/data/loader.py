"""A loader of tensors that lie in memory, whose order survives a stop in mid-epoch.

The order of an epoch is a pure function of `(seed, epoch)`, and the place in it is part of a
checkpoint: Lightning saves and restores every loader that has `state_dict` and `load_state_dict`.
"""

from collections.abc import Iterator
from hashlib import sha256

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


class TensorLoader:
    """Yields tuples of batches, taken from the tensors by one indexing each.

    No worker processes and no per-sample collate: for data that fit in memory, as toy sets do.
    When several processes train together, each yields its share, of equal length in all: the
    order is filled up from its start, as `DistributedSampler` does.

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
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}.")
        if drop_last and batch_size > lengths[0]:
            raise ValueError(
                f"`batch_size` must be at most the {lengths[0]} samples there are when `drop_last` "
                f"is set, but is {batch_size}; no batch would be left."
            )
        self.tensors = tensors
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.sampler = EpochSampler()
        self.batch_sampler = None  # Lightning asks whatever has a `sampler` for this one too
        self._at = (0, 0)  # epoch, batches yielded in it
        self._resume: tuple[int, int] | None = None

    def __len__(self) -> int:
        samples = -(-len(self.tensors[0]) // _processes()[1])
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # A generator: its body waits for the first batch, when the epoch has been set.
        epoch, start = self.sampler.epoch, 0
        if self._resume is not None and self._resume[0] == epoch:
            start = self._resume[1]
        self._resume = None
        order = self._order(epoch)
        for index in range(start, len(self)):
            rows = order[index * self.batch_size : (index + 1) * self.batch_size]
            batch = tuple(tensor[rows.to(tensor.device)] for tensor in self.tensors)
            self._at = (epoch, index + 1)  # before the yield: a trainer may never come back
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The place in the data: the epoch, and how many of its batches were yielded."""
        epoch, batches = self._resume or self._at
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on behind the batches of `state`, once; later epochs start at their first batch."""
        self._resume = (state["epoch"], state["batches"])
        self.sampler.set_epoch(state["epoch"])

    def _order(self, epoch: int) -> Tensor:
        """This process's share of the samples, in the order of an epoch."""
        n = len(self.tensors[0])
        if self.shuffle:
            # A digest of the pair: `seed + epoch` would give seed 1 the orders of seed 0, one late.
            generator = torch.Generator().manual_seed(stable_seed(self.seed, epoch))
            order = torch.randperm(n, generator=generator)
        else:
            order = torch.arange(n)
        rank, world = _processes()
        if world == 1:
            return order
        total = -(-n // world) * world
        return order.repeat(-(-total // n))[rank:total:world]


def stable_seed(*numbers: int) -> int:
    """A 63-bit seed that is the same on every machine, and another one for any other numbers."""
    return int.from_bytes(sha256(repr(numbers).encode()).digest()[:8], "big") >> 1


def _processes() -> tuple[int, int]:
    """This process's rank and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
