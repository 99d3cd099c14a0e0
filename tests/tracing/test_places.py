"""Where models whose answer is known have their maps, queries and keys."""

from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers import AttentionPool2d, RotAttentionPool2d
from torch import Tensor, nn

from visionpe import Places, Site, Trace, trace
from visionpe.tracing.lattices import Lattice


def shifted(h: int, w: int, window: int, by: int) -> Tensor:
    """The cells of a Swin block's windows, straight from the paper: shift, then cut."""
    windows = []
    for top in range(0, h, window):
        for left in range(0, w, window):
            windows.append(
                [
                    ((top + i + by) % h, (left + j + by) % w)
                    for i in range(window)
                    for j in range(window)
                ]
            )
    return torch.tensor(windows, dtype=torch.float32)


def places(site: Site) -> tuple[Places, Places]:
    assert site.queries is not None
    assert site.keys is not None
    return site.queries, site.keys


def last(found: Trace, layout: str) -> Site:
    return [s for s in found.outputs if s.layout == layout and s.lattice][-1]


def test_vit_patches_are_a_raster_behind_class_and_register_tokens() -> None:
    model = timm.create_model("test_vit2", img_size=(48, 80), reg_tokens=3, class_token=True)
    found = trace(model, 48, 80)
    assert len(found.attention) == 8
    for site in found.attention:
        assert site.lattice == Lattice(3, 5, (16.0, 16.0), (8.0, 8.0))
        assert (site.prefix, site.suffix, site.windows, site.window) == (4, 0, 1, (3, 5))
        assert (site.call, site.heads, site.head_dim, site.head_axis) == ("sdpa", 2, 32, -3)
        queries, keys = places(site)
        for tokens in (queries, keys):
            truth = Places.of(3, 5, prefix=4)
            assert torch.equal(tokens.positions[0], truth.positions)
            assert torch.equal(tokens.extent[0], truth.extent)
            assert (tokens.prefix, tokens.suffix, tokens.shape) == (4, 0, (3, 5))
    (conv,) = found.convs
    assert (conv.kernel, conv.stride, conv.transposed) == ((16, 16), (16, 16), False)
    assert conv.lattice == Lattice(48, 80, (1.0, 1.0), (0.5, 0.5))


def test_tokens_behind_the_patches_are_a_suffix() -> None:
    class Behind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 4, stride=4)
            self.extra = nn.Parameter(torch.zeros(1, 2, 8))
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            tokens = torch.cat([self.patch(x).flatten(2).mT, self.extra], 1)
            out: Tensor = self.attention(tokens, tokens, tokens)[0]
            return out

    (site,) = trace(Behind(), 8, 12).attention
    assert (site.prefix, site.suffix, site.window) == (0, 2, (2, 3))
    assert (site.call, site.heads, site.head_dim) == ("mha", 2, 4)
    assert torch.equal(places(site)[0].positions[0], Places.of(2, 3).positions)


def test_swin_windows_are_cut_and_shifted_as_the_paper_says() -> None:
    model = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=(32, 64),
        window_size=4,
        depths=(2, 2),
        num_heads=(3, 6),
        embed_dim=48,
    )
    found = trace(model, 32, 64)
    plain, moved = found.attention[:2]
    for site, by in ((plain, 0), (moved, 2)):
        queries, keys = places(site)
        assert torch.equal(queries.positions, shifted(8, 16, 4, by))
        assert torch.equal(keys.positions, queries.positions)
        assert queries.extent.tolist() == [[8.0, 16.0]] * 8
        assert (site.windows, site.window, site.heads, site.head_dim) == (8, (4, 4), 3, 16)
        assert site.lattice == Lattice(8, 16, (4.0, 4.0), (2.0, 2.0))
    assert plain.call in ("sdpa", "softmax")
    assert found.attention[2].lattice == Lattice(4, 8, (8.0, 8.0), (4.0, 4.0))


def test_both_swins_agree() -> None:
    ours = trace(torchvision.models.swin_t(weights=None), 56, 84).attention[:2]
    theirs = trace(
        timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=(56, 84), depths=(2,), num_heads=(3,)
        ),
        56,
        84,
    ).attention
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(places(a)[0].positions, places(b)[0].positions)
        assert (a.windows, a.window, a.heads, a.lattice) == (
            b.windows,
            b.window,
            b.heads,
            b.lattice,
        )


