"""What every test runs under: annotations checked, no network, few threads, the same seed."""

import gc
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from jaxtyping import config, install_import_hook

# Shapes in annotations are checked at each call of these, by beartype; not in `visionpe.places`,
# whose property, so wrapped, keeps `torch.compile` from making places inside a graph.
CHECKED = [
    "visionpe.frame",
    "visionpe.grids",
    "visionpe.encodings",
    "visionpe.checking",
    "visionpe.models",
    "visionpe.tasks.classification",
    "visionpe.tasks.networks",
    "visionpe.tasks.scores",
    "visionpe.tasks.stress",
    "visionpe.tasks.stress_views",
    "visionpe.tasks.toy",
    "visionpe.tasks.toy_base",
    "visionpe.data.not_so_clevr",
    "visionpe.probing",
    "visionpe.data.batched",
    "visionpe.data.draws",
    "visionpe.data.idx",
    "visionpe.data.mixing",
    "visionpe.data.normalise",
    "visionpe.data.pictures",
    "visionpe.data.sources",
    "visionpe.data.torchvision_augment",
    "visionpe.data.views",
]
install_import_hook(CHECKED, "checker.check")


def _keep() -> None:
    """What is alive now stays: the garbage collector need not walk over it time and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """What was imported is kept."""
    _keep()


def pytest_sessionfinish() -> None:
    """At the end, all of it may go."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.default_generator.manual_seed(0)  # of the CPU: `torch.manual_seed` asks every backend
    torch.set_num_threads(1)  # one worker process a core


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        raise OSError(f"A test must not use the network, but connects to {address}.")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """No check of annotations: while a graph is captured, sizes are symbols and no ints."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
    _keep()  # what captured graphs left in torch's caches
