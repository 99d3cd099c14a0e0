"""Does an explicit position displace the one that padding gives? CNNs with and without CoordConv.

    python -m experiments.displacement [--seeds 5]
    python -m experiments.displacement --table

A small CNN (three 3x3 convolutions of stride 2 and one of stride 1, 16 to 64 channels, zero
padding, global mean) learns on pieces of clothing from Fashion-MNIST, 20 x 20, put somewhere on a
black 48 x 48 canvas. One task needs no position: *what* it is, 10 classes. The other is only
position: *where* it is, one of 3 x 3 fields. Either net is trained with the places of its cells
(`CoordConv`, attached to the first convolution) or without.

Then `visionpe.probe` reads positions off dead-leaves images, which give none away, and asks how
much of it hangs on what:

- *as trained*: the net as it is;
- *coordinates off*: `visionpe.disabled`: what the same weights still have from their padding;
- *padding off*: circular padding: what is left without a border, that is from the coordinates;
- *untrained*: the same net with random weights.

If an explicit position displaced the padding's, "coordinates off" would fall below the net that
never had coordinates. What can be read need not be used: so the accuracy of the task is told under
the same interventions, without further training. Lines of `results/displacement.csv` are kept, and
done seeds not done again.
"""

import argparse
import math
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small nets: a second thread would only spin

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import visionpe
from experiments import lines
from visionpe.probing.dead_leaves import dead_leaves
from visionpe.probing.result import ProbeResult
from visionpe.probing.twins import padding_twin

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "displacement.csv"
TABLE = RESULTS.with_suffix(".md")
CANVAS, ITEM, FIELDS = 48, 20, 3
TRAIN, TEST, EPOCHS, BATCH = 3000, 500, 5, 64
LAYERS = ["1", "3", "5", "7"]
TASKS, NETS = ("what", "where"), ("plain", "coordconv")
TARGETS = ("H", "V")


def network() -> nn.Sequential:
    """Modules 1, 3, 5 and 7 are the maps that are probed."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


def scenes(data: Path, n: int, part: str, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Images `n 1 48 48` in [0, 1], and the label of each task."""
    from torchvision.datasets import FashionMNIST

    items = FashionMNIST(str(data), train=part == "train", download=False)
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(items), generator=draw)[:n]
    small = F.interpolate(items.data[chosen][:, None] / 255, (ITEM, ITEM), mode="area")
    tops, lefts = torch.randint(CANVAS - ITEM + 1, (2, n), generator=draw)
    images = torch.zeros(n, 1, CANVAS, CANVAS)
    for image, item, top, left in zip(images, small, tops.tolist(), lefts.tolist(), strict=True):
        image[:, top : top + ITEM, left : left + ITEM] = item
    rows, columns = (FIELDS * at // (CANVAS - ITEM + 1) for at in (tops, lefts))
    return images, {"what": items.targets[chosen], "where": FIELDS * rows + columns}


def train(net: nn.Module, images: Tensor, labels: Tensor, seed: int) -> None:
    """Adam with one cosine cycle."""
    draw = torch.Generator().manual_seed(seed)
    steps = EPOCHS * -(-len(images) // BATCH)
    rule = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(rule, 3e-3, total_steps=steps)
    net.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images), generator=draw).split(BATCH):
            rule.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            rule.step()
            schedule.step()
    net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float((net(images).argmax(-1) == labels).float().mean())


def run(task: str, kind: str, seed: int, data: Path) -> list[lines.Line]:
    """Trains one net and probes it: a line for each layer, target and state."""
    started = time.process_time()
    images, labels = scenes(data, TRAIN, "train", seed)
    unseen, answers = scenes(data, TEST, "test", 1000 + seed)
    torch.manual_seed(seed)
    net = network()
    if kind == "coordconv":
        visionpe.attach(net, visionpe.CoordConv(), at="first", size=(CANVAS, CANVAS))
    train(net, images, labels[task], seed)
    found, right = {"as trained": probe(net)}, {"as trained": accuracy(net, unseen, answers[task])}
    if kind == "coordconv":
        with visionpe.disabled(net):
            found["coordinates off"] = probe(net)
            right["coordinates off"] = accuracy(net, unseen, answers[task])
    right["padding off"] = accuracy(padding_twin(net, "circular"), unseen, answers[task])
    seconds = time.process_time() - started
    about = {"task": task, "net": kind, "seed": str(seed)}
    states = [(state, "model", result) for state, result in found.items()]
    states.append(("padding off", "padding=circular", found["as trained"]))
    states.append(("untrained", "random weights", found["as trained"]))
    states.append(("null", "shuffled", found["as trained"]))
    return [
        {
            **about,
            **{"state": state, "layer": layer, "target": target},
            **{"spearman": f"{mean.spearman:.4f}", "r2": f"{mean.r2:.4f}"},
            **{"accuracy": f"{right.get(state, float('nan')):.4f}", "cpu_s": f"{seconds:.0f}"},
        }
        for state, condition, result in states
        for layer in LAYERS
        for target in TARGETS
        for mean in [result.mean(layer, target, condition)]
    ]


def probe(net: nn.Module) -> ProbeResult:
    """Off 64 dead-leaves images, in [0, 1] as the scenes are."""
    images = dead_leaves(64, CANVAS, CANVAS, channels=1)
    return visionpe.probe(net, images, layers=LAYERS, targets=TARGETS, seeds=2, batch_size=32)


def table() -> str:
    """Rank correlation, mean of H and V, with 95 % intervals over seeds, in Markdown."""
    found = lines.read(RESULTS)
    rows = []
    for task in TASKS:
        for kind in NETS:
            mine = lines.pick(found, task=task, net=kind)
            seeds = list(dict.fromkeys(line["seed"] for line in mine))
            spent = [float(lines.pick(mine, seed=seed)[0]["cpu_s"]) for seed in seeds]
            for state in dict.fromkeys(line["state"] for line in mine):
                cells = [task, "CoordConv" if kind == "coordconv" else "plain", state]
                for layer in LAYERS:
                    means = []
                    for seed in seeds:
                        group = lines.pick(mine, state=state, layer=layer, seed=seed)
                        means.append(sum(float(line["spearman"]) for line in group) / len(group))
                    cells.append(lines.mean(means, 2))
                right = [
                    100 * float(lines.pick(mine, state=state, seed=seed)[0]["accuracy"])
                    for seed in seeds
                ]
                told = "-" if any(map(math.isnan, right)) else lines.mean(right, 1)
                rows.append([*cells, told, str(len(seeds)), f"{statistics.fmean(spent):.0f}"])
    head = ["task", "net", "state", *(f"map {i + 1}" for i in range(len(LAYERS)))]
    return lines.table([*head, "accuracy, %", "n", "CPU s a run"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="of `make assets`")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(0 if options.table else options.seeds):  # outside: a stop leaves it balanced
        for task in TASKS:
            for kind in NETS:
                if not lines.has(RESULTS, task=task, net=kind, seed=seed):
                    outcome = run(task, kind, seed, options.data)
                    print(task, kind, seed, outcome[0]["accuracy"], outcome[0]["cpu_s"], flush=True)
                    keys = ("task", "net", "seed", "state", "layer", "target")
                    lines.keep(RESULTS, outcome, keys)
    TABLE.write_text(table())
    print(table())


if __name__ == "__main__":
    main()
