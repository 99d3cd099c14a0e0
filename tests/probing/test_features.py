"""Recording: what layers return, as maps, and the model as it was."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from visionpe import record, trace
from visionpe.probing.errors import FeatureError
from visionpe.probing.features import frozen
from visionpe.probing.layers import Layer, find_layers

H, W = 48, 80


def vit(**options: Any) -> Any:
    model: nn.Module = timm.create_model("test_vit", img_size=(H, W), num_classes=3, **options)
    return model


def swin() -> Any:
    model: nn.Module = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=(32, 48), embed_dim=16, depths=(2, 2),
        num_heads=(2, 4), window_size=4, num_classes=3,
    )  # fmt: skip
    return model


def test_recorded_maps_of_a_cnn_are_its_activations() -> None:
    net = timm.create_model("resnet10t", num_classes=3)
    images = torch.randn(2, 3, 64, 96)
    net.eval()
    first = net.maxpool(net.act1(net.bn1(net.conv1(images))))
    with record(net, ["layer1", "layer2"], (64, 96)) as maps_of:
        maps = maps_of(images)
    torch.testing.assert_close(maps["layer1"], net.layer1(first))
    torch.testing.assert_close(maps["layer2"], net.layer2(net.layer1(first)))


def test_recorded_maps_of_a_vit_are_its_tokens_row_by_row() -> None:
    net = vit(reg_tokens=2).eval()
    images = torch.randn(2, 3, H, W)
    with record(net, ["blocks.1"], (H, W)) as maps_of:
        found = maps_of(images)["blocks.1"]
    tokens = net.forward_intermediates(images, indices=[1], intermediates_only=True)[0]
    assert found.shape == (2, 64, 3, 5)
    torch.testing.assert_close(found, tokens)


def test_recorded_maps_of_a_swin_are_channels_first() -> None:
    net = swin().eval()
    images = torch.randn(2, 3, 32, 48)
    with record(net, ["layers.1"], (32, 48)) as maps_of:
        found = maps_of(images)["layers.1"]
    torch.testing.assert_close(found.permute(0, 2, 3, 1), net.layers(net.patch_embed(images)))


def test_an_operation_in_place_does_not_reach_what_was_recorded() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    images = torch.randn(2, 3, 4, 6)
    with record(net, ["0"], (4, 6)) as maps_of:
        torch.testing.assert_close(maps_of(images)["0"], net[0](images))


def test_no_map_is_kept_between_batches() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    with record(net, ["0"], (4, 6)) as maps_of:
        first = maps_of(torch.ones(1, 3, 4, 6))
        second = maps_of(torch.zeros(2, 3, 4, 6))
    assert first["0"].shape[0] == 1
    assert second["0"].shape[0] == 2
    assert not first["0"].requires_grad


def test_half_precision_models_are_recorded_in_single() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1)).bfloat16()
    with record(net, ["0"], (4, 6)) as maps_of:
        assert maps_of(torch.ones(1, 3, 4, 6))["0"].dtype == torch.float32


class Moody(nn.Module):
    """Keeps things between forwards, draws random numbers, drops out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.seen: dict[str, Tensor] = {}
        self.norm.train()

    def forward(self, x: Tensor) -> Tensor:
        self.seen["last"] = x
        self.last = torch.rand(3)
        made: Tensor = self.drop(self.norm(self.conv(x)))
        return made


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails: bool) -> None:
    net = Moody()
    net.conv.eval()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flags = [m.training for m in net.modules()]
    numbers = torch.random.get_rng_state()
    try:
        with record(net, ["conv"], (4, 6)) as maps_of:
            maps_of(torch.full((2, 3, 4, 6), torch.nan if fails else 1.0))
    except FeatureError:
        assert fails
    assert all(torch.equal(state[name], t) for name, t in net.state_dict().items())
    assert [m.training for m in net.modules()] == flags
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert not net.seen
    assert "last" not in vars(net)
    assert not any(m._forward_hooks for m in net.modules())


def test_frozen_modules_are_in_evaluation_mode() -> None:
    net = Moody()
    with frozen(net):
        assert not any(m.training for m in net.modules())
    assert net.training


