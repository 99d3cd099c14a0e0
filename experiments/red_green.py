"""Red/Green and Rook (Kayhan & van Gemert, arXiv 2003.07064): padding tells a CNN where it is.

    python experiments/red_green.py [ROW ...] [--seeds 10] [--splits faithful clean]
    python experiments/red_green.py --table

Two squares lie side by side, and the class is which colour is on the left. One class is only shown
in the upper half, the other only in the lower. A net that goes by the colours answers the same when
the halves are swapped ("dissimilar"); a net that goes by the place is wrong there.

In the released code, validation and test images are the first thousand of the 2,000 training ones.
That is the *faithful* split here, with one draw of images for all seeds, as there; in the *clean*
split all three are disjoint and drawn anew for every seed. Lines of `results/red_green.csv` are
kept, and a run that is there is not done again. Seeds are 0, 1, 2, ...; no setting was chosen by
them.
"""

import argparse
import copy
import csv
import math
import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small nets: a second thread would only spin

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionpe.models.red_green import RedGreen, Rook

RESULTS = Path(__file__).parent / "results" / "red_green.csv"
TABLE = RESULTS.with_suffix(".md")
SIDE, BOX = 32, 4
UPPER, SWAP, SWAY = 7, 16, 4  # row of the upper class, distance of the lower, rows from -4 to 3
TRAIN, TEST = 2000, 1000
PIECE = ("#..#..#", "#######", ".#####.", ".#####.", ".#####.", ".#####.", "#######")
ROOK_EPOCHS = 300
FIELDS = ["row", "split", "seed", "similar", "dissimilar", "epochs", "cpu_s"]


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        title: what it is.
        net: its padding, and the mode of it.
        paper: similar and dissimilar test accuracy, as published.
    """

    title: str
    net: tuple[int, str]
    paper: tuple[str, str]


ROWS = {
    "valid": Row("V-Conv, no padding", (0, "zeros"), ("100.0 +- 0.0", "0.2 +- 0.1")),
    "same": Row("S-Conv, zero padding", (1, "zeros"), ("99.8 +- 0.1", "8.4 +- 0.7")),
    "circular": Row("S-Conv, circular padding", (1, "circular"), ("73.7 +- 1.0", "73.7 +- 1.0")),
    "full": Row("F-Conv, full padding", (2, "zeros"), ("89.7 +- 0.5", "89.7 +- 0.5")),
}


class Scenes(NamedTuple):
    """Images `n 3 32 32`, labels, and the same images with the halves swapped."""

    images: Tensor
    labels: Tensor
    swapped: Tensor

    def take(self, first: int, end: int) -> "Scenes":
        """Those from `first` up to `end`."""
        return Scenes(*(part[first:end] for part in self))


def scenes(n: int, seed: int) -> Scenes:
    """Draws scenes; classes alternate.

    The left square's left edge is uniform in 0..9, the right one's in what lies at least 5 to its
    right, up to 27; each top edge is uniform in -4..3 around the class's row.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    left = torch.randint(SIDE // 2 - BOX // 2 - BOX, (n,), generator=draw)
    room = SIDE - BOX - (left + BOX + 1)
    right = left + BOX + 1 + (torch.rand(n, generator=draw) * room).long()
    tops = UPPER + torch.randint(-SWAY, SWAY, (2, n), generator=draw)
    return Scenes(
        paint(left, right, tops + SWAP * labels, labels),
        labels,
        paint(left, right, tops + SWAP * (1 - labels), labels),
    )


def paint(left: Tensor, right: Tensor, tops: Tensor, labels: Tensor) -> Tensor:
    """`n 3 32 32`: red is on the left in class 0, green in class 1; blue is nowhere."""
    cells = torch.arange(SIDE)
    images = torch.zeros(len(left), 3, SIDE, SIDE)
    for column, top, channel in ((left, tops[0], labels), (right, tops[1], 1 - labels)):
        rows = (cells >= top[:, None]) & (cells < top[:, None] + BOX)
        columns = (cells >= column[:, None]) & (cells < column[:, None] + BOX)
        square = (rows[:, :, None] & columns[:, None]).float()
        images[torch.arange(len(left)), channel] += square
    return images


