"""Data sets that can only be read from their start, shards among them."""

import gzip
import lzma
import random
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info
from trees import shard

from visionpe.data.images import Images
from visionpe.data.normalise import Normalise
from visionpe.data.pictures import read_picture
from visionpe.data.shards import WebShards, expand, read_shard
from visionpe.data.sources import Batch, SampleSource
from visionpe.data.streams import StreamLoader
from visionpe.data.views import ResizedCrop
from visionpe.errors import DataError

N = 23


class Stream(IterableDataset[Any]):
    """Images that tell their number, shuffled a little by Python's generator as they come."""

    def __init__(self, n: int = N, *, shares: bool = False) -> None:
        self.n = n
        self.shares = shares

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        info = get_worker_info()
        rows = list(range(self.n))
        if self.shares and info is not None:
            rows = rows[info.id :: info.num_workers]
        while rows:
            row = rows.pop(random.randrange(min(4, len(rows))))
            yield torch.full((3, 12, 9), row, dtype=torch.uint8), row


def loader(dataset: Any = None, workers: int = 0, **options: Any) -> StreamLoader:
    source = SampleSource(
        dataset or Stream(),
        num_classes=N,
        channels=3,
        normalise=Normalise((0.5,) * 3, (0.5,) * 3),
        augment=ResizedCrop((6, 5)),
        seed=2,
    )
    return StreamLoader(source, batch_size=4, num_workers=workers, **options)


def epoch(it: StreamLoader, number: int = 0) -> list[Batch]:
    it.sampler.set_epoch(number)
    return list(it)


def rows(batches: list[Batch]) -> list[list[int]]:
    return [batch[1].tolist() for batch in batches]


def flat(batches: list[Batch]) -> list[int]:
    return [row for batch in rows(batches) for row in batch]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return rows(one) == rows(other) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[2].affine, b[2].affine)
        for a, b in zip(one, other, strict=True)
    )


def test_batches_are_the_same_for_0_1_and_2_workers() -> None:
    expected = epoch(loader(), 3)
    assert sorted(flat(expected)) == list(range(N))
    assert [len(batch) for batch in rows(expected)] == [4, 4, 4, 4, 4, 3]
    for workers in (1, 2):
        assert same(expected, epoch(loader(workers=workers), 3))
    assert rows(expected) != rows(epoch(loader(), 2))


@pytest.mark.parametrize(("workers", "yielded"), [(0, 1), (0, 6), (2, 3)])
def test_a_restored_loader_yields_the_rest_of_its_epoch(workers: int, yielded: int) -> None:
    first = loader()
    first.sampler.set_epoch(1)
    iterator = iter(first)
    seen = [next(iterator) for _ in range(yielded)]
    second = loader(workers=workers)
    second.load_state_dict(first.state_dict())
    assert same(seen + epoch(second, 1), epoch(loader(), 1))


def test_processes_share_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for rank in range(2):
        monkeypatch.setattr("visionpe.data.streams.processes", lambda rank=rank: (rank, 2))
        batches = epoch(loader())
        assert same(batches, epoch(loader(workers=2)))
        seen += flat(batches)
    assert sorted(seen) == list(range(N))


def test_a_data_set_may_share_by_itself() -> None:
    options: dict[str, Any] = {"workers": 2, "sharing": "dataset"}
    batches = epoch(loader(Stream(shares=True), **options))
    assert sorted(flat(batches)) == list(range(N))
    assert same(batches, epoch(loader(Stream(shares=True), **options)))
    resumed = loader(Stream(shares=True), **options)
    resumed.load_state_dict({"epoch": 0, "batches": 2})
    assert same(batches[2:], epoch(resumed))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_a_data_set_that_would_share_by_itself_loses_no_sample(workers: int) -> None:
    batches = epoch(loader(Stream(shares=True), workers))
    assert same(batches, epoch(loader()))


