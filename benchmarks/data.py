"""Images a second that the data pipelines make on one core, beside what a network trains on.

    python -m benchmarks.data [--rounds 7] [--only NAME]

Each pipeline is a loader as the data modules make it, with frames, collated and normalised: what
arrives is ready for a model. Medians over rounds, all pipelines in turn in each round. The last row
is a training step of ResNet-18 (3x3 stem, no pool) at 32 px in float32 on the same core: a pipeline
is no bottleneck where it is much faster than that.
"""

import argparse
import csv
import io
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import albumentations as A
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.models import resnet18
from torchvision.transforms import v2

from visionpe.data import (
    Augment,
    BatchAugment,
    ImageFolder,
    Mix,
    ResizedCrop,
    TorchvisionAugment,
)
from visionpe.data.augments import SampleAugment
from visionpe.data.image_loader import ImageLoader
from visionpe.data.normalise import Normalise
from visionpe.data.sources import SampleSource, Source, TensorSource

RESULTS = Path(__file__).parent / "results" / "data.csv"
N, BATCH, CLASSES = 10_000, 128, 10
UNIT = Normalise((0.5,) * 3, (0.25,) * 3)
Batches = Callable[[], Iterator[int]]  # the sizes of the batches made


def in_memory(augment: BatchAugment | SampleAugment | None, mix: Mix | None = None) -> Batches:
    """A set of CIFAR's shape."""
    images = torch.randint(0, 256, (N, 3, 32, 32), dtype=torch.uint8)
    targets = torch.randint(0, CLASSES, (N,))
    common: dict[str, Any] = {"num_classes": CLASSES, "normalise": UNIT, "mix": mix}
    source: Source
    if isinstance(augment, SampleAugment):
        data = TensorDataset(images, targets)
        source = SampleSource(data, channels=3, augment=augment, **common)
    else:
        source = TensorSource(images, targets, augment=augment, **common)
    return lambda: (len(batch[0]) for batch in ImageLoader(source, batch_size=BATCH, shuffle=True))


def photographs(folder: Path, augment: SampleAugment | None) -> Batches:
    """JPEG files of 500x375, as ImageNet's are on average."""
    data = ImageFolder(str(folder), batch_size=32, augment=augment, val_fraction=0.0)
    data.setup("fit")
    return lambda: (len(batch[0]) for batch in data.train_dataloader())


def write_photographs(folder: Path) -> None:
    """Smooth pictures: noise would not compress as photographs do."""
    for i in range(64):
        coarse = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(i))
        smooth = F.interpolate(coarse, (375, 500), mode="bicubic").clamp(0, 1)[0]
        array = (smooth.permute(1, 2, 0) * 255).byte().numpy()
        path = folder / f"class{i % 2}" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        data = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(array)).save(data, "jpeg", quality=90)
        path.write_bytes(data.getvalue())


def training() -> Batches:
    """A training step of ResNet-18 as it is made for 32 px."""
    model = resnet18(num_classes=CLASSES)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    images, targets = torch.randn(BATCH, 3, 32, 32), torch.randint(0, CLASSES, (BATCH,))

    def steps() -> Iterator[int]:
        while True:
            optimizer.zero_grad()
            F.cross_entropy(model(images), targets).backward()
            optimizer.step()
            yield len(images)

    return steps


def pipelines(folder: Path) -> dict[str, Batches]:
    """All of the table."""
    crop = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
    jitter = (0.4, 0.4, 0.4, 0.0)
    return {
        "32 px, in memory": in_memory(None),
        "32 px, windows and flip": in_memory(BatchAugment()),
        "32 px, resized crop and flip": in_memory(BatchAugment(0, scale=(0.3, 1.0))),
        "32 px, resized crop, turn and flip": in_memory(
            BatchAugment(0, scale=(0.3, 1.0), rotate=15)
        ),
        "32 px, windows, flip, mixup or CutMix": in_memory(BatchAugment(), Mix(0.2, 1.0)),
        "32 px, torchvision: crop and flip": in_memory(TorchvisionAugment([*crop])),
        "32 px, torchvision: crop, flip, RandAugment": in_memory(
            TorchvisionAugment([*crop, v2.RandAugment()])
        ),
        "32 px, torchvision: crop, flip, TrivialAugment": in_memory(
            TorchvisionAugment([*crop, v2.TrivialAugmentWide()])
        ),
        "32 px, albumentations: crop and flip": in_memory(
            Augment(A.Compose([A.Pad(4), A.RandomCrop(32, 32), A.HorizontalFlip()]))
        ),
        "224 px JPEG, middle": photographs(folder, None),
        "224 px JPEG, resized crop and flip": photographs(folder, ResizedCrop((224, 224))),
        "224 px JPEG, torchvision: the same and jitter": photographs(
            folder,
            TorchvisionAugment(
                [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.ColorJitter(*jitter)]
            ),
        ),
        "224 px JPEG, albumentations: the same and jitter": photographs(
            folder,
            Augment(
                A.Compose([A.RandomResizedCrop((224, 224)), A.HorizontalFlip()]),
                A.ColorJitter(*jitter),
            ),
        ),
        "ResNet-18 at 32 px, training": training(),
    }


def rate(batches: Batches, seconds: float) -> float:
    """Images per second of CPU time, which other programs do not change as they do the clock's."""
    made, passes = 0, batches()
    next(passes)  # the order of the epoch, first allocations
    start = time.process_time()
    while True:
        for size in passes:
            made += size
            if time.process_time() - start > seconds:
                return made / (time.process_time() - start)
        passes = batches()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="a pipeline and round")
    parser.add_argument("--only", default="", help="pipelines whose name holds this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder))
        made = pipelines(Path(folder))
        names = [name for name in made if options.only in name]
        rates: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in random.sample(names, len(names)):
                rates[name].append(rate(made[name], options.seconds))
    rows = [
        (name, round(statistics.median(seen)), round(min(seen)), round(max(seen)))
        for name, seen in rates.items()
    ]
    table = ["| pipeline | images/s | slowest and fastest round |", "|---|---:|---:|"]
    table += [f"| {name} | {middle:,} | {low:,} - {high:,} |" for name, middle, low, high in rows]
    print("\n".join(table))
    if not options.only:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["pipeline", "images_per_second", "slowest", "fastest"])
            writer.writerows(rows)
        RESULTS.with_suffix(".md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
