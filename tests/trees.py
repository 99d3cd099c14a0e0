"""Tiny data sets on disk, in the real formats."""

import gzip
import hashlib
import io
import pickle  # noqa: TID251 # CIFAR's format
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Array = np.ndarray[Any, Any]


def pixels(*shape: int, seed: int = 0) -> Array:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx(array: Array) -> bytes:
    """An array as an IDX file."""
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def fashion_mnist(root: Path, *, n: int = 40, test: int = 20, zipped: bool = True) -> Path:
    """Fashion-MNIST's four files under `root`, of `n` and `test` images."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count, seed in (("train", n, 0), ("t10k", test, 1)):
        for kind, array in (
            ("images-idx3", pixels(count, 28, 28, seed=seed)),
            ("labels-idx1", (np.arange(count) % 10).astype(np.uint8)),
        ):
            data = idx(array)
            path = raw / f"{name}-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(data) if zipped else data)
    return root


def cifar(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, classes: int = 10, n: int = 8, test: int = 20
) -> Path:
    """CIFAR's pickles under `root`, each of the five training files of `n` images.

    Torchvision compares digests with the published ones: they become those of these files.
    """
    from torchvision import datasets

    reader = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    label = "labels" if classes == 10 else "fine_labels"

    def write(name: str, content: dict[str, Any]) -> str:
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    for files, count in (("train_list", n), ("test_list", test)):
        names = [name for name, _ in getattr(reader, files)]
        digests = [
            write(
                name,
                {
                    "data": pixels(count, 3072, seed=i),
                    label: [(i * count + j) % classes for j in range(count)],
                },
            )
            for i, name in enumerate(names)
        ]
        monkeypatch.setattr(
            reader, files, [list(pair) for pair in zip(names, digests, strict=True)]
        )
    meta = dict(reader.meta)
    names = [f"class{i}" for i in range(classes)]
    meta["md5"] = write(meta["filename"], {meta["key"]: names})
    monkeypatch.setattr(reader, "meta", meta)
    return root


def image_folder(
    root: Path,
    *,
    parts: tuple[str, ...] = ("train", "val", "test"),
    classes: tuple[str, ...] = ("cat", "dog", "owl"),
    n: int = 6,
    size: tuple[int, int] = (40, 56),
) -> Path:
    """`n` pictures a class, JPEG and PNG in turn; without parts, the classes are in `root`."""
    for i, part in enumerate(parts or ("",)):
        for j, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for k in range(n):
                image = Image.fromarray(pixels(*size, 3, seed=100 * i + 10 * j + k))
                image.save(folder / f"{k}.{'png' if k % 2 else 'jpg'}")
    return root


def shard(
    path: Path, *, n: int = 10, classes: int = 3, size: tuple[int, int] = (8, 8), first: int = 0
) -> Path:
    """A WebDataset shard of `n` PNG pictures, whose upper left pixel is their number."""
    with tarfile.open(path, "w") as tar:
        for i in range(first, first + n):
            array = pixels(*size, 3, seed=i)
            array[0, 0] = i
            picture = io.BytesIO()
            Image.fromarray(array).save(picture, "png")
            for ending, data in (("png", picture.getvalue()), ("cls", str(i % classes).encode())):
                info = tarfile.TarInfo(f"{i:05d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path
