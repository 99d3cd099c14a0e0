"""Bits that flip, kills between two files, disks that are full."""

import ctypes
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from visionpe.cli import manifest
from visionpe.cli.checkpoints import AtomicCheckpointIO, read
from visionpe.errors import CheckpointError

STATE = {"state_dict": {"weight": torch.linspace(0, 1, 300)}, "global_step": 7}


def damaged(path: Path, why: str) -> str:
    return (
        f"The checkpoint {path} is damaged: {why}. Use another checkpoint of the run with "
        "`--ckpt_path`, or remove the file to start that run again."
    )


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    return str(caught.value)


@pytest.fixture
def kept(folder: Path) -> Path:
    """A checkpoint with its manifest."""
    path = folder / "kept" / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    return path


def test_any_flipped_bit_is_found(kept: Path) -> None:
    content = kept.read_bytes()
    says = damaged(kept, f"its SHA-256 is not the one in {kept.parent / 'manifest.json'}")
    for i in range(64):  # the headers of the archive, which its own checksums leave out, as well
        place = i * len(content) // 64
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << (i % 8)
        kept.write_bytes(spoilt)
        assert refused(kept) == says, place
    kept.write_bytes(content)
    assert read(kept)["global_step"] == 7


def test_a_file_cut_anywhere_is_refused(kept: Path) -> None:
    content = kept.read_bytes()
    for i in range(32):
        kept.write_bytes(content[: i * len(content) // 32])
        assert refused(kept).startswith(f"The checkpoint {kept} is damaged: ")


def test_a_checkpoint_of_another_run_does_not_pass_for_this_ones(kept: Path) -> None:
    other = kept.parent.parent / "other.ckpt"
    AtomicCheckpointIO().save_checkpoint({**STATE, "global_step": 8}, other)
    shutil.copy(other, kept)
    assert "its SHA-256 is not the one in" in refused(kept)


def test_a_copy_without_its_manifest_is_read(kept: Path) -> None:
    copy = shutil.copy(kept, kept.parent.parent / "copy.ckpt")
    assert read(copy)["global_step"] == 7


def test_a_damaged_manifest_is_named(kept: Path) -> None:
    path = kept.parent / "manifest.json"
    for content in ('{"a.ckpt": ', "[1]", '{"a.ckpt": 3}'):
        path.write_text(content)
        assert refused(kept) == damaged(
            kept, f"{path}, which should say its SHA-256, cannot be read"
        )


def test_a_kill_between_the_manifest_and_the_file_leaves_a_good_one(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*args: object) -> None:
        raise Killed

    monkeypatch.setattr(Path, "replace", _once_manifest(Path.replace, kill))
    for step in (8, 9, 10):  # again and again
        with pytest.raises(Killed):
            AtomicCheckpointIO().save_checkpoint({**STATE, "global_step": step}, kept)
        assert read(kept)["global_step"] == 7
    monkeypatch.undo()
    AtomicCheckpointIO().save_checkpoint({**STATE, "global_step": 11}, kept)
    assert read(kept)["global_step"] == 11
    assert len(json.loads((kept.parent / "manifest.json").read_text())["a.ckpt"]) == 1


def _once_manifest(replace: object, kill: object) -> object:
    """The manifest takes its place; the checkpoint does not."""

    def call(self: Path, target: Path) -> object:
        assert callable(replace)
        assert callable(kill)
        return replace(self, target) if target.name == manifest.NAME else kill()

    return call


def test_a_removed_checkpoint_leaves_the_manifest(kept: Path) -> None:
    AtomicCheckpointIO().remove_checkpoint(kept)
    assert json.loads((kept.parent / "manifest.json").read_text()) == {}


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 256 KiB, where one can be mounted."""
    libc = ctypes.CDLL(None, use_errno=True)
    disk = folder / "disk"
    disk.mkdir()
    if libc.mount(b"tmpfs", bytes(disk), b"tmpfs", 0, b"size=256k") != 0:
        pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
    yield disk
    libc.umount2(bytes(disk), 2)


def test_a_full_disk_keeps_the_checkpoint_before(small_disk: Path) -> None:
    path = small_disk / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint(STATE, path)
    large = {"state_dict": {"weight": torch.ones(200_000)}, "global_step": 8}
    with pytest.raises(CheckpointError) as caught:
        AtomicCheckpointIO().save_checkpoint(large, path)
    assert str(caught.value).startswith(f"The checkpoint {path} cannot be written: ")
    assert "The one before it is kept. Free some space" in str(caught.value)
    assert read(path)["global_step"] == 7
    assert sorted(file.name for file in small_disk.iterdir()) == ["a.ckpt", "manifest.json"]
