"""Why a position encoding loses Y-arrow's widest canvas: new places, new glyphs, or new distances?

    visionpe sweep configs/sweeps/y_arrow.yaml
    python experiments/y_arrow_places.py runs/y_arrow LieRE "LieRE per head"

tests the runs of a sweep on the canvas of training (9 x 9 cells), the same moved 14 cells down and
across, so that its places alone are new; the same amid an empty canvas of 23 x 23; and the widest
canvas as it is, and emptied but for the Y and the cells around it. Writes
`experiments/results/NAME_places.csv` (a line a run) and `.md` (a line an encoding).
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from experiments.pe_comparison import cell as shown
from visionpe import Frame
from visionpe.cli.stress import load
from visionpe.data.normalise import Normalise
from visionpe.data.y_arrow import YArrow, draw, scenes
from visionpe.report import read_sweep

Scene = tuple[UInt8[Tensor, "b n n"], Int64[Tensor, " b"]]

TRAINED, WIDE, MOVED = 9, 23, 14
_RESULTS = Path(__file__).parent / "results"
_SEED, _BATCH = 240610324, 100  # a seed that no run has, nor its held-out parts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sweep", help="the folder of a sweep: runs/NAME")
    parser.add_argument("encodings", nargs="+", help="labels of encodings")
    parser.add_argument("--images", type=int, default=1000, help="of each test")
    words = parser.parse_args()
    runs = read_sweep(words.sweep)
    lines: list[dict[str, str]] = []
    for group in runs.groups:
        if group.name in words.encodings:
            for seed, run in zip(group.seeds, group.runs, strict=True):
                trained = load(runs.path / run["run"])
                if not isinstance(trained.data, YArrow):
                    raise SystemExit(f"{words.sweep} must be a sweep on YArrow, but is none.")
                scores = accuracies(trained.task.eval().network, trained.data.cell, words.images)
                line = {"encoding": group.name, "seed": seed}
                lines.append(line | {name: f"{score:.4f}" for name, score in scores.items()})
                print(*lines[-1].values(), sep="  ", flush=True)
    if not lines:
        raise SystemExit(f"No run of {words.sweep} has an encoding of {words.encodings}.")
    stem = _RESULTS / f"{runs.name}_places"
    with stem.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    stem.with_suffix(".md").write_text(table(lines) + "\n", encoding="utf-8")


@torch.inference_mode()
def accuracies(network: nn.Module, cell: int, images: int) -> dict[str, float]:
    """The share of right answers in each test."""
    canvas = Frame.identity(WIDE * cell, WIDE * cell)
    side = TRAINED * cell
    moved = canvas.crop(MOVED * cell, MOVED * cell, h=side, w=side)
    tests: dict[str, tuple[Callable[[Tensor], Scene], Frame | None]] = {
        "9 x 9": (trained_scenes, None),
        "moved": (trained_scenes, moved),
        "amid nothing": (amid_nothing, None),
        "23 x 23": (wide_scenes, None),
        "all else empty": (emptied, None),
    }
    normalise = Normalise(YArrow.mean, YArrow.std)
    scores = {}
    for name, (make, frame) in tests.items():
        right = 0
        for index in torch.arange(images).split(_BATCH):
            content, answer = make(index)
            inputs = normalise(draw(content, cell=cell))
            logits: Float[Tensor, "b 4"] = network(inputs, frame)
            right += int((logits.argmax(-1) == answer).sum())
        scores[name] = right / images
    return scores


def trained_scenes(index: Int64[Tensor, " b"]) -> Scene:
    """Scenes as large as those of training."""
    return scenes(index, cells=TRAINED, seed=_SEED)


def wide_scenes(index: Int64[Tensor, " b"]) -> Scene:
    """Scenes on the widest canvas."""
    return scenes(index, cells=WIDE, seed=_SEED)


def amid_nothing(index: Int64[Tensor, " b"]) -> Scene:
    """Scenes as large as those of training, in the middle of the widest canvas."""
    content, answer = trained_scenes(index)
    border = (WIDE - TRAINED) // 2
    return nn.functional.pad(content, (border,) * 4), answer


def emptied(index: Int64[Tensor, " b"]) -> Scene:
    """Scenes on the widest canvas with nothing but the Y and the eight cells around it."""
    content, answer = wide_scenes(index)
    place = ((content >= 5) & (content < 9)).flatten(1).int().argmax(1)  # codes of the Y
    cells = torch.arange(WIDE)
    down = (cells - (place // WIDE)[:, None]).abs() <= 1  # b n
    across = (cells - (place % WIDE)[:, None]).abs() <= 1
    return content * (down[:, :, None] & across[:, None]), answer


def table(lines: list[dict[str, str]]) -> str:
    """A line an encoding: mean and 95 % interval of each test."""
    tests = [name for name in lines[0] if name not in ("encoding", "seed")]
    rows = [f"| encoding | n | {' | '.join(f'{name}, %' for name in tests)} |"]
    rows.append(f"|{'---|' * (len(tests) + 2)}")
    for encoding in dict.fromkeys(line["encoding"] for line in lines):
        group = [line for line in lines if line["encoding"] == encoding]
        cells = [shown([float(line[name]) for line in group]) for name in tests]
        rows.append(f"| {encoding} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
