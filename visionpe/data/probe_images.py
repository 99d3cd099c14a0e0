"""Images for a position probe: crops of photographs, or dead leaves where there are none."""

from pathlib import Path
from typing import Literal

import lightning as L
import torch
from jaxtyping import UInt8
from torch import Tensor

from visionpe.data.loader import TensorLoader
from visionpe.data.photographs import find_photographs, random_crops
from visionpe.data.under_lightning import overfits
from visionpe.errors import DataError
from visionpe.probing.dead_leaves import dead_leaves

Part = Literal["train", "test"]
_SHARE = 0.2  # of the photographs, whose crops are tested on


class ProbeImages(L.LightningDataModule):
    """Batches `(images,)` of 8-bit images; what is read from them is the task's business.

    Photographs are parted before they are cropped: no photograph is both trained and tested on.

    Args:
        folder: of photographs; None: dead leaves, generated, the same everywhere in the image.
        train, test: how many crops or leaves.
        height, width: of an image, in pixels.
        batch_size: images a batch.
        seed: of the crops, the leaves and the order of the training images.

    Raises:
        ValueError: if a number is below 1.
        DataError: in `setup`, if the folder or a photograph in it cannot be used.
    """

    def __init__(
        self,
        folder: str | None = None,
        train: int = 512,
        test: int = 128,
        height: int = 224,
        width: int = 224,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"train": train, "test": test, "height": height, "width": width}
        for name, value in {**counts, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        self.folder = folder
        self.counts: dict[Part, int] = {"train": train, "test": test}
        self.size = (height, width)
        self.batch_size = batch_size
        self.seed = seed
        self.parts: dict[Part, UInt8[Tensor, "n 3 h w"]] = {}

    def setup(self, stage: str) -> None:
        """Makes both parts, once."""
        for part in self.counts:
            if part not in self.parts:
                self.parts[part] = self._make(part)

    def train_dataloader(self) -> TensorLoader:
        """The training images, in a new order each epoch."""
        images = self.parts["train"]
        return TensorLoader(
            images, batch_size=self.batch_size, shuffle=not overfits(self), seed=self.seed
        )

    def val_dataloader(self) -> TensorLoader:
        """The test images: nothing is chosen by them."""
        return TensorLoader(self.parts["test"], batch_size=self.batch_size)

    def test_dataloader(self) -> TensorLoader:
        """The test images."""
        return self.val_dataloader()

    def predict_dataloader(self) -> TensorLoader:
        """The test images."""
        return self.val_dataloader()

    def _make(self, part: Part) -> UInt8[Tensor, "n 3 h w"]:
        n, seed = self.counts[part], 2 * self.seed + (part == "test")
        if self.folder is None:
            leaves = (dead_leaves(1, *self.size, seed=seed * 1_000_000 + i) for i in range(n))
            return torch.cat([leaf.mul(255).round().byte() for leaf in leaves])
        return random_crops(self._files(part), n, *self.size, seed=seed)

    def _files(self, part: Part) -> list[Path]:
        """Every fifth photograph, or the others."""
        assert self.folder is not None
        files = find_photographs(self.folder)
        if len(files) < 2:
            raise DataError(
                f"The folder {self.folder} must hold 2 photographs at least, one to test on, but "
                f"holds {len(files)}."
            )
        every = max(2, round(1 / _SHARE))
        tested = files[:: every if len(files) >= every else len(files)]
        return tested if part == "test" else [file for file in files if file not in tested]