def test_pvts_keys_are_subsampled_in_cells_of_the_queries() -> None:
    found = trace(timm.create_model("pvt_v2_b0", depths=(1, 1, 1, 1)), 64, 96)
    site = found.attention[0]
    queries, keys = places(site)
    assert site.lattice == Lattice(16, 24, (4.0, 4.0), (0.5, 0.5))
    # A kernel of 8 x 8 cells: the middle of cells 0 to 7 is cell 3.5.
    assert site.key_lattice == Lattice(2, 3, (32.0, 32.0), (14.5, 14.5))
    steps = torch.stack([keys.positions[0, 3], keys.positions[0, 1]]) - keys.positions[0, 0]
    assert steps.tolist() == [[8.0, 0.0], [0.0, 8.0]]
    assert (keys.positions[0, 0] - queries.positions[0, 0]).tolist() == [3.5, 3.5]
    assert torch.equal(keys.extent, queries.extent)


def test_maxvit_has_blocks_and_grids() -> None:
    model = timm.create_model("test_maxvit", img_size=(160, 320))
    block, grid = trace(model, 160, 320).attention[:2]
    (queries, _), (far, _) = places(block), places(grid)
    assert (block.windows, block.window) == (grid.windows, grid.window) == (64, (5, 10))
    near = queries.positions - queries.positions[:, :1]
    spread = far.positions - far.positions[:, :1]
    i, j = torch.arange(5.0).repeat_interleave(10), torch.arange(10.0).repeat(5)
    assert torch.equal(near, torch.stack([i, j], -1).expand_as(near))
    assert torch.equal(spread, torch.stack([i * 8, j * 8], -1).expand_as(spread))
    for tokens in (queries, far):  # every cell once
        assert len(tokens.positions.reshape(-1, 2).unique(dim=0)) == 40 * 80


def test_a_strided_resnet_is_where_its_centre_taps_are() -> None:
    found = trace(torchvision.models.resnet18(weights=None), 64, 96)
    for k, name in enumerate(["conv1", "maxpool", "layer2", "layer3", "layer4"]):
        step = 2.0 ** (k + 1)
        site = found.at(name)[-1]
        assert site.layout == "NCHW"
        assert site.lattice == Lattice(int(64 / step), int(96 / step), (step, step), (0.5, 0.5))
    assert found.at("layer2.0.downsample.0")[0].kernel == (1, 1)
    assert not found.attention
    with pytest.raises(KeyError):
        found.at("avgpool")  # a mean over the image has no place


def test_a_hybrid_has_convolutions_below_attention() -> None:
    model = timm.create_model("vit_tiny_r_s16_p8_224", img_size=(64, 96), depth=1)
    found = trace(model, 64, 96)
    (site,) = found.attention
    assert (site.lattice, site.prefix) == (Lattice(2, 3, (32.0, 32.0), (17.5, 17.5)), 1)
    assert found.sites.index(found.convs[0]) < found.sites.index(site)


def test_layouts_are_told_apart() -> None:
    assert last(trace(timm.create_model("test_convnext"), 64, 96), "NHWC").kind == "map"

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last, self.tokens, self.turned = (
                nn.Conv2d(3, 5, 2, 2),
                nn.Identity(),
                nn.Identity(),
                nn.Identity(),
            )

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            self.last(x.permute(0, 2, 3, 1))
            self.turned(x.flatten(2))
            out: Tensor = self.tokens(x.flatten(2).mT)
            return out

    found = trace(Mixed(), 4, 6)
    names = {site.module: site.layout for site in found.outputs}
    assert names["conv"] == "NCHW"
    assert (names["last"], names["turned"], names["tokens"]) == ("NHWC", "NCL", "NLC")


def test_a_map_of_one_row_keeps_its_layout() -> None:
    found = trace(nn.Sequential(nn.Conv2d(3, 4, 8, 8)), 8, 24)
    assert found.at("0")[-1].layout == "NCHW"
    assert found.at("0")[-1].lattice == Lattice(1, 3, (8.0, 8.0), (4.0, 4.0))


