"""The pictures: of which encoding, how, and what to say of it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

import visionpe as v
from experiments.gallery.drawings import (
    Drawn,
    beyond,
    code,
    convolved,
    drawn_constant,
    fixed,
    flows,
    gated,
    heads,
    line,
    padded,
    turned,
)
from experiments.gallery.net import CELLS, HEAD_DIM, HEADS, WIDTH, H, W
from visionpe import plots


class Entry(NamedTuple):
    """A picture to draw: how, and what to say of it."""

    draw: Callable[[int], Drawn]
    caption: str


IMAGES = Path(__file__).parent.parent.parent / "docs" / "images" / "encodings"
LOOK = "what a query in the centre (above) and near a corner (below) gets from each key"
ENTRIES = {
    "AddCoords": Entry(
        partial(fixed, lambda: v.coordinates(H, W, radius=True), names=["y", "x", "radius"]),
        "the coordinate channels, in [-1, 1], and the radius",
    ),
    "CoordConv2d": Entry(
        partial(fixed, convolved), "a convolution's answer to an empty map, random weights"
    ),
    "CoordConv1d": Entry(
        partial(
            line,
            lambda: v.CoordConv1d(1, 32, 5, padding=2, bias=False, zero_init=False)(
                torch.zeros(1, 1, 64)
            )[0],
        ),
        "a convolution's answer to an empty sequence, random weights",
    ),
    "Sinusoidal2d": Entry(
        partial(code, v.Sinusoidal2d), "rows and columns, each at its frequencies"
    ),
    "AppendSinusoidal2d": Entry(
        partial(code, lambda: v.AppendSinusoidal2d(32)), "the same, behind the map's own channels"
    ),
    "Sinusoidal1d": Entry(
        partial(line, lambda: v.Sinusoidal1d()(torch.zeros(1, 32, 64))[0]),
        "sines, then cosines, slower and slower",
    ),
    "MaskedSinusoidal2d": Entry(
        partial(fixed, padded), "half of the view is padding, left white: it is not counted"
    ),
    "Learned2d": Entry(
        partial(code, lambda: v.Learned2d(WIDTH, CELLS)),
        "a learned table: near cells became alike, as in figure 7 of arXiv 2010.11929",
    ),
    "Factorised2d": Entry(
        partial(code, lambda: v.Factorised2d(WIDTH, CELLS)), "a learned row plus a learned column"
    ),
    "FourierFeatures": Entry(
        partial(code, lambda: v.FourierFeatures(32, sigma=1.0, seed=0)),
        "random waves: alike where near, in every direction",
    ),
    "AddFourierFeatures": Entry(
        partial(code, lambda: v.AddFourierFeatures(WIDTH, 32, sigma=1.0, seed=0)),
        "the same, mixed by a learned matrix",
    ),
    "NerfFeatures": Entry(partial(code, lambda: v.NerfFeatures(4)), "octaves along the axes"),
    "LogAxisFeatures": Entry(
        partial(code, lambda: v.LogAxisFeatures(8, octaves=3.0)),
        "frequencies between octaves, along the axes",
    ),
    "ComplexOrder": Entry(
        partial(code, lambda: v.ComplexOrder(WIDTH)), "learned amplitudes, frequencies and phases"
    ),
    "AppendComplexOrder": Entry(
        partial(code, lambda: v.AppendComplexOrder(32)), "the same, behind the map's own channels"
    ),
    "PEG": Entry(
        partial(code, lambda: v.PEG(WIDTH)),
        "a constant map is told from its border only: zero padding is all the position there is",
    ),
    "ConvolutionalContext2d": Entry(
        partial(code, lambda: v.ConvolutionalContext2d(WIDTH, kernel_size=5)),
        "as PEG, with a larger kernel: the border reaches further in",
    ),
    "ConvolutionalContext1d": Entry(
        partial(
            line,
            lambda: beyond(v.ConvolutionalContext1d(32, kernel_size=16, groups=4, zero_init=False)),
        ),
        "a constant sequence: its ends are all the position there is; random weights",
    ),
    "HeightAttention": Entry(
        partial(fixed, gated),
        "a gate between 0 and 1 that depends on the row alone; "
        "random weights (trained, it explains 0.18)",
    ),
    "HyperScale": Entry(
        partial(code, lambda: v.HyperScale(WIDTH)), "scale and shift, a smooth function of place"
    ),
    "HyperConv2d": Entry(
        partial(code, lambda: v.HyperConv2d(WIDTH)),
        "a kernel of its own at each place, on a constant map",
    ),
    "RelativeBias": Entry(
        partial(heads, lambda: v.RelativeBias(HEADS, CELLS)),
        f"{LOOK}: each head looks to another side",
    ),
    "LogCPB": Entry(
        partial(heads, lambda: v.LogCPB(HEADS, CELLS, hidden=64)),
        f"{LOOK}: a smooth function of the offset",
    ),
    "AxisBias": Entry(
        partial(heads, lambda: v.AxisBias(HEADS, CELLS)), f"{LOOK}: a row's part plus a column's"
    ),
    "BucketBias": Entry(
        partial(heads, lambda: v.BucketBias(HEADS)), f"{LOOK}: far offsets share a number"
    ),
    "Alibi2d": Entry(
        partial(heads, lambda: v.Alibi2d(HEADS)), f"{LOOK}: distance times the head's slope"
    ),
    "DecomposedBias": Entry(
        partial(heads, lambda: v.DecomposedBias(HEAD_DIM, CELLS)),
        f"{LOOK}: the query's own row and column, mean over fields",
    ),
    "Shaw": Entry(
        partial(heads, lambda: v.Shaw(HEAD_DIM, heads=HEADS)),
        f"{LOOK}: beyond three cells all offsets are one; mean over fields, keys' part",
    ),
    "TransformerXL": Entry(
        partial(heads, lambda: v.TransformerXL(HEADS, HEAD_DIM, width=32)),
        f"{LOOK}: sinusoids of the offset, mean over fields",
    ),
    "IRPEBias": Entry(
        partial(heads, lambda: v.IRPEBias(HEADS)), f"{LOOK}: 49 buckets, far offsets share"
    ),
    "IRPEContextual": Entry(
        partial(heads, lambda: v.IRPEContextual(HEAD_DIM, heads=HEADS)),
        f"{LOOK}: 49 buckets, the query decides, mean over fields",
    ),
    "Rotary": Entry(partial(turned, v.Rotary), f"{LOOK}: columns plus rows, no diagonal"),
    "RotaryMixed": Entry(
        partial(turned, lambda: v.RotaryMixed(HEADS, HEAD_DIM)), f"{LOOK}: learned directions"
    ),
    "RotaryDINOv3": Entry(
        partial(turned, v.RotaryDINOv3), f"{LOOK}: as axial, in units of the image"
    ),
    "RotarySimplex": Entry(
        partial(turned, v.RotarySimplex), f"{LOOK}: three directions, 120 degrees apart"
    ),
    "RotarySpiral": Entry(
        partial(turned, lambda: v.RotarySpiral(directions=8)), f"{LOOK}: eight directions"
    ),
    "LieRE": Entry(
        partial(turned, lambda: v.LieRE(HEADS, HEAD_DIM, block=8)), f"{LOOK}: learned rotations"
    ),
    "LearnedConstant": Entry(
        partial(fixed, drawn_constant),
        "started from ones; two 1x1 convolutions learned to draw a smooth picture from it",
    ),
    "FourierInput": Entry(
        partial(
            fixed, lambda: v.FourierInput(WIDTH, H, W, sampling_rate=16.0, bandwidth=4.0)(1)[0]
        ),
        "random waves up to a band limit, mixed",
    ),
    "StepEmbedding": Entry(
        partial(line, lambda: v.step_code(torch.arange(0.0, 1000, 10), 64).mT, of="step / 10"),
        "the code of 100 of 1,000 diffusion steps: sines, then cosines",
    ),
    "FlowEmbedding": Entry(
        partial(line, flows, of="flow"),
        "what each of 24 flows adds to the channels, random weights",
    ),
}


def draw(job: tuple[str, int]) -> tuple[str, float | None]:
    """Draws one picture."""
    name, steps = job
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figure, score = ENTRIES[name].draw(steps)
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / f"{name}.png").write_bytes(plots.png(figure, dpi=100))
    print(name, "" if score is None else f"{score:.2f}", flush=True)
    return name, score