def splits(split: str, seed: int) -> tuple[Scenes, Scenes, Scenes]:
    """Train, validation and test scenes."""
    if split == "faithful":
        train = scenes(TRAIN, 1988)
        return train, train.take(0, TEST), train.take(0, TEST)
    drawn = scenes(3 * (TRAIN + 2 * TEST), 20_000 + seed)
    _, group = torch.unique(drawn.images.flatten(1), dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(group)).scatter_reduce(
        0, group, torch.arange(len(group)), "amin"
    )
    even, odd = (first[drawn.labels[first] == label].sort().values for label in (0, 1))
    half = (TRAIN + 2 * TEST) // 2
    alone = torch.stack([even[:half], odd[:half]], 1).flatten()  # no image twice, classes alternate
    every = Scenes(*(part[alone] for part in drawn))
    return (
        every.take(0, TRAIN),
        every.take(TRAIN, TRAIN + TEST),
        every.take(TRAIN + TEST, TRAIN + 2 * TEST),
    )


def train(net: nn.Module, data: Scenes, held: Scenes, *, epochs: int = 50, batch: int = 200) -> int:
    """The released code's training; leaves the best weights in the net.

    Adadelta, batches in one order, and a stop when the validation loss has not fallen for more than
    8 epochs.

    Returns:
        Epochs trained.
    """
    rule = torch.optim.Adadelta(net.parameters(), lr=1.0, rho=0.9, eps=1e-6, weight_decay=5e-5)
    best, kept, waited, done = math.inf, copy.deepcopy(net.state_dict()), 0, 0
    while done < epochs:
        done += 1
        for images, labels in zip(data.images.split(batch), data.labels.split(batch), strict=True):
            rule.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            rule.step()
        with torch.no_grad():
            loss = float(F.cross_entropy(logits(net, held.images), held.labels))
        if loss < best:
            best, kept, waited = loss, copy.deepcopy(net.state_dict()), 0
        elif waited < 8:
            waited += 1
        else:
            break
    net.load_state_dict(kept)
    return done