def test_layers_by_default_are_the_stages() -> None:
    net = timm.create_model("resnet10t", num_classes=3)
    found = find_layers(trace(net, 64, 96), net)
    assert [layer.name for layer in found][-4:] == ["layer1", "layer2", "layer3", "layer4"]
    sizes = [(layer.h, layer.w) for layer in found]
    assert sizes == sorted(set(sizes), reverse=True)


def test_layers_by_default_of_a_vit_are_four_of_its_blocks() -> None:
    net = vit()
    found = find_layers(trace(net, H, W), net)
    assert [layer.name for layer in found] == [f"blocks.{i}" for i in (0, 2, 3, 5)]
    assert all((layer.h, layer.w, layer.prefix) == (3, 5, 1) for layer in found)


def test_layers_come_in_the_order_of_execution_each_once() -> None:
    net = timm.create_model("resnet10t", num_classes=3)
    found = find_layers(trace(net, 64, 96), net, ["layer3", "layer[12]", "layer1"])
    assert [layer.name for layer in found] == ["layer1", "layer2", "layer3"]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            "blocks.99",
            "`layers` must name modules of VisionTransformer, but 'blocks.99' matches none. "
            "The nearest is 'blocks.5'. There are",
        ),
        (
            "head",
            "`layers` must name modules with a spatial map, but the output of 'head' has no places "
            "in the image. There are",
        ),
        (
            "blocks.0.attn.q_norm",
            "`layers` must name modules with a spatial map, but 'blocks.0.attn.q_norm' has none: "
            "its output is neither a map `b c h w` or `b h w c` nor tokens `b n c`. There are",
        ),
    ],
)
def test_a_layer_without_a_map_is_refused_with_what_there_is(layer: str, said: str) -> None:
    net = vit()
    with pytest.raises(ValueError, match="layers") as refused:
        find_layers(trace(net, H, W), net, [layer])
    text = str(refused.value)
    assert text.startswith(said)
    assert "with a map: patch_embed.proj, " in text


def test_a_map_of_one_cell_asks_for_larger_images() -> None:
    net = timm.create_model("resnet10t", num_classes=3)
    said = r"'layer4' has none: its map is of one cell\. Give larger images\."
    with pytest.raises(ValueError, match=said):
        find_layers(trace(net, 32, 32), net, ["layer4"])
    assert [x.name for x in find_layers(trace(net, 32, 32), net)][-1] == "layer3"


def test_windows_are_no_map() -> None:
    net = swin()
    with pytest.raises(ValueError, match=r"it returns windows, no whole map\."):
        find_layers(trace(net, 32, 48), net, ["layers.0.blocks.0.attn"])


def test_a_module_that_runs_twice_is_no_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(self.conv(x))
            return y

    with pytest.raises(ValueError, match=r"'conv' has none: it runs several times in one forward"):
        find_layers(trace(net := Twice(), 4, 6), net, ["conv"])


def test_features_that_are_not_finite_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    images = torch.zeros(3, 3, 4, 6)
    images[1, 0, 2, 2] = torch.inf
    with (
        record(net, ["0"], (4, 6)) as maps_of,
        pytest.raises(FeatureError) as refused,
    ):
        maps_of(images)
    assert str(refused.value) == (
        "Layer '0' must give finite features, but those of 1 of 3 images hold NaN or infinity. "
        "Check the weights, and the images' range."
    )


def test_a_layer_that_is_not_reached_or_changes_its_shape_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    missing = Layer("0", 4, 5, 6, (1.0, 1.0), "NCHW", 0, 0)
    with record(net, [missing]) as maps_of, pytest.raises(FeatureError) as refused:
        maps_of(torch.zeros(1, 3, 4, 6))
    assert str(refused.value) == (
        "Layer '0' must give maps of 4 x 5 x 6, as when it was traced, but gives 4 x 4 x 6."
    )
    with pytest.raises(ValueError, match=r"^`size` must be the \(h, w\) of the images for layers"):
        record(net, ["0"]).__enter__()


def test_the_layers_of_a_shallow_vit_are_no_identities() -> None:
    net = timm.create_model("test_vit", img_size=(32, 48), depth=2, num_classes=3)
    found = find_layers(trace(net, 32, 48), net)
    kinds = [type(net.get_submodule(layer.name)).__name__ for layer in found]
    assert kinds
    assert "Identity" not in kinds
