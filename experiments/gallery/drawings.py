"""How an encoding is drawn: by its code, by what it adds to logits, as a sequence."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import visionpe as v
from experiments.gallery.net import CELLS, CENTRE, CORNER, WIDTH, H, W, fields, heads_of, train
from visionpe import AttentionEncoding, Frame, MapEncoding, plots

Figure = Any


class Drawn(NamedTuple):
    """A picture, and the share of the variance explained where a net was trained."""

    figure: Figure
    score: float | None = None


def code(make: Callable[[], MapEncoding], steps: int, shown: int = 3) -> Drawn:
    """What an encoding, trained if it learns, gives to a map of ones."""
    net, score = train(make(), steps)
    encoding = net.encoding
    assert isinstance(encoding, MapEncoding)
    with torch.no_grad():
        ones = torch.ones(1, WIDTH, H, W)
        y = encoding(ones)[0]
    part = y[WIDTH:] if len(y) > WIDTH else y - 1
    return Drawn(channels(part, shown), score)


def channels(part: Tensor, shown: int = 3, names: list[str] | None = None) -> Figure:
    """The channels of a code that vary most, or the first ones if they are named."""
    order = part.flatten(1).var(1).argsort(descending=True)[:shown]
    if names:
        order = torch.arange(len(names))
    names = names or [f"channel {i}" for i in order.tolist()]
    return plots.code_figure(torch.cat([part[order], part]), names, rows=3, columns=4)[0]


def heads(make: Callable[[], AttentionEncoding], steps: int, title: str = "added") -> Drawn:
    """What a trained encoding adds to the logits of two queries, in the first block."""
    net, score = train(make(), steps)
    with torch.no_grad():
        maps = heads_of(net)
    return Drawn(
        plots.head_figure(maps, (CENTRE, CORNER), title=f"{title} to the logits")[0], score
    )


turned = partial(heads, title="by turning")


def fixed(make: Callable[[], Tensor], steps: int, names: list[str] | None = None) -> Drawn:
    """A code `d h w` as it is."""
    return Drawn(channels(make().detach(), names=names))


def padded() -> Tensor:
    """DETR's code of a view with padding at the right and below, which is not counted."""
    frame = Frame.identity(6, 9).pad(right=3, bottom=3)
    y: Tensor = v.MaskedSinusoidal2d()(torch.zeros(1, WIDTH, H, W), frame)
    return y[0] * v.inside(H, W, frame)


def convolved() -> Tensor:
    """CoordConv's answer to an empty map, its coordinate weights drawn at random."""
    y: Tensor = v.CoordConv2d(3, 16, 3, padding=1, bias=False, radius=True, zero_init=False)(
        torch.zeros(1, 3, H, W)
    )
    return y[0]


def gated() -> Tensor:
    """HANet's gate of every channel of an empty map."""
    gate = v.HeightAttention(WIDTH, reduction=4, rows=H).eval()
    y: Tensor = gate(torch.ones(1, WIDTH, H, W))
    return y[0]


def line(make: Callable[[], Tensor], steps: int, of: str = "place") -> Drawn:
    """A code `d n` of a sequence: its numbers, and the likeness of any two places."""
    part = make().detach()
    figure, axes = plots.matrix_figure([part, plots.alike(part)], ["code", "similarity"])
    axes[0, 0].set(xlabel=of, ylabel="channel")
    axes[0, 1].set(xlabel=of, ylabel=of)
    return Drawn(figure)


def beyond(module: nn.Module, channels: int = 32, n: int = 64) -> Tensor:
    """What a module for sequences gives to ones, less them."""
    ones = torch.ones(1, channels, n)
    y: Tensor = module(ones)[0]
    return y - 1 if len(y) == channels else y


def drawn_constant() -> Tensor:
    """A constant from which two 1x1 convolutions learned to draw one smooth picture."""
    constant = v.LearnedConstant(WIDTH, H, W)
    nets = nn.Sequential(nn.Conv2d(WIDTH, 32, 1), nn.GELU(), nn.Conv2d(32, 16, 1))
    target = fields(1).mT.unflatten(2, CELLS)
    optimizer = torch.optim.AdamW([*constant.parameters(), *nets.parameters()], lr=1e-2)
    for _ in range(300):
        loss = (nets(constant(1)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    result: Tensor = constant(1)[0]
    return result


def flows() -> Tensor:
    """What 24 flows add to 32 channels, the projection drawn at random."""
    embedding = v.FlowEmbedding(24, 32, zero_init=False)
    return torch.stack([embedding.shift(torch.tensor([k]))[0] for k in range(24)], 1)
