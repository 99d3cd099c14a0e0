"""What the fetching of assets does with packages, without any network."""

import gzip
import json
from hashlib import sha256
from pathlib import Path

import pytest

from experiments import assets

CONTENT = {"a.bin": b"one", "b.bin": b"two" * 99}


def package() -> assets.Package:
    lines = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in CONTENT.items())
    return assets.Package("things", "debian", "things", "MIT", "usr/things", "kept", lines)


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package's folder, as a client leaves it; one file is packed."""
    folder = tmp_path / "unpacked" / "usr" / "things"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(CONTENT["a.bin"])
    (folder / "b.bin.gz").write_bytes(gzip.compress(CONTENT["b.bin"]))
    monkeypatch.setattr(assets, "_unpack", lambda package, into: tmp_path / "unpacked")
    return folder


@pytest.mark.usefixtures("unpacked")
def test_files_are_put_in_place_whole_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert assets.fetch(package(), tmp_path / "data") is None
    kept = tmp_path / "data" / "kept"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == CONTENT
    monkeypatch.setattr(assets, "_unpack", None)  # not needed again
    assert assets.fetch(package(), tmp_path / "data") is None


def test_a_foreign_file_is_refused_and_leaves_nothing(unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "a.bin").write_bytes(b"another")
    reason = assets.fetch(package(), tmp_path / "data")
    assert reason == "a.bin is not the file that is wanted: its SHA-256 differs"
    assert list((tmp_path / "data" / "kept").iterdir()) == []


def test_what_cannot_be_had_is_skipped_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(assets, "PACKAGES", [package()])
    monkeypatch.setattr("experiments.assets.shutil.which", lambda name: None)
    assert assets.main(["--data", str(tmp_path / "data")]) == 1
    output = capsys.readouterr().out
    assert "things                    skipped: no `apt-get` here: the package is Debian's" in output
    assert json.loads((tmp_path / "data" / "assets.json").read_text()) == {}


def test_every_asset_has_a_digest_and_a_licence() -> None:
    for each in assets.PACKAGES:
        assert each.licence
        assert all(len(digest) == 64 for digest in each.digests().values())
        assert each.client == "debian" or "==" in each.package
