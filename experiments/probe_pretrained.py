"""Position in pretrained CNNs and in ViTs, layer by layer, beside the controls of `visionpe.probe`.

    python -m experiments.probe_pretrained [MODEL ...] [--data data] [--images 50]
    python -m experiments.probe_pretrained --table

Weights and photographs are those of `make assets`: MobileNetV2 (torchvision, ImageNet) and
EfficientNet-Lite0 (timm, ImageNet), 50 random crops of 20 photographs at 224 x 224. The ViTs have
random weights, for want of others: they show what a table of positions, and attention without one,
give before any training. The read-out is a linear rule of one cell, 3 splits. Photographs are
split, not crops: none is both fitted to and tested on.

Each model's page is written to `runs/probe_pretrained/MODEL/`, and its scores become lines of
`results/probe_pretrained.csv`; a model whose folder is there is not probed again.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

import visionpe
from experiments import lines
from visionpe.data.photographs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalised,
    find_photographs,
    photograph_of,
    random_crops,
)
from visionpe.plots import png
from visionpe.probing.pictures_curves import curves
from visionpe.probing.result import ProbeResult

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "probe_pretrained"
RESULTS = Path(__file__).parent / "results" / "probe_pretrained.csv"
TABLE = RESULTS.with_suffix(".md")
PICTURE = ROOT / "docs" / "images" / "probe.png"
SIDE = 224
HALF = (0.5, 0.5, 0.5)


class Subject(NamedTuple):
    """A model of the table.

    Attributes:
        title: what it is.
        make: of the folder of assets, the model.
        layers: that are probed.
        mean, std: of its images.
    """

    title: str
    make: Callable[[Path], nn.Module]
    layers: list[str]
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF


def mobilenet(data: Path) -> nn.Module:
    from torchvision.models import mobilenet_v2

    model: nn.Module = mobilenet_v2()
    state = torch.load(data / "weights" / "mobilenet_v2-b0353104.pth", weights_only=True)
    model.load_state_dict(state)
    return model


def efficientnet(data: Path) -> nn.Module:
    """Another implementation's file: the same tensors in the same order under other names."""
    import timm

    model: nn.Module = timm.create_model("tf_efficientnet_lite0")
    file = data / "weights" / "efficientnet-lite0-57934424.pth"
    state = torch.load(file, weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model


def vit(data: Path) -> nn.Module:
    import timm

    torch.manual_seed(0)
    model: nn.Module = timm.create_model("vit_tiny_patch16_224")
    return model


def vit_without(data: Path) -> nn.Module:
    model = vit(data)
    visionpe.remove(model, "learned")
    return model


BLOCKS = ["blocks.0", "blocks.3", "blocks.7", "blocks.11"]
SUBJECTS = {
    "mobilenet_v2": Subject(
        "MobileNetV2, ImageNet",
        mobilenet,
        ["features.1", "features.3", "features.6", "features.13", "features.17"],
        IMAGENET_MEAN,
        IMAGENET_STD,
    ),
    "efficientnet_lite0": Subject(
        "EfficientNet-Lite0, ImageNet",
        efficientnet,
        ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6"],
    ),
    "vit_tiny": Subject("ViT-Ti/16, random weights, learned table", vit, BLOCKS),
    "vit_tiny_without": Subject("ViT-Ti/16, random weights, table removed", vit_without, BLOCKS),
}
COLUMNS = {
    "model": "model",
    "padding=reflect": "reflect",
    "padding=replicate": "replicate",
    "padding=circular": "circular",
    "padding=none": "none",
    "random weights": "random weights",
    "permuted": "mixed-up images",
    "control task": "by heart",
    "shuffled": "shuffled",
    "random weights, padding=circular": "random, circular",
}


def run(name: str, data: Path, images: int) -> ProbeResult:
    """Probes one model and keeps its page."""
    subject = SUBJECTS[name]
    files = find_photographs(data / "photos")
    crops = random_crops(files, images, SIDE, SIDE)
    started = time.process_time()
    result = visionpe.probe(
        subject.make(data),
        Normalised(crops, 10, subject.mean, subject.std),
        layers=subject.layers,
        seeds=3,
        groups=photograph_of(images, files),
        progress=lambda done, total, what: print(f"\r{done}/{total} {what:40}", end="", flush=True),
    )
    print(f"\n{name}: {time.process_time() - started:.0f} CPU s")
    result.save(RUNS / name)
    if name == "mobilenet_v2":
        PICTURE.write_bytes(png(curves(result), dpi=110))
    return result


def scores(name: str, result: ProbeResult) -> list[lines.Line]:
    """A line for each layer, target and condition."""
    found = []
    for mean in result.means:
        low, high = mean.spearman_interval
        values = (mean.spearman, low, high, mean.mae, mean.r2)
        keys = ("spearman", "low", "high", "mae", "r2")
        found.append(
            {
                "model": name,
                "layer": mean.layer,
                "target": mean.target,
                "condition": mean.condition,
                **{key: f"{value:.4f}" for key, value in zip(keys, values, strict=True)},
                "seeds": str(mean.seeds),
                "n": str(result.meta["images"]),
                "cpu_s": f"{result.meta['seconds']:.0f}",
            }
        )
    return found


def table() -> str:
    """Rank correlation of H, V and G together, layer by layer: means of the three, in Markdown."""
    found = lines.read(RESULTS)
    rows = []
    for name, subject in SUBJECTS.items():
        mine = lines.pick(found, model=name)
        for layer in dict.fromkeys(line["layer"] for line in mine):
            cells = [subject.title, f"`{layer}`"]
            for condition in COLUMNS:
                group = lines.pick(mine, layer=layer, condition=condition)
                cells.append(_three(group, own=condition == "model"))
            rows.append([*cells, mine[0]["n"], mine[0]["seeds"], mine[0]["cpu_s"]])
    return lines.table(
        ["model", "layer", *COLUMNS.values(), "images", "splits", "CPU s, all layers"], rows
    )


def _three(group: list[lines.Line], *, own: bool) -> str:
    """H / V / G; of the model itself in bold, with 95 % intervals."""
    by_target = {line["target"]: line for line in group}
    if not by_target:
        return "-"
    chosen = [by_target[target] for target in ("H", "V", "G")]
    if not own:
        return " / ".join(_two(line["spearman"]) for line in chosen)
    return " / ".join(
        f"**{_two(line['spearman'])}** ({_two(line['low'])} to {_two(line['high'])})"
        for line in chosen
    )


def _two(value: str) -> str:
    """Two digits, and no negative zero."""
    return f"{round(float(value), 2) + 0.0:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(SUBJECTS))
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="of `make assets`")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--table", action="store_true", help="only write the table again")
    options = parser.parse_args()
    if unknown := set(options.models) - set(SUBJECTS):
        parser.error(f"MODEL must be of {', '.join(SUBJECTS)}, not {', '.join(sorted(unknown))}.")
    torch.set_num_threads(1)
    for name in [] if options.table else options.models or SUBJECTS:
        if not lines.has(RESULTS, model=name):
            outcome = scores(name, run(name, options.data, options.images))
            lines.keep(RESULTS, outcome, ("model", "layer", "target", "condition"))
    TABLE.write_text(table())
    print(table())


if __name__ == "__main__":
    main()
