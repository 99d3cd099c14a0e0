"""What a probe of many images holds in memory: ResNet-50, 10,000 images of 224 x 224.

    python -m benchmarks.streaming [--images 10000] [--layers layer1 layer2 layer3 layer4]

One condition of `visionpe.probe`, the model itself, by the classes it is made of: the survey of the
images, ridge fitted to 70 % of them and tested on the others, five targets. The network is random:
other weights take as much memory. The images are 64 generated ones, each rolled, flipped and its
colours exchanged anew from its number, so that none is kept and each reading gives the same. The
peak is the whole process's, torch and its libraries included.
"""

import argparse
import resource
import time
from collections.abc import Iterator

import torch
import torchvision
from torch import Tensor

import visionpe
from visionpe.probing.controls import MODEL, SHUFFLED, Condition
from visionpe.probing.gathering import gather
from visionpe.probing.images import Images, survey
from visionpe.probing.layers import find_layers
from visionpe.probing.measuring import Group
from visionpe.probing.plan import Plan
from visionpe.probing.splits import split
from visionpe.probing.targets import TARGETS

BATCH = 16
SIDE = 224
TARGET_NAMES = ("H", "V", "G", "HS", "VS")


class Rolled:
    """Batches of images, each made from its number when it is asked for."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.bases = (visionpe.dead_leaves(64, SIDE, SIDE, periodic=True) - 0.5) * 12**0.5

    def __iter__(self) -> Iterator[Tensor]:
        for numbers in torch.arange(self.n).split(BATCH):
            yield torch.stack([self.image(int(i)) for i in numbers])

    def image(self, i: int) -> Tensor:
        """Image number `i`."""
        draw = torch.Generator().manual_seed(i)
        y, x, flip = torch.randint(0, SIDE, (3,), generator=draw).tolist()
        image = self.bases[i % len(self.bases)].roll((y, x), (1, 2))
        return (image.flip(2) if flip % 2 else image)[torch.randperm(3, generator=draw)]


def peak() -> float:
    """The most that the process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--layers", nargs="+", default=["layer1", "layer2", "layer3", "layer4"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = torchvision.models.resnet50().eval()
    images = Images(Rolled(options.images))
    print(f"before: {peak():.2f} GiB at most", flush=True)
    begun = time.process_time()
    known = survey(images)
    print(f"survey: {time.process_time() - begun:.0f} s, {peak():.2f} GiB", flush=True)

    layers = find_layers(visionpe.trace(model, SIDE, SIDE), model, options.layers)
    groups = [Group(layer.name, (layer,), None) for layer in layers]
    targets = {name: TARGETS[name] for name in TARGET_NAMES}
    splits = split(known.n, 0)[None]
    plan = Plan(groups, visionpe.Ridge(), targets, splits, images, known)
    plan.require_enough()

    def progress(done: int, of: int, name: str) -> None:
        if done % 50 == 0:
            spent = time.process_time() - begun
            print(f"batch {done} of {of}: {spent:.0f} s, {peak():.2f} GiB", flush=True)

    only = Condition(MODEL, lambda: model, lambda batch, first: batch)
    found, seconds, failed = plan.run([only], progress)
    assert not failed
    spent = time.process_time() - begun
    print(f"{known.n} images, {len(groups)} layers: {spent:.0f} s, {peak():.2f} GiB at most")
    for mean in gather(found, seconds, plan.trained)[1]:
        if mean.condition in (MODEL, SHUFFLED):
            what = f"{mean.layer} {mean.target} {mean.condition}, n {mean.n_images}"
            print(f"{what}: Spearman {mean.spearman:.3f}, R^2 {mean.r2:.3f}")


if __name__ == "__main__":
    main()
