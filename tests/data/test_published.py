"""CIFAR and Fashion-MNIST: read right, and refused in one sentence when they are not right."""

import errno
import gzip
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import trees
from torchvision import datasets

from visionpe.data import CIFAR10, CIFAR100, FashionMNIST
from visionpe.data.idx import read_idx
from visionpe.errors import DataError


def refused(message: str) -> Any:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_is_what_torchvision_reads(
    classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(trees.cifar(tmp_path, monkeypatch, classes=classes))
    data = CIFAR10(root) if classes == 10 else CIFAR100(root)
    theirs = (datasets.CIFAR10 if classes == 10 else datasets.CIFAR100)(root, train=False)
    data.setup("test")
    images, targets, _ = next(iter(data.test_dataloader()))
    mean, std = (torch.tensor(each)[:, None, None] for each in (data.mean, data.std))
    expected = (torch.from_numpy(theirs.data).permute(0, 3, 1, 2) / 255 - mean) / std
    torch.testing.assert_close(images, expected)
    assert targets.tolist() == theirs.targets


def test_fashion_mnist_is_what_torchvision_reads(tmp_path: Path) -> None:
    root = trees.fashion_mnist(tmp_path, zipped=False)
    theirs = datasets.FashionMNIST(str(root), train=False)
    data = FashionMNIST(str(root))
    data.setup("test")
    images, targets, _ = next(iter(data.test_dataloader()))
    torch.testing.assert_close(images[:, 0], (theirs.data / 255 - 0.2860) / 0.3530)
    assert torch.equal(targets, theirs.targets)
    assert list(data.class_names) == theirs.classes
    zipped = FashionMNIST(str(trees.fashion_mnist(tmp_path / "zipped")))
    zipped.setup("test")
    assert torch.equal(next(iter(zipped.test_dataloader()))[0], images)


def test_class_names_of_cifar_are_the_published_ones() -> None:
    assert CIFAR10.class_names[:3] == ("airplane", "automobile", "bird")
    assert len(CIFAR10.class_names) == 10
    assert CIFAR100.class_names[::33] == ("apple", "forest", "raccoon", "worm")
    assert list(CIFAR100.class_names) == sorted(set(CIFAR100.class_names))
    assert len(CIFAR100.class_names) == 100


def test_missing_files_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    with refused(
        f"CIFAR-10 is not under {tmp_path}: {path} is not there. Set `download`, or unpack "
        f"cifar-10-python.tar.gz into {tmp_path}."
    ):
        CIFAR10(str(tmp_path)).setup("fit")
    trees.cifar(tmp_path, monkeypatch)
    path = path.with_name("data_batch_3")
    path.unlink()
    with refused(
        f"CIFAR-10 is not under {tmp_path}: {path} is not there. Set `download`, or unpack "
        f"cifar-10-python.tar.gz into {tmp_path}."
    ):
        CIFAR10(str(tmp_path)).setup("fit")
    path = tmp_path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte"
    with refused(
        f"Fashion-MNIST is not under {tmp_path}: {path} is not there. Set `download`, or put the "
        "four files there, gzipped or not."
    ):
        FashionMNIST(str(tmp_path)).setup("test")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_truncated_and_changed_pickles_are_named_and_never_opened(
    keep: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.cifar(tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data[:keep] if keep >= 0 else data)
    with refused(
        f"{path} is damaged: it is not the published file. Remove it, and set `download` or unpack "
        f"cifar-10-python.tar.gz into {tmp_path} again."
    ):
        CIFAR10(str(tmp_path)).setup("fit")


def test_mislabelled_files_are_refused(tmp_path: Path) -> None:
    raw = trees.fashion_mnist(tmp_path) / "FashionMNIST" / "raw"
    labels = raw / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(trees.idx(trees.pixels(20) // 16)))
    row = int((read_idx(labels.with_suffix(""), 1) >= 10).nonzero()[0])
    value = int(read_idx(labels.with_suffix(""), 1)[row])
    with refused(
        f"{labels.with_suffix('')} must hold classes 0 to 9, but sample {row} is of class {value}. "
        "The file is another's, or damaged."
    ):
        FashionMNIST(str(tmp_path)).setup("test")
    labels.write_bytes(gzip.compress(trees.idx(trees.pixels(7) % 10)))
    with refused(
        f"{raw / 't10k-images-idx3-ubyte'} and t10k-labels-idx1-ubyte must hold as many labels as "
        "images of 28x28, but hold 7 and (20, 28, 28). One is another's; fetch both."
    ):
        FashionMNIST(str(tmp_path)).setup("test")


def test_a_validation_part_must_not_be_empty(tmp_path: Path) -> None:
    trees.fashion_mnist(tmp_path, n=4)
    with refused("4 samples cannot be parted by a `val_fraction` of 0.1: one part is empty."):
        FashionMNIST(str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: b"", "it is no IDX file of images. Fetch it again."),
        (lambda data: data[:10], "it is no IDX file of images. Fetch it again."),
        (lambda data: b"\1" + data[1:], "it is no IDX file of images. Fetch it again."),
        (lambda data: data[:-5], "it says 3 x 4 x 5 bytes, but holds 55. Fetch it again."),
        (lambda data: data + b"more", "it says 3 x 4 x 5 bytes, but holds 64. Fetch it again."),
    ],
)
def test_damaged_idx_files_are_named(spoil: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "images"
    array = trees.pixels(3, 4, 5)
    path.write_bytes(trees.idx(array))
    assert torch.equal(read_idx(path, 3), torch.from_numpy(array))
    path.write_bytes(spoil(trees.idx(array)))
    with refused(f"{path} is damaged: {says}"):
        read_idx(path, 3)


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(trees.idx(trees.pixels(3, 4, 5)))[:40])
    with refused(f"{path} is damaged: it cannot be unpacked. Fetch it again."):
        read_idx(tmp_path / "images", 3)


BY_HAND = "Put the files under {} by other means and leave `download` off."


@pytest.mark.parametrize("module", [CIFAR10, CIFAR100, FashionMNIST])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (URLError("timed out"), f" cannot be downloaded: the network says 'timed out'. {BY_HAND}"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            " cannot be downloaded to {}: No space left on device. Free some space, or give "
            "another `root`.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            " cannot be downloaded to {}: Permission denied. Give a `root` that can be written.",
        ),
        (
            ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
            f" cannot be downloaded to {{}}: Connection reset by peer. {BY_HAND}",
        ),
        (
            RuntimeError("File not found or corrupted."),
            f" cannot be downloaded: File not found or corrupted. {BY_HAND}",
        ),
    ],
    ids=["network", "disk full", "no permission", "reset", "foreign file"],
)
def test_a_refused_download_says_why_and_what_to_do(
    module: Any, error: Exception, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise error

    for package in ("cifar", "mnist"):
        monkeypatch.setattr(f"torchvision.datasets.{package}.download_and_extract_archive", refuse)
    name = {CIFAR10: "CIFAR-10", CIFAR100: "CIFAR-100", FashionMNIST: "Fashion-MNIST"}[module]
    says = says.replace("{}", str(tmp_path))
    if module is FashionMNIST and isinstance(error, URLError | RuntimeError):  # of each mirror
        expected = pytest.raises(
            DataError, match=rf"^{name} cannot be downloaded: .*{error}.* off\.$"
        )
    else:
        expected = refused(name + says)
    with expected:
        module(str(tmp_path), download=True).prepare_data()


def test_a_blocked_network_is_said_through_torchvision_itself(tmp_path: Path) -> None:
    """Sockets are blocked in tests: the real path from the refusal to the sentence."""
    with pytest.raises(DataError, match=r"^CIFAR-10 cannot be downloaded: .+ by other means"):
        CIFAR10(str(tmp_path), download=True).prepare_data()
