"""`visionpe fit` against a bare PyTorch loop that does the same work: images a second.

    python -m benchmarks.train [--rounds 9] [--steps 3] [--batch 128] [--threads 2] [--net resnet18]

ResNet-18 with its 3x3 stem on 32 x 32 images in memory, windows and mirror images, SGD, one cosine:
the command line's own run, with its run folder, logs and checkpoints, and a loop of twelve lines on
the same loader. Interleaved in one process: after every few steps of the run, as many of the loop;
a round of the run lasts from the end of one round of the loop to the start of the next, so that all
that the framework does is in it. `--net tiny` measures that alone, in milliseconds a step.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

words = argparse.ArgumentParser(description=__doc__)
words.add_argument("--rounds", type=int, default=9)
words.add_argument("--steps", type=int, default=3, help="of a round")
words.add_argument("--batch", type=int, default=128)
words.add_argument("--threads", type=int, default=2)
words.add_argument("--net", choices=["resnet18", "tiny"], default="resnet18")
words.add_argument("--encoding", help="attached to both, for instance visionpe.CoordConv")
OPTIONS = words.parse_args()
os.environ["OMP_NUM_THREADS"] = str(OPTIONS.threads)

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionpe.cli import noise
from visionpe.cli.lightning import VisionPECLI
from visionpe.data.batched import BatchAugment
from visionpe.data.image_data import ImageData, Part, Pixels
from visionpe.tasks.classification import Classification
from visionpe.tasks.decay import parameter_groups
from visionpe.tasks.schedules import warmup_cosine

RESULTS = Path(__file__).parent / "results" / "train.csv"
WARM = 2  # rounds that are not counted
CHANNELS = 3


class Noise(ImageData):
    """Random images in CIFAR's shape, in memory.

    Args:
        n: how many.
        batch_size: images a batch.
    """

    num_classes = 10
    channels = CHANNELS
    image_size = (32, 32)
    mean, std = (0.5,) * CHANNELS, (0.25,) * CHANNELS

    def __init__(self, n: int = 50_000, batch_size: int = 128) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=None,
            augment=BatchAugment(),
            mix=None,
            num_workers=0,
            seed=0,
        )
        self.class_names = tuple(map(str, range(10)))
        generator = torch.Generator().manual_seed(0)
        shape = (n, CHANNELS, *self.image_size)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        self.pixels = Pixels(images, torch.arange(n) % 10)

    def read(self, part: Part) -> Pixels | None:
        """The training part alone."""
        return self.pixels if part == "train" else None


def loop(task: Classification, data: Noise, total: int) -> Iterator[None]:
    """A bare loop on a network like the task's; one step at each turn."""
    network: nn.Module = task.network
    groups = parameter_groups(network, 5e-4)
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    factor = partial(warmup_cosine, steps=total, warmup=round(0.05 * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    network.train()
    while True:
        for images, target, frame in data.train_dataloader():
            images = images.contiguous(memory_format=torch.channels_last)
            logits: Tensor = network(images, frame=frame) if task.takes_frames else network(images)
            loss = F.cross_entropy(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield


class Interleave(L.Callback):
    """Runs a round of the loop after each round of the run, and times both."""

    def __init__(self, bare: Iterator[None]) -> None:
        self.bare = bare
        self.fit: list[float] = []
        self.loop: list[float] = []
        self.begun = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """At the first step of a round of the run, the loop has its turn."""
        if batch_idx % OPTIONS.steps:
            return
        if batch_idx:
            self.fit.append(time.perf_counter() - self.begun)
        start = time.perf_counter()
        for _ in range(OPTIONS.steps):
            next(self.bare)
        self.loop.append(time.perf_counter() - start)
        self.begun = time.perf_counter()


def backbone() -> dict[str, Any]:
    if OPTIONS.net == "tiny":
        arguments = {"width": 2, "depth": 1}
        return {"class_path": "visionpe.models.convnet.ConvNet", "init_args": arguments}
    return {"class_path": "visionpe.models.resnet.ResNet", "init_args": {}}


def measure(folder: str) -> Interleave:
    """The times of all rounds."""
    total = (OPTIONS.rounds + WARM + 1) * OPTIONS.steps
    data = Noise(batch_size=OPTIONS.batch)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_classes": 10, "channels": CHANNELS, "image_size": (32, 32)}
    options: dict[str, Any] = {"encodings": OPTIONS.encoding, "channels_last": True}
    bare = Classification(backbone(), **sizes, **options)
    interleave = Interleave(loop(bare, data, total))
    arguments = [
        *("--model", "visionpe.tasks.Classification", "--model.channels_last", "true"),
        *("--model.backbone", str(backbone())),
        *("--model.optimizer", "{opt: sgd, lr: 0.1, weight_decay: 0.0005}"),
        *("--model.num_classes", "10", "--model.channels", "3", "--model.image_size", "[32, 32]"),
        *("--trainer.max_steps", str(total), "--trainer.accelerator", "cpu", "--run.dir", folder),
        *("--trainer.limit_val_batches", "0"),
    ]
    if OPTIONS.encoding:
        arguments += ["--model.encodings", OPTIONS.encoding]
    with noise.quiet(scoring=False):
        cli = VisionPECLI("fit", arguments)
        cli.trainer.callbacks.append(interleave)  # type: ignore[attr-defined]
        cli.datamodule = data
        cli.run()
        cli.close(failed=False)
    return interleave


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(folder)
    fit, bare = found.fit[WARM:], found.loop[WARM : len(found.fit)]
    images = OPTIONS.steps * OPTIONS.batch
    ratios = sorted(a / b for a, b in zip(fit, bare, strict=True))
    middle = {"fit": statistics.median(fit), "loop": statistics.median(bare)}
    row = {
        "net": OPTIONS.net,
        "encoding": OPTIONS.encoding or "none",
        "batch": OPTIONS.batch,
        "threads": OPTIONS.threads,
        "rounds": len(fit),
        "fit_images_s": round(images / middle["fit"], 1),
        "loop_images_s": round(images / middle["loop"], 1),
        "time_ratio": round(statistics.median(ratios), 4),
        "ratio_low": round(ratios[len(ratios) // 4], 4),
        "ratio_high": round(ratios[-1 - len(ratios) // 4], 4),
        "more_ms_a_step": round(1e3 * (middle["fit"] - middle["loop"]) / OPTIONS.steps, 3),
    }
    for name, value in row.items():
        print(f"{name:>16}  {value}")
    new = not RESULTS.exists()
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