@torch.no_grad()
def logits(net: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([net(part) for part in images.split(200)])


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    return 100 * float((logits(net, images).argmax(-1) == labels).double().mean())


def run(row: str, split: str, seed: int) -> dict[str, str]:
    """One run, its outcome as a line of the results."""
    started = time.process_time()
    data, held, test = splits(split, seed)
    torch.manual_seed(seed)
    padding, mode = ROWS[row].net
    net = RedGreen(padding=padding, padding_mode=mode)  # type: ignore[arg-type]
    epochs = train(net, data, held)
    return {
        "row": row,
        "split": split,
        "seed": str(seed),
        "similar": f"{accuracy(net, test.images, test.labels):.1f}",
        "dissimilar": f"{accuracy(net, test.swapped, test.labels):.1f}",
        "epochs": str(epochs),
        "cpu_s": f"{time.process_time() - started:.1f}",
    }


def rook(mode: str, seed: int) -> dict[str, str]:
    """Whether `Rook` learns to tell a piece at the upper left from the same at the lower right.

    As in the released notebook: two images, one at a time, SGD with momentum; 300 epochs, not 100.
    """
    started = time.process_time()
    torch.manual_seed(seed)
    piece = torch.tensor([[float(cell == "#") for cell in line] for line in PIECE])
    images = torch.zeros(2, 1, SIDE, SIDE)
    h, w = piece.shape
    images[0, 0, :h, :w] = images[1, 0, -h:, -w:] = piece
    labels = torch.arange(2)
    net = Rook(padding_mode=mode)  # type: ignore[arg-type]
    rule = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(ROOK_EPOCHS):
        for image, label in zip(images.split(1), labels.split(1), strict=True):
            rule.zero_grad()
            F.cross_entropy(net(image), label).backward()
            rule.step()
    return {
        "row": f"rook-{mode}",
        "split": "-",
        "seed": str(seed),
        "similar": f"{accuracy(net, images, labels):.1f}",
        "dissimilar": "",
        "epochs": str(ROOK_EPOCHS),
        "cpu_s": f"{time.process_time() - started:.1f}",
    }


def read() -> list[dict[str, str]]:
    """The lines of the results."""
    if not RESULTS.is_file():
        return []
    with RESULTS.open() as file:
        return list(csv.DictReader(file))


def keep(outcome: dict[str, str]) -> None:
    """Adds a line and writes the file anew, in order, in one step."""
    order = [*ROWS, "rook-zeros", "rook-circular"]
    lines = sorted(
        [*read(), outcome], key=lambda r: (r["split"], order.index(r["row"]), int(r["seed"]))
    )
    RESULTS.parent.mkdir(exist_ok=True)
    beside = RESULTS.with_suffix(".part")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    beside.replace(RESULTS)


def table() -> str:
    """The results in Markdown: mean and standard deviation over seeds, as in the paper."""
    lines = [
        "| net | split | n | similar, % | dissimilar, % | paper, similar | paper, dissimilar | "
        "CPU s a run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = read()
    for split in ("faithful", "clean"):
        for name, row in ROWS.items():
            group = [line for line in found if line["row"] == name and line["split"] == split]
            if group:
                cells = [row.title, split, str(len(group)), spread(group, "similar")]
                cells += [spread(group, "dissimilar"), *row.paper, cost(group)]
                lines.append(f"| {' | '.join(cells)} |")
    for mode in ("zeros", "circular"):
        group = [line for line in found if line["row"] == f"rook-{mode}"]
        if group:
            solved = sum(line["similar"] == "100.0" for line in group)
            cells = [f"Rook, {mode}", "-", str(len(group)), f"solved {solved} of {len(group)}"]
            paper = "100 %" if mode == "zeros" else "-"
            lines.append(f"| {' | '.join([*cells, '-', paper, '-', cost(group)])} |")
    return "\n".join(lines) + "\n"


def spread(group: list[dict[str, str]], key: str) -> str:
    values = [float(line[key]) for line in group]
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} +- {statistics.stdev(values):.1f}"


def cost(group: list[dict[str, str]]) -> str:
    return f"{statistics.median(float(line['cpu_s']) for line in group):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join([*ROWS, "rook"]))
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0 on")
    parser.add_argument("--splits", nargs="+", default=["faithful", "clean"])
    parser.add_argument("--table", action="store_true", help="only write the table again")
    options = parser.parse_args()
    rows = options.rows or ([] if options.table else [*ROWS, "rook"])
    if unknown := set(rows) - {*ROWS, "rook"}:
        parser.error(f"ROW must be of {', '.join(ROWS)}, rook, but is {', '.join(unknown)}.")
    torch.set_num_threads(1)
    done = {(line["row"], line["split"], line["seed"]) for line in read()}
    jobs = [
        (row, split, seed)
        for seed in range(options.seeds)  # seeds outside: a stop leaves the rows balanced
        for split in options.splits
        for row in rows
        if row != "rook"
    ]
    if "rook" in rows:
        jobs = [
            (f"rook-{m}", "-", s) for s in range(options.seeds) for m in ("zeros", "circular")
        ] + jobs
    for row, split, seed in jobs:
        if (row, split, str(seed)) in done:
            continue
        outcome = rook(row[5:], seed) if row.startswith("rook") else run(row, split, seed)
        print(*outcome.values(), sep="\t", flush=True)
        keep(outcome)
    TABLE.write_text(table())
    print(table())


if __name__ == "__main__":
    main()
