"""Islam, Jia & Bruce (arXiv 2001.08248), Table 4: position that padding alone gives to PosENet.

    python -m experiments.padding_position [ROW ...] [--seeds 5] [--targets H]
    python -m experiments.padding_position --table

PosENet without a network before it: one convolution on the image, resized to 28 x 28 as always. No
photograph is needed: the images are dead leaves, which are the same everywhere, so that whatever is
read is the convolution's own. Protocol as published: SGD .9, decay 1e-4, 15 epochs, rate .1, a
tenth of it from epoch 10, batches of 32, targets from the released 8-bit images at 224 x 224,
values of the images in [0, 1], so that a zero is black; but 2,000 images to train on (paper:
10,553) and 50 to test on (850).

The loss is that of the paper, the mean squared error at 224 x 224, but worked out on the cells
before they are enlarged: enlarging is linear, `U p U^T`, so the squared distance to a target `t` is
`p . (A p A) - 2 p . (U^T t U) + t . t` with `A = U^T U`. It is the same number, 20 times sooner.

A seed decides the weights at the start and the order of the images. Lines of
`results/padding_position.csv` are kept, and a run that is there is not done again. The rows
"circular" and "reflect" are PosENet with padding 1 after `visionpe.set_padding`.
"""

import argparse
import os
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small nets: a second thread would only spin

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments import lines
from visionpe import set_padding
from visionpe.models.posenet import PosENet, resize_corners
from visionpe.paddings.modes import Mode
from visionpe.probing.dead_leaves import dead_leaves
from visionpe.probing.scores import mae, r2, spearman
from visionpe.probing.targets import published
from visionpe.probing.training import Recipe, optimisers

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "padding_position.csv"
TABLE = RESULTS.with_suffix(".md")
IMAGES = ROOT / "runs" / "padding_position" / "images.pt"
TRAIN, TEST, SIDE, MID, BATCH = 2000, 50, 224, 28, 32


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        title: what it is.
        kernel, padding, mode: of the convolution.
        paper: Spearman's correlation and mean absolute error of H, as published.
        centred: give the images mean 0: zeros beyond the border are then nothing special.
    """

    title: str
    kernel: int
    padding: int
    mode: Mode
    paper: tuple[str, str] = ("-", "-")
    centred: bool = False


ROWS = {
    "none": Row("3x3, no padding", 3, 0, "zeros", (".012", ".251")),
    "zeros1": Row("3x3, 1 zero", 3, 1, "zeros", (".274", ".239")),
    "zeros2": Row("3x3, 2 zeros", 3, 2, "zeros", (".397", ".223")),
    "zeros2centred": Row("3x3, 2 zeros, images of mean 0", 3, 2, "zeros", centred=True),
    "circular": Row("3x3, 1 cell, circular", 3, 1, "circular"),
    "reflect": Row("3x3, 1 cell, reflected", 3, 1, "reflect"),
    "k7zeros3": Row("7x7, 3 zeros", 7, 3, "zeros"),
}


def images() -> tuple[Tensor, Tensor]:
    """Dead leaves in [0, 1] as PosENet resizes them first, `n 3 28 28`: to train on, to test on."""
    if not IMAGES.is_file():
        parts = [
            resize_corners(dead_leaves(100, SIDE, SIDE, seed=seed), (MID, MID))
            for seed in range(-(-(TRAIN + TEST) // 100))
        ]
        IMAGES.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.cat(parts), IMAGES)
    every = torch.load(IMAGES, weights_only=True)
    return every[:TRAIN], every[TRAIN : TRAIN + TEST]


class Loss:
    """The mean squared error of enlarged cells to a target, without enlarging them.

    Args:
        truth: `h w`, the target.
        p, q: rows and columns of the cells.
    """

    def __init__(self, truth: Tensor, p: int, q: int) -> None:
        h, w = truth.shape
        down, right = enlarging(p, h), enlarging(q, w)
        self.grams = down.T @ down, right.T @ right
        self.small = down.T @ truth @ right
        self.square = truth.square().sum()
        self.pixels = h * w

    def __call__(self, cells: Tensor) -> Tensor:
        """Of cells `b 1 p q`."""
        smooth = self.grams[0] @ cells @ self.grams[1]
        product = (cells * (smooth - 2 * self.small)).sum((1, 2, 3))
        return (product.mean() + self.square) / self.pixels


def enlarging(n: int, to: int) -> Tensor:
    """`to n`: what PosENet's last interpolation does along an axis."""
    lines_of_one = torch.eye(n)[None]
    return F.interpolate(lines_of_one, to, mode="linear", align_corners=False)[0].T


