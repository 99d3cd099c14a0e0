"""Tokens that are a map's cells in another order than row by row take encodings of maps."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import visionpe
from visionpe import PEG, Frame, HeightAttention, Learned2d, MapEncoding, Sinusoidal2d, Site
from visionpe.attaching.errors import AttachError

SIZE = (64, 96)
ENCODINGS = [HeightAttention(8), Learned2d(8, (4, 6)), PEG(8), Sinusoidal2d()]


class Shuffled(nn.Module):
    """A class token, and patches in a random order; they go back at the end."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.order = order
        self.patches = nn.Conv2d(3, 8, 16, stride=16)
        self.first = nn.Parameter(torch.randn(1, 1, 8))
        self.stage, self.after = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        cells = self.patches(x).flatten(2).mT[:, self.order]
        tokens = torch.cat([self.first.expand(len(x), -1, -1), cells], 1)
        tokens = self.stage(tokens)
        back = self.after(tokens[:, 1:][:, self.order.argsort()])
        result: Tensor = back.mT.unflatten(2, (4, 6))
        return result


def randomised(encoding: MapEncoding) -> MapEncoding:
    for parameter in encoding.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoding.eval()


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda e: type(e).__name__)
def test_encodings_act_on_the_cells_where_they_are(encoding: MapEncoding) -> None:
    model, x = Shuffled(torch.randperm(24)).eval(), torch.randn(2, 3, *SIZE)
    frame = Frame.identity(200, 300).crop(10, 20, h=64, w=96)
    with torch.no_grad():
        plain = model(x)
        visionpe.attach(model, randomised(encoding), at="stage", size=SIZE)
        torch.testing.assert_close(model(x), encoding(plain))
        torch.testing.assert_close(model(x, frame=frame), encoding(plain, frame))
        assert not torch.equal(model(x), plain)


def test_the_order_is_traced_and_that_of_a_map_is_none() -> None:
    order = torch.randperm(24)
    found = visionpe.trace(Shuffled(order), *SIZE)
    (site,) = found.at("stage")
    assert site.lattice is None
    assert site.scattered is not None
    assert site.scattered.order == tuple(order.tolist())
    assert (site.prefix, str(site.cells)) == (1, "4 x 6")
    assert all(s.scattered is None for name in ("patches", "after") for s in found.at(name))


def test_the_order_is_known_for_one_size_of_images() -> None:
    model = Shuffled(torch.randperm(24)).eval()
    visionpe.attach(model, PEG(8), at="stage", size=SIZE)
    with pytest.raises(AttachError) as error:
        model(torch.randn(1, 3, 96, 64))
    assert str(error.value) == (
        "`stage` holds its cells in an order that is known for images of 64 x 96 pixels only, but "
        "these have 96 x 64. Detach, and attach again with `size=(96, 64)`."
    )


def test_gates_behind_the_stages_of_hiera_are_gates_on_the_maps_that_it_returns() -> None:
    model: Any = timm.create_model(
        "hiera_tiny_224", features_only=True, img_size=SIZE, embed_dim=16, num_heads=1
    ).eval()
    x = torch.randn(2, 3, *SIZE)

    def gate(site: Site) -> HeightAttention:
        return HeightAttention(site.shape[-1], identity=True)

    at = [f"model.blocks.{i}" for i in (0, 2, 9, 11)]
    with torch.no_grad():
        plain = model(x)
        (plan,) = visionpe.attach(model, [gate], at=at, size=SIZE, dry_run=True)
        assert [entry.site.module for entry in plan.entries] == at
        assert plan.skipped == []
        visionpe.attach(model, gate, at=at, size=SIZE)
        assert all(torch.equal(a, b) for a, b in zip(model(x), plain, strict=True))
        visionpe.detach(model)
        encoding = randomised(HeightAttention(32))
        visionpe.attach(model, encoding, at="model.blocks.2", size=SIZE)
        torch.testing.assert_close(model(x)[1], encoding(plain[1]))
