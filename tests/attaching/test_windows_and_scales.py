"""Biases of places are made once for each window; contextual ones have the model's own scale."""

from collections.abc import Callable

import pytest
import torch
from backbones import bias, pvt, swin, vit
from torch import Tensor, nn

import visionpe
from visionpe import (
    Alibi2d,
    AttentionEncoding,
    AxisBias,
    BucketBias,
    DecomposedBias,
    Frame,
    IRPEBias,
    IRPEContextual,
    LogCPB,
    Places,
    RelativeBias,
    Rotary,
    Shaw,
    TransformerXL,
    attend,
)
from visionpe.attaching.fitting import looks_at_places_only


class Asked(AttentionEncoding):
    """Notes for how many windows it is asked for a bias; looks at the queries if told to."""

    def __init__(self, *, contextual: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.contextual = contextual
        self.rows: list[int] = []

    def bias(
        self, q: Tensor, k: Tensor, places: Places, key_places: Places, scale: float
    ) -> Tensor:
        self.rows.append(q.shape[0])
        n, m = places.positions, key_places.positions
        rows = (n[..., :, None, 0] - m[..., None, :, 0]) * self.weight
        rows = rows if rows.dim() == 3 else rows[None]
        total: Tensor = rows[:, None]  # w 1 n m
        return total + q.sum(-1, keepdim=True) * self.weight if self.contextual else total


@pytest.mark.parametrize("contextual", [False, True])
def test_a_bias_of_places_is_made_once_for_each_window(contextual: bool) -> None:
    model = visionpe.attach(
        swin().eval(), Asked(contextual=contextual), at="layers.0.blocks.1", size=(32, 48)
    )
    (encoding,) = (e.encoding for e in visionpe.status(model)[0].entries)
    assert isinstance(encoding, Asked)
    encoding.rows.clear()
    x = torch.randn(3, 3, 32, 48)
    got = model(x)
    assert encoding.rows == [18 if contextual else 6]
    frame = Frame.stack([Frame.identity(32, 48)] * 3)  # then each sample has its own places
    torch.testing.assert_close(got, model(x, frame=frame), rtol=1e-5, atol=1e-5)
    assert encoding.rows[1] == 18
    alone = [model(each[None]) for each in x]
    torch.testing.assert_close(got, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_which_encodings_look_at_places_only_is_told_before_they_have_learned() -> None:
    (site, *_) = visionpe.trace(vit(depth=1), 48, 80).attention
    window = (3, 5)
    places = [
        RelativeBias(2, window),
        LogCPB(2, window),
        AxisBias(2, window),
        BucketBias(2),
        Alibi2d(2),
        IRPEBias(2),
        Rotary(),
    ]
    contents = [
        Shaw(32),
        DecomposedBias(32, window),
        TransformerXL(2, 32),
        IRPEContextual(32),
        IRPEContextual(32, on_queries=True, on_keys=False),
    ]
    for encoding in (*places, *contents):
        told = looks_at_places_only(encoding, site, (48, 80))
        assert told == (encoding in places), encoding


@pytest.mark.parametrize(
    ("make", "size", "shapes"),
    [
        (lambda: vit(depth=1), (48, 80), [((3, 5), (3, 5), (3, 5))]),
        (swin, (32, 48), [(None, None, (4, 4))] * 4),
        (
            pvt,
            (64, 96),
            [
                ((16, 24), None, (16, 24)),
                ((8, 12), None, (8, 12)),
                ((4, 6), None, (4, 6)),
                ((2, 3), (2, 3), (2, 3)),
            ],
        ),
    ],
)
def test_places_have_a_shape_only_where_they_are_one_map_a_cell_apart(
    make: Callable[[], nn.Module],
    size: tuple[int, int],
    shapes: list[tuple[tuple[int, int] | None, ...]],
) -> None:
    for site, (queries, keys, window) in zip(
        visionpe.trace(make(), *size).attention, shapes, strict=True
    ):
        assert site.queries is not None
        assert site.keys is not None
        assert (site.queries.shape, site.keys.shape) == (queries, keys)
        assert site.window == window
        for places in (site.queries, site.keys):
            if places.shape is not None:
                apart = places.positions[0] - places.positions[0, 0]
                wanted = Places.of(*places.shape).positions
                torch.testing.assert_close(apart, wanted, rtol=0, atol=1e-3)


class Attention(nn.Module):
    """A matrix product, what is done to the logits, a softmax."""

    def __init__(self, scaled: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.qkv = nn.Linear(16, 48)
        self.slope = nn.Parameter(torch.rand(2, 1, 1))
        self.scaled = scaled
        self.alpha: float | None = None

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.patches(x).flatten(2).mT
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        if self.alpha is not None:
            nothing = q.new_zeros(1, 1, 1)
            made = torch.baddbmm(
                nothing, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=self.alpha, beta=0.0
            )
            out: Tensor = (made.softmax(-1) @ v.flatten(0, 1)).unflatten(0, (-1, 2))
        else:
            out = self.scaled(q @ k.mT).softmax(-1) @ v
        return out.transpose(1, 2).flatten(2)


SCALED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor | float]]] = {
    "not": (lambda s: s, lambda slope: 1.0),
    "times a number": (lambda s: s * 0.3, lambda slope: 0.3),
    "a number times": (lambda s: 0.3 * s, lambda slope: 0.3),
    "over a number": (lambda s: s / 4, lambda slope: 0.25),
    "in place": (lambda s: s.mul_(0.3), lambda slope: 0.3),
    "twice, around a mask": (
        lambda s: (s * 0.5 + torch.zeros(1, 1, 15, 15)) / 2.0,
        lambda slope: 0.25,
    ),
    "by a tensor of one number": (lambda s: s * torch.tensor(0.3), lambda slope: 0.3),
    "flat": (lambda s: (s.flatten(0, 1) * 0.3).unflatten(0, (-1, 2)), lambda slope: 0.3),
}


@pytest.mark.parametrize("how", [*SCALED, "for each head", "alpha"])
@pytest.mark.parametrize(
    "encoding", [Shaw(8), IRPEContextual(8, on_queries=True), TransformerXL(2, 8)]
)
def test_a_contextual_bias_has_the_scale_of_the_logits(
    how: str, encoding: AttentionEncoding
) -> None:
    scaled, scale_of = SCALED.get(how, SCALED["not"])
    model = Attention(scaled)
    scale: float | Tensor = scale_of(model.slope)
    if how == "for each head":
        model.scaled = lambda s: s * model.slope
        scale = model.slope
    elif how == "alpha":
        model.alpha = scale = 0.3
    visionpe.attach(model, encoding, size=(24, 40))
    (own,) = (e.encoding for e in visionpe.status(model)[0].entries)
    assert isinstance(own, AttentionEncoding)
    for parameter in own.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 3, 24, 40)
    q, k, v = model.heads(x)
    places = Places.of(3, 5)
    # One head at a time, as a head's scale is one number.
    parts = torch.as_tensor(scale).expand(2, 1, 1).flatten().tolist()
    wanted = torch.stack(
        [attend(q, k, v, [own], places, scale=part)[:, i] for i, part in enumerate(parts)], 1
    )
    torch.testing.assert_close(model(x), wanted.transpose(1, 2).flatten(2), rtol=1e-4, atol=1e-5)


def test_the_bias_of_a_swin_is_learned_from_all_windows() -> None:
    model = visionpe.attach(swin(), bias, at="layers.0", size=(32, 48))
    model(torch.randn(2, 3, 32, 48)).square().sum().backward()
    for parameter in model.get_submodule("visionpe").parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()
