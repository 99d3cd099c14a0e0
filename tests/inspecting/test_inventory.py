"""What models are known to have is found, with its grid, its tokens and its cost; and no more."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from torch import nn

from visionpe import Inventory, Source, inspect, set_padding


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def timms(name: str, **options: Any) -> nn.Module:
    return on_meta(lambda: timm.create_model(name, **options))


def only(found: Inventory) -> Source:
    assert len(found.encodings) == 1, found
    return found.encodings[0]


@pytest.mark.parametrize(
    ("options", "prefix", "grid"),
    [
        ({"img_size": (48, 80)}, 1, (3, 5)),
        ({"img_size": (48, 80), "reg_tokens": 4}, 5, (3, 5)),
        ({"img_size": (80, 48), "class_token": False, "global_pool": "avg"}, 0, (5, 3)),
        ({"img_size": (48, 80), "reg_tokens": 4, "no_embed_class": True}, 0, (3, 5)),
    ],
)
def test_a_vits_table_its_grid_and_its_prefix(
    options: dict[str, Any], prefix: int, grid: tuple[int, int]
) -> None:
    source = only(inspect(timms("test_vit", **options)))
    assert (source.kind, source.path, source.trainable) == ("absolute", "pos_embed", True)
    assert (source.grid, source.prefix, source.width) == (grid, prefix, 64)
    n = 15 + prefix
    assert (source.tokens, source.parameters, source.memory()) == (n, n * 64, n * 64 * 4)
    assert source.memory(100) == 100 * 64 * 4


def test_a_distilled_vit_has_two_tokens_without_a_place() -> None:
    source = only(inspect(timms("deit_tiny_distilled_patch16_224", depth=1)))
    assert (source.kind, source.grid, source.prefix) == ("absolute", (14, 14), 2)


def test_without_a_table_a_vit_has_none() -> None:
    found = inspect(timms("test_vit", pos_embed="none"))
    assert found.nothing_found
    assert "nothing found but padding" in str(found)


@pytest.mark.parametrize(
    ("name", "options", "kind", "grid", "prefix", "heads"),
    [
        (
            "swin_tiny_patch4_window7_224",
            {"depths": (2, 2), "num_heads": (3, 6), "window_size": (4, 8), "img_size": (64, 128)},
            "relative", (4, 8), 0, [3, 3, 6, 6],
        ),
        (
            "swinv2_tiny_window8_256",
            {"depths": (2, 1), "num_heads": (3, 6), "window_size": 4, "img_size": 64},
            "relative_mlp", (4, 4), 0, [3, 3, 6],
        ),
        (
            "swinv2_cr_tiny_224",
            {"depths": (1, 1), "num_heads": (3, 6), "img_size": 224},
            "relative_mlp", (7, 7), 0, [3, 6],
        ),
        (
            "beit_base_patch16_224",
            {"depth": 2, "img_size": (48, 80)},
            "relative", (3, 5), 1, [12, 12],
        ),
        ("test_vit_relpos", {"depth": 2, "num_heads": 2}, "relative_mlp", (10, 10), 0, [2] * 2),
        ("coatnet_0_224", {}, "relative", None, 0, [12] * 5 + [24] * 2),
        ("maxvit_rmlp_pico_rw_256", {}, "relative_mlp", (8, 8), 0,
         [1] * 4 + [2] * 4 + [4] * 10 + [8] * 4),
        ("efficientformer_l1", {}, "relative", (7, 7), 0, [8]),
        ("maxvit_tiny_tf_224", {}, "relative", (7, 7), 0, [2] * 4 + [4] * 4 + [8] * 10 + [16] * 4),
    ],
)  # fmt: skip
def test_biases_of_offsets(
    name: str,
    options: dict[str, Any],
    kind: str,
    grid: tuple[int, int] | None,
    prefix: int,
    heads: list[int],
) -> None:
    found = inspect(timms(name, **options))
    assert {s.kind for s in found.encodings} == {kind}
    assert [s.heads for s in found.encodings] == heads
    for source in found.encodings:
        if grid is not None:
            assert (source.grid, source.prefix) == (grid, prefix)
            n = grid[0] * grid[1] + prefix
            assert source.memory() == (source.heads or 0) * n * n * 4
        assert source.parameters > 0
        assert source.trainable


def test_levits_biases_count_absolute_offsets_also_where_it_downsamples() -> None:
    found = inspect(timms("levit_128s"))
    assert [s.heads for s in found.encodings] == [4, 4, 8, 6, 6, 6, 16, 8, 8, 8, 8]
    assert {s.grid for s in found.encodings} == {(14, 14), (7, 7), (4, 4)}
    assert {s.attribute for s in found.encodings} == {"attention_biases"}


def test_the_memory_of_a_bias_counts_keys_where_they_are_others_than_queries() -> None:
    model = timms("levit_128s")
    sources = {s.module: s for s in inspect(model).of("relative")}
    for name, module in model.named_modules():
        if hasattr(module, "attention_bias_idxs"):
            made = module.attention_biases.shape[0] * module.attention_bias_idxs.numel() * 4
            assert sources[name].memory() == made
    mvit = MultiScaleVit(MultiScaleVitCfg(depths=(1, 2)), (64, 64)).eval()
    first, _, third = inspect(mvit, (64, 64)).of("decomposed")
    assert (first.tokens, first.keys) == (16 * 16, 4 * 4)
    assert first.memory() == 16 * 16 * 4 * 4 * 4
    assert (third.tokens, third.keys) == (8 * 8, 4 * 4)
    assert first.memory(2 * 16 * 16) == 4 * (first.memory() or 0)


def test_tables_of_rows_and_columns() -> None:
    sam = inspect(timms("samvit_base_patch16", img_size=128, depth=2, global_attn_indexes=(1,)))
    window, whole = sam.of("decomposed")
    assert (window.attribute, window.grid, whole.grid) == ("rel_pos_h, rel_pos_w", (14, 14), (8, 8))
    assert whole.parameters == 2 * 15 * 64
    assert sam.of("absolute")[0].grid == (8, 8)
    halo = inspect(timms("botnet26t_256")).encodings
    assert [(s.kind, s.grid) for s in halo] == [
        ("decomposed", (16, 16)),
        ("decomposed", (16, 16)),
        ("decomposed", (8, 8)),
    ]


@pytest.mark.parametrize(
    ("name", "learned"),
    [
        ("eva02_tiny_patch14_224", False),
        ("vit_small_patch16_rope_mixed_224", True),
        ("vit_small_patch16_dinov3", False),
    ],
)
def test_rotations(name: str, learned: bool) -> None:
    found = inspect(timms(name, depth=2))
    (source,) = found.of("rotary")
    assert source.module == "rope"
    assert source.trainable is learned
    assert (source.parameters > 0) is learned
    assert source.tokens in (196, 256)
    assert source.width == 64  # of each head
    assert source.count == (2 * 6 if learned else 1)  # of heads and blocks
    assert source.memory() == 2 * (source.tokens or 0) * 64 * source.count * 4


def test_the_memory_of_rotations_is_that_of_their_table() -> None:
    model = timm.create_model("eva02_tiny_patch14_224", depth=1)
    (source,) = inspect(model).of("rotary")
    table = model.rope.pos_embed
    assert source.memory() == table.numel() * table.element_size()


def test_convolutions_that_stand_for_position() -> None:
    twins = inspect(timms("twins_svt_small"))
    assert [s.module for s in twins.encodings] == [f"pos_block.{i}.proj.0" for i in range(4)]
    assert {(s.kind, s.width, s.memory()) for s in twins.encodings} == {("convolution", 3, 0)}
    assert len(inspect(timms("csatv2")).of("convolution")) == 18  # most of one channel
    assert len(inspect(timms("davit_tiny")).of("convolution")) == 24
    assert len(inspect(timms("fastvit_sa12")).of("convolution")) == 1


def test_depthwise_convolutions_that_are_a_nets_own_do_not() -> None:
    for name in ("convnext_atto", "test_efficientnet", "mobilevitv2_050", "pvt_v2_b0"):
        assert inspect(timms(name)).nothing_found


def test_sinusoids_are_fixed_tables_or_computed() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Conv2d(3, 8, 4, 4)
            self.register_buffer("pos_embedding", torch.randn(1, 15, 8))
            self.grid_size = (3, 5)

    source = only(inspect(Fixed()))
    assert (source.kind, source.grid, source.parameters) == ("sinusoidal", (3, 5), 0)
    computed = only(inspect(timms("xcit_nano_12_p8_224")))
    assert (computed.kind, computed.module, computed.attribute) == ("sinusoidal", "pos_embed", None)
    mae = timm.create_model("test_vit")
    mae.pos_embed.requires_grad_(False)
    assert only(inspect(mae)).kind == "sinusoidal"
    frozen = timm.create_model("test_vit").requires_grad_(False)
    assert (only(inspect(frozen)).kind, only(inspect(frozen)).trainable) == ("absolute", False)


@pytest.mark.parametrize(
    ("name", "grids"),
    [
        ("crossvit_9_240", [(20, 20), (14, 14)]),
        ("tnt_s_patch16_224", [(14, 14), (4, 4)]),
        ("visformer_tiny", [(28, 28), (14, 14), (7, 7)]),
        ("nest_tiny", [(56, 56), (28, 28), (14, 14)]),
        ("pit_ti_224", [(27, 27)]),
        ("hiera_tiny_224", [(56, 56)]),
        ("hieradet_small", [(7, 7), (8, 8)]),
        ("resnet50_clip", [(7, 7)]),
    ],
)
def test_absolute_tables_under_their_many_names(name: str, grids: list[tuple[int, int]]) -> None:
    assert [s.grid for s in inspect(timms(name)).of("absolute")] == grids


def test_torchvisions_models() -> None:
    vit = on_meta(lambda: torchvision.models.VisionTransformer(64, 16, 1, 2, 32, 64))
    source = only(inspect(vit))
    assert (source.path, source.grid, source.prefix) == ("encoder.pos_embedding", (4, 4), 1)
    for version, kind in ((1, "relative"), (2, "relative_mlp")):
        make = torchvision.models.swin_transformer
        block = make.SwinTransformerBlock if version == 1 else make.SwinTransformerBlockV2
        with torch.device("meta"):
            swin = make.SwinTransformer([4, 4], 16, [2], [2], [7, 7], block=block)
        assert [(s.kind, s.grid, s.heads) for s in inspect(swin).encodings] == [
            (kind, (7, 7), 2)
        ] * 2
    found = inspect(on_meta(torchvision.models.resnet18))
    assert found.nothing_found
    assert [(s.mode, s.count) for s in found.padding] == [
        ("zeros (conv)", 17),
        ("ignored (pool)", 1),
    ]


@pytest.mark.parametrize(
    ("name", "count"), [("resnet50", 17), ("tf_mobilenetv3_small_100", 12), ("convnext_atto", 12)]
)
def test_padding_is_counted_in_the_mode_it_is_in(name: str, count: int) -> None:
    model = timms(name)
    assert (inspect(model).padding[0].mode, inspect(model).padding[0].count) == (
        "zeros (conv)",
        count,
    )
    set_padding(model, "circular")
    padding = inspect(model).padding
    assert (padding[0].mode, padding[0].count) == ("circular (conv)", count)


def test_a_size_gives_the_tokens_of_attention_there() -> None:
    model = timm.create_model("test_vit", img_size=(48, 80), reg_tokens=2, dynamic_img_size=True)
    source = inspect(model, (64, 80)).of("absolute")[0]
    assert (source.grid, source.tokens, source.memory()) == ((4, 5), 23, 23 * 64 * 4)
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224",
        depths=(1, 1), num_heads=(3, 6), window_size=(4, 8), img_size=(64, 128),
    )  # fmt: skip
    for source in inspect(swin, (64, 128)).encodings:
        assert (source.grid, source.tokens) == ((4, 8), 32)


def test_nothing_is_said_aloud() -> None:
    found = inspect(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    assert (found.nothing_found, found.sources, len(found.padding)) == (True, [], 0)
    assert str(found) == (
        "Inventory of Sequential: nothing found; 0 pads\n\n"
        "nothing found: no table, rotation, position convolution or padding"
    )
    assert found.to_dict()["nothing_found"] is True
    with pytest.raises(ValueError, match="`inventory` must have a source, but Sequential has none"):
        found.plot()


def test_the_table_joins_what_differs_in_name_only() -> None:
    model = timms("beit_base_patch16_224", depth=3, img_size=(48, 80))
    lines = [" ".join(line.split()) for line in str(inspect(model)).splitlines()]
    names = [f"blocks.{i}.attn.relative_position_bias_table" for i in (0, 2)]
    assert lines == [
        "Inventory of Beit: 3 relative; 1 pads",
        "",
        "kind where shape grid prefix heads parameters memory what",
        f"relative {names[0]} ... {names[1]} (3) 48 x 12 3 x 5 1 12 576 12.0 KiB",
        "padding patch_embed zeros (call), 1 modules",
    ]


def test_the_dictionary_is_json_and_has_all_sources() -> None:
    found = inspect(timms("eva02_tiny_patch14_224", depth=1))
    data = json.loads(json.dumps(found.to_dict()))
    assert [s["kind"] for s in data["sources"]] == ["absolute", "rotary", "padding"]
    assert data["sources"][0]["shape"] == [1, 257, 192]
    assert data["sources"][0]["grid"] == [16, 16]
    assert data["parameters"] == 257 * 192


def test_pictures_show_the_first_tables_and_where_sources_are() -> None:
    vit = inspect(timm.create_model("test_vit", img_size=(48, 80))).plot()
    similarity: Any = vit.axes[1].images[0].get_array()
    assert similarity.shape == (3, 5)
    assert float(similarity[1, 2]) == pytest.approx(1.0, abs=1e-5)
    block = torchvision.models.SwinTransformer([4, 4], 16, [2], [2], [5, 5])
    table = block.features[1][0].attn.relative_position_bias_table
    shown = inspect(block).plot().axes[1].images[0].get_array()
    wanted = table.detach().mean(1).reshape(9, 9)
    assert torch.allclose(torch.tensor(shown), wanted, atol=1e-6)
    assert len(inspect(timms("beit_base_patch16_224", depth=1)).plot().axes) == 1  # no values


def test_a_model_is_left_as_it_was() -> None:
    model = timm.create_model("eva02_tiny_patch14_224", depth=1, img_size=56)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    inspect(model, (56, 56))
    assert model.training
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^`model` must be an `nn\.Module`, but is str\.$"):
        inspect("resnet50")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^`model` must be the model itself, but is wrapped"):
        inspect(nn.DataParallel(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"^`size` must be `\(h, w\)`, in pixels, but is 224\.$"):
        inspect(nn.Conv2d(3, 3, 3), 224)  # type: ignore[arg-type]
