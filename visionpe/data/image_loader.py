"""The loader of images: batches of a source, made here or in worker processes, always the same."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from visionpe.data.loader import EpochLoader, Order
from visionpe.data.sources import Batch, Source
from visionpe.errors import DataError, VisionPEError

_Work = tuple[int, int, list[int]]  # an order, as it goes to a worker: lists travel fastest


class ImageLoader(EpochLoader):
    """Yields the batches of a source, the same for any number of worker processes.

    Args:
        source: what makes the batches.
        batch_size, shuffle, seed, drop_last, fill: as of `EpochLoader`.
        num_workers: processes that make batches ahead of time, kept from epoch to epoch; 0 makes
            them here.

    Raises:
        ValueError: if `num_workers` is negative, and as `EpochLoader`.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        fill: bool = True,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            len(source),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            fill=fill,
        )
        if num_workers < 0:
            raise ValueError(f"`num_workers` must be at least 0, but is {num_workers}.")
        self.source = source
        self.num_workers = num_workers
        self._work: list[_Work] = []
        self._workers: DataLoader[Any] | None = None
        self._passes = 0

    def load(self, orders: list[Order]) -> Iterator[Batch]:
        """The batches, in order."""
        if self.num_workers == 0:
            return (self.source.batch(order) for order in orders)
        return self._from_workers(orders)

    def _from_workers(self, orders: list[Order]) -> Iterator[Batch]:
        if self._workers is None:
            self._workers = workers(_Remote(self.source), self._work, self.num_workers)
        self._work[:] = [(order.epoch, order.number, order.rows.tolist()) for order in orders]
        self._passes += 1
        this = self._passes
        for batch in received(self._workers):
            self._require(this)
            yield batch
        self._require(this)

    def _require(self, this: int) -> None:
        if this != self._passes:
            raise RuntimeError(
                "A loader with worker processes must be iterated once at a time, but was started "
                "anew. Make another loader, or set `num_workers` to 0."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_workers": None}  # processes are no part of a copy


def workers(dataset: Dataset[Any], sampler: Any, number: int) -> DataLoader[Any]:
    """A torch loader of whole batches, in worker processes that live as long as it does."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=number,
        collate_fn=_same,
        generator=torch.Generator(),  # else the program's own gives a number away
        persistent_workers=True,
    )


def received(loader: DataLoader[Any]) -> Iterator[Any]:
    """What workers send; their errors raised here, short.

    Raises:
        VisionPEError: that a worker met with.
        DataError: if a worker was killed.
    """
    try:
        for batch in loader:
            if isinstance(batch, VisionPEError):
                raise batch
            yield batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DataError(
            f"A worker process of the loader ended: {error} Memory may have run out; lower "
            "`num_workers` or `batch_size`."
        ) from None


class _Remote(Dataset[Any]):
    """A source in a worker process, whose errors come back as values: short, without traceback."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, work: _Work) -> Batch | VisionPEError:
        epoch, number, rows = work
        try:
            return self.source.batch(Order(epoch, number, torch.tensor(rows)))
        except VisionPEError as error:
            return error


def _same(batch: Any) -> Any:
    return batch
