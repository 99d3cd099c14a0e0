"""The loader of data sets that can only be read from their start: `IterableDataset`, shards.

What can be promised: the same batches for any number of worker processes and after a stop, if the
data set gives the same samples in the same order each time an epoch is read, with random numbers,
if any, of the generators of torch, numpy or Python, or of its own from `set_epoch(epoch)`. A
resumed run reads on from the start of the epoch and counts: it is exact, but not at once there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, Protocol, runtime_checkable

from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils import worker as torch_worker

from visionpe.data.draws import kept, reseed
from visionpe.data.image_loader import received, workers
from visionpe.data.loader import ResumableLoader, processes
from visionpe.data.sources import Batch, SampleSource, one_thread
from visionpe.errors import DataError, VisionPEError

Sharing = Literal["loader", "dataset"]


@runtime_checkable
class HasEpochs(Protocol):
    """A data set that orders its samples by the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the samples to come."""


@runtime_checkable
class Decodes(Protocol):
    """A data set that can be read without decoding: a process decodes only what it keeps."""

    def undecoded(self) -> Iterator[Any]:
        """The samples of an epoch, in order, as they are stored."""

    def decode(self, stored: Any) -> Any:
        """A sample, of what is stored."""


class StreamLoader(ResumableLoader):
    """Yields batches of an `IterableDataset`, in its order.

    A `Trainer` that is given this itself, not by a data module, must be given the callback
    `visionpe.data.under_lightning.ExactResume` too.

    Args:
        source: the data set, and what is done to its samples.
        batch_size: samples a batch (and process), at least 1.
        drop_last: leave out the last batch if it is smaller than the others. When several
            processes train together, their batches can differ in number by one all the same: limit
            them (`limit_train_batches`).
        fixed_order: the order of epoch 0 in each epoch; augmentation still differs.
        num_workers: processes that make batches ahead of time; 0 makes them here.
        sharing: who shares samples out to the processes that read them. "loader": each reads the
            whole stream and keeps its part, the same for any number of workers; the data set is not
            told of other workers (`torch.utils.data.get_worker_info`). "dataset": the data set
            shares by itself, as `webdataset` does when left to its defaults; this reads
            less, the order depends on the number of workers, and a resumed run makes again the
            batches that it leaves out.

    Raises:
        ValueError: if `batch_size` is below 1 or `num_workers` negative.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        batch_size: int,
        drop_last: bool = False,
        fixed_order: bool = False,
        num_workers: int = 0,
        sharing: Sharing = "loader",
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, but is {batch_size}.")
        if num_workers < 0:
            raise ValueError(f"`num_workers` must be at least 0, but is {num_workers}.")
        self.source = source
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.fixed_order = fixed_order
        self.num_workers = num_workers
        self.sharing = sharing

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of an epoch, without the first `start`."""
        counted = self.sharing == "loader"
        rank, world = processes()
        reader = _Reader(
            self.source,
            epoch=epoch,
            order=0 if self.fixed_order else epoch,
            batch_size=self.batch_size,
            drop_last=self.drop_last,
            start=start if counted else 0,
            share=(rank, world) if counted else None,
            rank=rank,
        )
        batches: Iterator[Any] = iter(reader)
        if self.num_workers:
            batches = received(workers(reader, None, self.num_workers))
        first: Any = object()
        for batch in islice(batches, 0 if counted else start, None):
            first = None
            if isinstance(batch, VisionPEError):
                raise batch
            yield batch
        if first is not None and start == 0:
            raise DataError(f"There is no sample in {self.source.name}.")


class _Reader(IterableDataset[Any]):
    """Reads one epoch, in this process or a worker, whose errors come back as values."""

    def __init__(
        self,
        source: SampleSource,
        *,
        epoch: int,
        order: int,
        batch_size: int,
        drop_last: bool,
        start: int,
        share: tuple[int, int] | None,
        rank: int,
    ) -> None:
        self.source = source
        self.epoch = epoch
        self.order = order
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.start = start
        self.share = share
        self.rank = rank

    def __iter__(self) -> Iterator[Batch | VisionPEError]:
        try:
            yield from self._read()
        except VisionPEError as error:
            yield error

    def _read(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, number = (0, 1) if info is None else (info.id, info.num_workers)
        process, world = self.share or (0, 1)
        part: tuple[int, ...] = ()
        if self.share is None:  # places count in this worker's part of the stream
            part = (self.rank, worker)
            worker, number = 0, 1
        seeds = (self.source.seed, self.epoch, *part)
        dataset = self.source.dataset
        samples: list[Any] = []
        count = 0  # samples of this process before this one
        for place, item in self._items((self.source.seed, self.order, *part)):
            if place % world != process:
                continue
            batch, row = divmod(count, self.batch_size)
            count += 1
            if batch < self.start or (batch - self.start) % number != worker:
                continue
            with kept(), one_thread():
                reseed(*seeds, place, 1)
                if isinstance(dataset, Decodes):
                    item = dataset.decode(item)
                samples.append(self.source.prepare(item, f"sample {place} of {self.source.name}"))
            if row == self.batch_size - 1:
                yield self._joined(samples, (*seeds, batch * world + process))
                samples = []
        if samples and not self.drop_last:
            yield self._joined(samples, (*seeds, batch * world + process))

    def _joined(self, samples: list[Any], seeds: tuple[int, ...]) -> Batch:
        with one_thread():
            return self.source.join(samples, seeds)

    def _items(self, seeds: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
        """The stream, each item read under its own seed."""
        dataset = self.source.dataset
        if isinstance(dataset, HasEpochs):
            dataset.set_epoch(self.order)
        with kept(), self._read_alone():
            reseed(*seeds)
            items = dataset.undecoded() if isinstance(dataset, Decodes) else iter(dataset)
        place = 0
        while True:
            with kept(), self._read_alone():
                reseed(*seeds, place)
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield place, item
            place += 1

    @contextmanager
    def _read_alone(self) -> Iterator[None]:
        """Hides from the data set that there are other workers, unless it shares by itself.

        One that asks torch would keep a part of the stream, of which this keeps a part again.
        """
        info = torch_worker._worker_info
        if self.share is not None:
            torch_worker._worker_info = None
        try:
            yield
        finally:
            torch_worker._worker_info = info
