"""What a probe costs: a layer of MobileNetV2 with all controls, and ridge beside SGD.

    python -m benchmarks.probing [--weights data/weights/mobilenet_v2-b0353104.pth] [--images 50]

Images are generated (dead leaves, 224 x 224); without `--weights` the network is random. Processor
time of one thread. The second part caches the maps at 28 x 28, in favour of SGD, which needs
them in every epoch: the published read-out (PosENet, 3 x 3) as published, 15 epochs, and then as
many epochs as it takes to come within 0.02 of the R^2 of ridge regression on the same windows.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Iterator
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

import visionpe
from visionpe.models.posenet import PosENet, resize_corners
from visionpe.probing.readout import TEST
from visionpe.probing.scores import r2, spearman
from visionpe.probing.splits import split
from visionpe.probing.targets import TARGETS
from visionpe.probing.training import Recipe, train

LAYER = "features.13"
TARGET_NAMES = ("H", "V", "G", "HS", "VS")
MOST_EPOCHS = 1500
SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--skip-sgd", action="store_true")
    words = parser.parse_args()
    torch.set_num_threads(1)
    model = torchvision.models.mobilenet_v2()
    if words.weights:
        model.load_state_dict(torch.load(words.weights, weights_only=True))
    images = (visionpe.dead_leaves(words.images, 224, 224, periodic=True) - 0.5) * 12**0.5

    begun = time.process_time()
    result = visionpe.probe(model, images, layers=[LAYER], seeds=SEEDS)
    print(result)
    print(result.table("r2"))
    print(f"probe: {time.process_time() - begun:.1f} s, {words.images} images, {SEEDS} seeds")
    if not words.skip_sgd:
        compare(maps_at_28(model, images))


def maps_at_28(model: nn.Module, images: Tensor) -> Tensor:
    with visionpe.record(model, [LAYER], (224, 224)) as maps_of:
        parts = [resize_corners(maps_of(b)[LAYER], (28, 28)) for b in images.split(16)]
    return torch.cat(parts)


def compare(maps: Tensor) -> None:
    """Ridge and PosENet on the same windows of the same maps, tested on the same images."""
    splits = torch.stack([split(len(maps), seed) for seed in range(SEEDS)])
    truth = torch.stack([TARGETS[name](28, 28)[1:-1, 1:-1] for name in TARGET_NAMES])
    begun = time.process_time()
    fitting = visionpe.Ridge(kernel=3).begin(*maps.shape[1:], outputs=len(truth), splits=SEEDS)
    for part in torch.arange(len(maps)).split(16):
        fitting.update(maps[part], truth.expand(len(part), -1, -1, -1), splits[:, part])
    fitting.finish()
    exact = fitting.predict(maps)
    ridge_seconds = time.process_time() - begun
    wanted = torch.stack(
        [scored(p[s == TEST], truth)[1] for p, s in zip(exact, splits, strict=True)]
    )
    show("ridge", ridge_seconds, exact, splits, truth)

    # As published, but compared before it is resized to the image: at the windows' centres.
    recipe = partial(Recipe, lr=0.1)
    for epochs in (15, MOST_EPOCHS):
        begun = time.process_time()
        predicted, spent = [], []
        for seed, roles in enumerate(splits):
            torch.manual_seed(seed)
            net = PosENet(maps.shape[1], len(truth), size_out=(26, 26))
            used = maps[roles != TEST]
            plan = recipe(epochs=epochs, decay_at=10 if epochs == 15 else MOST_EPOCHS)
            for epoch, _ in enumerate(train(net, Batches(used, truth), plan), 1):
                if epochs != 15 and epoch % 25 == 0:
                    with torch.no_grad():
                        found = scored(net.eval()(maps[roles == TEST]), truth)[1]
                    if bool((found >= wanted[seed] - 0.02).all()):
                        break
            spent.append(epoch)
            with torch.no_grad():
                predicted.append(net.eval()(maps))
        seconds = time.process_time() - begun
        show(f"SGD, epochs {spent}", seconds, torch.stack(predicted), splits, truth)
        print(f"  {seconds / ridge_seconds:.1f} times the time of ridge")


class Batches:
    """Batches of 32 in a new order each time."""

    def __init__(self, maps: Tensor, truth: Tensor) -> None:
        self.maps = maps
        self.truth = truth

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.randperm(len(self.maps)).split(32):
            yield self.maps[part], self.truth[None]


def scored(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Spearman and R^2 of each target, means over images."""
    goal = truth.expand(len(predicted), -1, -1, -1).flatten(2)
    return (
        spearman(predicted.flatten(2), goal).mean(0),
        r2(predicted.flatten(2), goal).mean(0),
    )


def show(name: str, seconds: float, predicted: Tensor, splits: Tensor, truth: Tensor) -> None:
    scores = [scored(p[s == TEST], truth) for p, s in zip(predicted, splits, strict=True)]
    rank, share = (torch.stack(part).mean(0).tolist() for part in zip(*scores, strict=True))
    print(f"{name}: {seconds:.2f} s for {len(truth)} targets, {len(splits)} seeds")
    for target, a, b in zip(TARGET_NAMES, rank, share, strict=True):
        print(f"  {target:3} Spearman {a:.3f}  R^2 {b:.3f}")


if __name__ == "__main__":
    main()