def fit(net: PosENet, maps: Tensor, truth: Tensor, seed: int, recipe: Recipe) -> float:
    """Trains by the recipe, in a new order each epoch; returns the last epoch's mean loss."""
    draw = torch.Generator().manual_seed(seed)
    rule, schedule = optimisers(net.parameters(), recipe)
    net.train()
    loss = Loss(truth, *net.net(maps[:2]).shape[2:])
    losses: list[float] = []
    for _ in range(recipe.epochs):
        losses = []
        for rows in torch.randperm(len(maps), generator=draw).split(BATCH):
            value = loss(net.net(maps[rows]))
            rule.zero_grad()
            value.backward()
            rule.step()
            losses.append(float(value.detach()))
        schedule.step()
    return sum(losses) / len(losses)


def run(row: str, target: str, seed: int) -> lines.Line:
    """Trains and tests one read-out."""
    _, kernel, padding, mode, _, centred = ROWS[row]
    seen, unseen = images()
    if centred:
        middle = seen.mean((0, 2, 3), keepdim=True)
        seen, unseen = seen - middle, unseen - middle
    truth = published(target, SIDE, SIDE)
    torch.manual_seed(seed)
    net = PosENet(3, kernel=kernel, padding=padding, size_mid=(MID, MID), size_out=(SIDE, SIDE))
    if mode != "zeros":
        set_padding(net, mode)
    started = time.process_time()
    loss = fit(net, seen, truth, seed, Recipe())
    seconds = time.process_time() - started
    values = {name: f"{value:.4f}" for name, value in scores(net, unseen, truth).items()}
    about = {"row": row, "target": target, "seed": str(seed)}
    return {**about, **values, "loss": f"{loss:.5f}", "cpu_s": f"{seconds:.1f}"}


@torch.no_grad()
def scores(net: PosENet, maps: Tensor, truth: Tensor) -> dict[str, float]:
    """Means over the images."""
    net.eval()
    found: dict[str, list[Tensor]] = {"spc": [], "mae": [], "r2": []}
    for batch in maps.split(50):
        predicted = net(batch).flatten(1)
        wanted = truth.flatten().expand_as(predicted)
        for name, score in (("spc", spearman), ("mae", mae), ("r2", r2)):
            found[name].append(score(predicted, wanted))
    return {name: float(torch.cat(values).mean()) for name, values in found.items()}


def table() -> str:
    """The results in Markdown: means over seeds with 95 % intervals."""
    found = lines.read(RESULTS)
    rows = []
    for target in dict.fromkeys(line["target"] for line in found):
        for name, row in ROWS.items():
            group = lines.pick(found, row=name, target=target)
            if group:
                values = [
                    lines.mean([float(line[key]) for line in group]) for key in ("spc", "mae")
                ]
                paper = row.paper if target == "H" else ("-", "-")
                cost = max(float(line["cpu_s"]) for line in group)
                rows.append([target, row.title, str(len(group)), *values, *paper, f"{cost:.0f}"])
    head = ["target", "PosENet alone", "n", "SPC", "MAE", "paper SPC", "paper MAE", "CPU s a run"]
    return lines.table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--targets", nargs="+", default=["H"])
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"ROW must be of {', '.join(ROWS)}, but is {', '.join(sorted(unknown))}.")
    torch.set_num_threads(1)
    for seed in range(
        0 if options.table else options.seeds
    ):  # outside: a stop leaves rows balanced
        for target in options.targets:
            for row in options.rows or ROWS:
                if lines.has(RESULTS, row=row, target=target, seed=seed):
                    continue
                outcome = run(row, target, seed)
                print(*outcome.values(), sep="\t", flush=True)
                lines.keep(RESULTS, [outcome], ("target", "row", "seed"))
    TABLE.write_text(table())
    print(table())


if __name__ == "__main__":
    main()
