"""The closed-form read-out against the published one, trained by SGD: the same answer, and when.

    python -m experiments.probe_speed [--data data] [--epochs 15 60]

One layer of MobileNetV2 (ImageNet, `features.13`, 96 channels at 14 x 14), 50 crops of photographs
at 224 x 224, five targets, three splits. Either read-out is one 3x3 convolution without padding:
fitted by ridge regression, or PosENet trained as published (SGD .9, 15 epochs, rate .1, a tenth of
it for the last third) or for more epochs, as 35 images are few. Both get the same maps, which
are computed once; what that takes is a line of its own, and would come on top of every epoch where
they are not kept. The last line is the whole of `visionpe.probe`: every control and twin too.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

import visionpe
from experiments import lines
from experiments.probe_pretrained import ROOT, SIDE, SUBJECTS
from visionpe.data.photographs import Normalised, find_photographs, random_crops
from visionpe.probing.features import record
from visionpe.probing.linear import Ridge
from visionpe.probing.readout import TEST, Readout
from visionpe.probing.scores import r2, spearman
from visionpe.probing.splits import split
from visionpe.probing.targets import TARGETS
from visionpe.probing.trained import Trained
from visionpe.probing.training import Recipe

RESULTS = Path(__file__).parent / "results" / "probe_speed.csv"
TABLE = RESULTS.with_suffix(".md")
LAYER, IMAGES, SPLITS, BATCH = "features.13", 50, 3, 10
ASKED = ("H", "V", "G", "HS", "VS")


def fit(readout: Readout, maps: Tensor) -> dict[str, str]:
    """Fits on the training images of each split and tests on the others."""
    roles = torch.stack([split(len(maps), seed) for seed in range(SPLITS)])
    started = time.process_time()
    fitting = readout.begin(*maps.shape[1:], outputs=len(ASKED), splits=SPLITS)
    truth = torch.stack([fitting.truth(TARGETS[name]) for name in ASKED])
    done = False
    while not done:
        for batch, role in zip(maps.split(BATCH), roles.split(BATCH, 1), strict=True):
            fitting.update(batch, truth.expand(len(batch), -1, -1, -1), role)
        done = fitting.finish()
    seconds = time.process_time() - started
    found = {"spearman": torch.zeros(len(ASKED)), "r2": torch.zeros(len(ASKED))}
    for seed, role in enumerate(roles):
        predicted = fitting.predict(maps[role == TEST])[seed].flatten(2)
        wanted = truth.flatten(1).expand_as(predicted)
        for name, score in (("spearman", spearman), ("r2", r2)):
            found[name] += score(predicted, wanted).float().mean(0) / SPLITS
    scores = {
        f"{name} {target}": f"{float(value):.3f}"
        for name, values in found.items()
        for target, value in zip(ASKED, values, strict=True)
    }
    return {"cpu_s": f"{seconds:.2f}", **scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="of `make assets`")
    parser.add_argument("--epochs", type=int, nargs="+", default=[15, 60])
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = SUBJECTS["mobilenet_v2"]
    model = subject.make(options.data)
    crops = random_crops(find_photographs(options.data / "photos"), IMAGES, SIDE, SIDE)
    images = Normalised(crops, BATCH, subject.mean, subject.std)
    with record(model, [LAYER], (SIDE, SIDE)) as maps_of:
        started = time.process_time()
        maps = torch.cat([maps_of(batch)[LAYER] for batch in images])
        features = time.process_time() - started
    found = {"ridge, closed form": fit(Ridge(kernel=3), maps)}
    for epochs in options.epochs:
        recipe = Recipe(epochs=epochs, decay_at=2 * epochs // 3)
        found[f"PosENet, SGD, {epochs} epochs"] = fit(Trained(recipe=recipe), maps)
    started = time.process_time()
    visionpe.probe(model, images, layers=[LAYER], seeds=SPLITS)
    whole = time.process_time() - started
    first = float(found["ridge, closed form"]["cpu_s"])
    rows = []
    for name, line in found.items():
        scores = (" / ".join(line[f"{score} {t}"] for t in ASKED) for score in ("spearman", "r2"))
        seconds = float(line["cpu_s"])
        rows.append([name, f"{seconds:.2f}", f"{seconds / first:.0f}x", *scores])
    rows.append(["features of all images, once", f"{features:.2f}", "-", "-", "-"])
    rows.append(["`visionpe.probe`, all controls and twins", f"{whole:.0f}", "-", "-", "-"])
    head = ["", "CPU s", "of ridge", "Spearman H / V / G / HS / VS", "R² H / V / G / HS / VS"]
    lines.keep(RESULTS, [{"readout": k, **v} for k, v in found.items()], ["readout"])
    TABLE.write_text(lines.table(head, rows))
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