def test_cells_in_another_order_are_no_lattice() -> None:
    class Rolled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.roll(1, -1)

    (site,) = trace(nn.Sequential(Rolled()), 4, 6).at("0")
    assert (site.layout, site.lattice) == ("NCHW", None)


def test_class_attention_has_keys_but_no_queries_with_a_place() -> None:
    model = timm.create_model("cait_xxs24_224", img_size=(32, 48), depth=1)
    *between, one, _ = trace(model, 32, 48).attention
    assert all(site.queries is not None for site in between)
    assert one.queries is None
    assert one.keys is not None
    assert (one.keys.prefix, one.keys.shape) == (1, (2, 3))


class Hidden:
    """Somebody's own kind of output."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens


class Pool(nn.Module):
    """Attention of all tokens to all, of which some are returned."""

    def __init__(self, call: str, kept: str) -> None:
        super().__init__()
        self.patch, self.mha = nn.Conv2d(3, 4, 2, 2), nn.MultiheadAttention(4, 2)
        self.one, self.call, self.kept = nn.Parameter(torch.zeros(1, 1, 4)), call, kept

    def forward(self, x: Tensor) -> Any:
        x = torch.cat([self.one, self.patch(x).flatten(2).mT], 1)
        q, k = x + 1, x + 2
        if self.call == "mha":
            q, k, v = (t.transpose(0, 1) for t in (q, k, x))
            m, out = self.mha, self.mha.out_proj
            x = nn.functional.multi_head_attention_forward(
                q, k, v, 4, 2, m.in_proj_weight, m.in_proj_bias, None, None, False, 0.0,
                out.weight, out.bias,
            )[0].transpose(0, 1)  # fmt: skip
        elif self.call == "sdpa":
            x = nn.functional.scaled_dot_product_attention(q, k, x)
        elif self.call == "softmax":
            x = (q @ k.mT).softmax(-1) @ x
        else:
            x = ((k @ q.mT).softmax(-2)).mT @ x
        if self.kept == "hidden":
            return Hidden(x)
        return {"first": x[:, 0], "mean": x.mean(1), "places": x[:, 1:].sum(1), "all": x}[self.kept]


@pytest.mark.parametrize("call", ["sdpa", "softmax", "turned", "mha"])
@pytest.mark.parametrize("kept", ["first", "mean", "places", "all", "hidden"])
def test_pooling_that_keeps_the_class_token_alone_has_no_queries_with_a_place(
    call: str, kept: str
) -> None:
    (site,) = trace(nn.Sequential(Pool(call, kept), nn.Identity()), 8, 12).attention
    assert (site.queries is None) == (kept == "first")
    assert site.keys is not None
    assert (site.keys.prefix, site.keys.shape) == (1, (4, 6))
    if site.queries is not None:
        assert (site.queries.prefix, site.queries.shape) == (1, (4, 6))


@pytest.mark.parametrize("pool", ["token", ""])
def test_attention_pooling_of_clip_has_no_queries_with_a_place(pool: str) -> None:
    for head in (
        AttentionPool2d(16, feat_size=(4, 6), num_heads=2, pool_type=pool),
        RotAttentionPool2d(16, ref_feat_size=(4, 6), num_heads=2, pool_type=pool),
    ):
        (site,) = trace(nn.Sequential(nn.Conv2d(3, 16, 8, 8), head), 32, 48).attention
        assert (site.queries is None) == (pool == "token")


def test_attention_between_channels_is_not_between_places() -> None:
    model = timm.create_model("xcit_nano_12_p16_224", img_size=(32, 48), depth=1)
    assert all(site.queries is None for site in trace(model, 32, 48).attention)


def test_levits_downsampled_queries_and_product() -> None:
    model = timm.create_model("levit_128s", img_size=(64, 96), depth=(1, 1, 1))
    site = next(s for s in trace(model, 64, 96).attention if s.key_lattice != s.lattice)
    assert site.lattice == Lattice(2, 3, (32.0, 32.0), (0.5, 0.5))
    assert site.key_lattice == Lattice(4, 6, (16.0, 16.0), (0.5, 0.5))
    assert (site.call, site.number, site.product) == ("softmax", 0, 0)