class Asks(IterableDataset[Any]):
    """A data set that tells what torch says of the worker that reads it, before each sample."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        for _ in range(4):
            asked = get_worker_info() is not None
            yield torch.zeros(3, 12, 9, dtype=torch.uint8), int(asked)


def test_a_data_set_is_told_of_workers_only_if_it_shares_by_itself() -> None:
    assert flat(epoch(loader(Asks(), 1))) == [0] * 4
    assert flat(epoch(loader(Asks(), 1, sharing="dataset"))) == [1] * 4


def test_an_order_may_be_the_same_each_epoch() -> None:
    fixed = loader(fixed_order=True)
    first, second = epoch(fixed, 0), epoch(fixed, 1)
    assert rows(first) == rows(second) == rows(epoch(loader(), 0))
    assert not same(first, second)  # augmented anew


def test_the_last_batch_may_be_left_out() -> None:
    assert [len(batch) for batch in rows(epoch(loader(drop_last=True)))] == [4] * 5


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(DataError, match=r"^There is no sample in the data set\.$"):
        epoch(loader(Stream(0)))


@pytest.mark.usefixtures("unchecked")  # the check itself draws
def test_the_programs_generators_are_left_alone() -> None:
    random.seed(0)
    expected = random.random()
    random.seed(0)
    epoch(loader())
    assert random.random() == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_sample_stops_with_one_sentence(workers: int) -> None:
    message = (
        r"^Targets must be classes 0 to 22, but that of sample \d+ of the data set is 23\. Correct "
        r"the label, or `num_classes`\.$"
    )
    with pytest.raises(DataError, match=message):
        epoch(loader(Stream(N + 1), workers))


def test_wrong_arguments_are_refused() -> None:
    source = loader().source
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"batch_size": 0}, "`batch_size` must be at least 1, but is 0."),
        ({"batch_size": 1, "num_workers": -1}, "`num_workers` must be at least 0, but is -1."),
    )
    for options, message in wrong:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            StreamLoader(source, **options)


# Shards.


@pytest.fixture
def shards(tmp_path: Path) -> str:
    for i in range(3):
        shard(tmp_path / f"part-{i}.tar", n=7, first=7 * i, classes=21)
    return str(tmp_path / "part-{0..2}.tar")


def numbers(dataset: WebShards) -> list[int]:
    return [target for _, target in dataset]


def test_shards_are_read_in_order(shards: str) -> None:
    assert numbers(WebShards(shards)) == list(range(21))
    image, target = next(iter(WebShards(shards)))
    assert image.shape == (3, 8, 8)
    assert image[:, 0, 0].tolist() == [target] * 3


def test_shards_are_shuffled_by_seed_and_epoch(shards: str) -> None:
    def order(seed: int, number: int) -> list[int]:
        dataset = WebShards(shards, shuffle=5, seed=seed)
        dataset.set_epoch(number)
        assert sorted(numbers(dataset)) == list(range(21))
        return numbers(dataset)

    assert order(0, 0) == order(0, 0) != order(0, 1) != order(1, 1)


def test_shards_give_the_same_batches_for_any_number_of_workers(shards: str) -> None:
    def make(workers: int) -> list[Batch]:
        return epoch(loader(WebShards(shards, shuffle=5), workers), 1)

    assert same(make(0), make(1))
    assert same(make(0), make(2))


def test_shards_train_as_a_data_module(shards: str) -> None:
    data = Images(21, train=WebShards(shards, shuffle=9), image_size=(8, 8), batch_size=6)
    data.setup("fit")
    images, targets, frame = next(iter(data.train_dataloader()))
    assert images.shape == (6, 3, 8, 8)
    assert targets.dtype == torch.int64
    assert frame.extent.tolist() == [[8, 8]] * 6
    assert data.val_dataloader() == []


def test_shards_that_are_not_there_are_named(tmp_path: Path) -> None:
    message = f"{tmp_path}/a-1.tar is not there: `shards` must name files that are."
    shard(tmp_path / "a-0.tar")
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        WebShards(f"{tmp_path}/a-{{0..2}}.tar")


def test_braces_that_count_down_name_no_shard(tmp_path: Path) -> None:
    message = f"`shards` must name at least one file, but '{tmp_path}/a-{{2..0}}.tar' counts down "
    with pytest.raises(DataError, match=f"^{re.escape(message)}to none\\.$"):
        WebShards(f"{tmp_path}/a-{{2..0}}.tar")


def test_braces_stand_for_numbers_of_one_width() -> None:
    assert expand("a.tar") == ["a.tar"]
    paths = expand("{0..1}/s-{09..11}.tar")
    assert paths == [f"{i}/s-{j}.tar" for i in (0, 1) for j in ("09", "10", "11")]


def test_a_truncated_shard_is_named(shards: str, tmp_path: Path) -> None:
    path = tmp_path / "part-1.tar"
    path.write_bytes(path.read_bytes()[:3000])
    message = rf"^{re.escape(str(path))} cannot be read to its end: .+\. Write it anew\.$"
    with pytest.raises(DataError, match=message):
        numbers(WebShards(shards))


@pytest.mark.parametrize("cut", range(512, 10240, 512))
def test_a_shard_that_breaks_off_between_blocks_is_named(cut: int, tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", n=3)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(whole[:cut])
    if cut > end:  # with a block of zeros, which ends a shard
        assert numbers(WebShards(str(path))) == [0, 1, 2]
        return
    message = rf"^{re.escape(str(path))} cannot be read to its end: .+\. Write it anew\.$"
    with pytest.raises(DataError, match=message):
        numbers(WebShards(str(path)))


def test_a_shard_with_a_damaged_header_is_named(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", n=3)
    content = bytearray(path.read_bytes())
    content[content.index(b"00001.cls") + 148] ^= 255  # in its checksum
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read to its end: .+\. Write it anew\.$"):
        numbers(WebShards(str(path)))


def test_shards_of_other_programs_are_read(tmp_path: Path) -> None:
    import webdataset

    paths = {name: tmp_path / name for name in ("gnu.tar", "web.tar", "a.tar.gz", "b.tar.xz")}
    shard(tmp_path / "a.tar", n=3)
    samples = list(read_shard(str(tmp_path / "a.tar")))
    with webdataset.TarWriter(str(paths["web.tar"])) as writer:
        for i, (_, files) in enumerate(samples):
            writer.write({"__key__": f"{i:05d}", **files})
            for ending, content in files.items():
                (tmp_path / f"{i:05d}.{ending}").write_bytes(content)
    names = sorted(path.name for path in tmp_path.iterdir() if path.name[:4] == "0000")
    subprocess.run(["tar", "-cf", "gnu.tar", *names], cwd=tmp_path, check=True)
    whole = (tmp_path / "a.tar").read_bytes()
    paths["a.tar.gz"].write_bytes(gzip.compress(whole))
    paths["b.tar.xz"].write_bytes(lzma.compress(whole))
    for path in paths.values():
        read = list(read_shard(str(path)))
        assert [files for _, files in read] == [files for _, files in samples], path.name
    paths["b.tar.xz"].write_bytes(lzma.compress(whole)[:500])
    with pytest.raises(DataError, match=r"cannot be read to its end: .+\. Write it anew\.$"):
        list(read_shard(str(paths["b.tar.xz"])))


@pytest.mark.parametrize(("workers", "skipped"), [(0, 0), (1, 0), (2, 0), (0, 4)])
def test_a_picture_is_decoded_once(
    workers: int, skipped: int, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.touch()

    def counted(*args: Any, **options: Any) -> Any:
        with log.open("a") as file:
            file.write("x")
        return read_picture(*args, **options)

    monkeypatch.setattr("visionpe.data.shards.read_picture", counted)
    it = loader(WebShards(shards, shuffle=5), workers)
    it.load_state_dict({"epoch": 0, "batches": skipped})
    decoded = flat(epoch(it))
    assert len(decoded) == 21 - 4 * skipped
    assert len(log.read_text()) == len(decoded)


def test_a_sample_without_label_is_named(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", n=2)
    message = (
        f"00000 in {path} must have a picture (jpg, jpeg, png, webp) and a class in digits (txt), "
        "but has ['cls', 'png']."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        numbers(WebShards(str(path), target="txt"))


def test_a_label_of_thousands_of_digits_is_no_class(shards: str) -> None:
    name, files = next(WebShards(shards).undecoded())
    with pytest.raises(DataError, match=r"must have a picture .* and a class in digits \(cls\)"):
        WebShards(shards).decode((name, {**files, "cls": b"9" * 5000}))


def test_shards_are_those_of_the_webdataset_package(shards: str) -> None:
    import webdataset

    paths = [shards.replace("{0..2}", str(i)) for i in range(3)]
    read = [sample for path in paths for sample in read_shard(path)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to be closed
        theirs = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert len(read) == len(theirs) == 21
    for (_, files), sample in zip(read, theirs, strict=True):
        assert files == {key: value for key, value in sample.items() if key[:2] != "__"}


def pipeline(shards: str) -> IterableDataset[Any]:
    """A pipeline of the `webdataset` package, which shares shards among workers by itself."""
    import webdataset

    made = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    pairs: IterableDataset[Any] = made.decode("pil").to_tuple("png", "cls")
    return pairs


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_of_the_webdataset_package_trains_as_it_is(shards: str, workers: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        data = Images(
            21,
            train=pipeline(shards),
            image_size=(8, 8),
            batch_size=4,
            num_workers=workers,
            sharing="dataset",
        )
        data.setup("fit")
        batches = list(data.train_dataloader())
    assert sorted(flat(batches)) == list(range(21))
    assert batches[0][0].shape == (4, 3, 8, 8)
