"""WebDataset shards: tar files in which the files of a sample follow each other under one name.

Read with the standard library. For shards behind a URL, give `Images` a pipeline of the package
`webdataset` instead.
"""

import random
import re
import tarfile
import zlib
from collections.abc import Iterator
from itertools import islice
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Self, final

from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import IterableDataset

from visionpe.data.loader import stable_seed
from visionpe.data.pictures import read_picture, require_channels
from visionpe.errors import DataError

_DIGITS = 18  # of a class: as many as an int64 has room for
_Files = dict[str, bytes]  # by ending
_Stored = tuple[str, _Files]  # where a sample is, for messages, and its files


@final
class WebShards(IterableDataset[tuple[UInt8[Tensor, "c h w"], int]]):
    """The samples `(image, target)` of shards, for `Images(train=...)`.

    Shards are taken in a new order each epoch and samples shuffled as they come, by `(seed,
    epoch)` alone. All processes read all shards, and decode their own pictures: leave `sharing` at
    "loader".

    Args:
        shards: paths, with braces for numbers: "train-{000..099}.tar".
        shuffle: samples held back to choose from; 0 keeps the shards' order.
        seed: of the order.
        image: endings of the pictures' names in a shard, most wanted first.
        target: ending of the labels' names: a class as decimal digits.
        channels: 3 for colours, 1 for grey.

    Raises:
        ValueError: if `shuffle` is negative, or `channels` neither.
        DataError: if a shard is not there. When read: if a shard or picture is damaged, or a sample
            lacks picture or label.
    """

    def __init__(
        self,
        shards: str,
        shuffle: int = 0,
        seed: int = 0,
        image: tuple[str, ...] = ("jpg", "jpeg", "png", "webp"),
        target: str = "cls",
        channels: int = 3,
    ) -> None:
        if shuffle < 0:
            raise ValueError(f"`shuffle` must be at least 0 samples, but is {shuffle}.")
        require_channels(channels)
        self.shards = expand(shards)
        if not self.shards:
            raise DataError(
                f"`shards` must name at least one file, but {shards!r} counts down to none."
            )
        for path in self.shards:
            if not Path(path).is_file():
                raise DataError(f"{path} is not there: `shards` must name files that are.")
        self.shuffle = shuffle
        self.seed = seed
        self.image = image
        self.target = target
        self.channels = channels
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the samples to come."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[UInt8[Tensor, "c h w"], int]]:
        return map(self.decode, self.undecoded())

    def undecoded(self) -> Iterator[_Stored]:
        """The samples of an epoch, in order, for `decode`."""
        shards, numbers = list(self.shards), random.Random(stable_seed(self.seed, self.epoch))
        if self.shuffle:
            numbers.shuffle(shards)
        samples = (sample for path in shards for sample in read_shard(path))
        held = list(islice(samples, self.shuffle))
        for sample in samples:
            if held:
                at = numbers.randrange(len(held))
                held[at], sample = sample, held[at]
            yield sample
        numbers.shuffle(held)
        yield from held

    def decode(self, stored: _Stored) -> tuple[UInt8[Tensor, "c h w"], int]:
        """Picture and class of a sample.

        Raises:
            DataError: if one of them is missing, or the picture is damaged.
        """
        name, files = stored
        picture = next((files[ending] for ending in self.image if ending in files), None)
        label = files.get(self.target, b"").strip()
        if picture is None or not label.isdigit() or len(label) > _DIGITS:
            raise DataError(
                f"{name} must have a picture ({', '.join(self.image)}) and a class in digits "
                f"({self.target}), but has {sorted(files)}."
            )
        return read_picture(picture, channels=self.channels, name=name), int(label)


def expand(shards: str) -> list[str]:
    """The paths that braces stand for.

    >>> expand("part-{08..10}.tar")
    ['part-08.tar', 'part-09.tar', 'part-10.tar']
    """
    match = re.search(r"\{(\d+)\.\.(\d+)\}", shards)
    if match is None:
        return [shards]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    head, tail = shards[: match.start()], shards[match.end() :]
    return [f"{head}{i:0{len(first)}d}{rest}" for i in numbers for rest in expand(tail)]


class _Member(tarfile.TarInfo):
    """A member whose damage is an error wherever it is.

    Python takes a shard that breaks off in or before a member's header for one that ends there.
    One that was written to its end has a block of zeros there, which is `EOFHeaderError`.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} where a member or the end must be") from None


def read_shard(path: str) -> Iterator[_Stored]:
    """The samples of a shard: where each is, for messages, and its files by ending.

    Raises:
        DataError: if the shard cannot be read to its end.
    """
    key, files = "", dict[str, bytes]()
    try:
        with tarfile.open(path, "r:*", tarinfo=_Member) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name)
                stem, _, ending = name.name.partition(".")
                here = str(name.with_name(stem)) if stem else member.name
                if here != key and files:
                    yield f"{key} in {path}", files
                    files = {}
                reader = tar.extractfile(member)
                assert reader is not None  # it is a file
                key, files[ending] = here, reader.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, LZMAError) as error:
        said = str(error).splitlines()[0].rstrip(".:")
        raise DataError(f"{path} cannot be read to its end: {said}. Write it anew.") from None
    if files:
        yield f"{key} in {path}", files
