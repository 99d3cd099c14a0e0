"""Ways to build and to call a model that a plain forward in evaluation mode does not show."""

import re
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models._features_fx import create_feature_extractor
from torch import Tensor, nn
from torchvision.models import SwinTransformer

import visionpe
from visionpe import CoordConv, Frame, RelativeBias, Sinusoidal2d, Site
from visionpe.attaching.errors import AttachError
from visionpe.errors import CheckpointError
from visionpe.removing.errors import RemoveError


def vit(**options: Any) -> nn.Module:
    model: nn.Module = timm.create_model("test_vit", img_size=(48, 80), num_classes=3, **options)
    model.eval()
    return model


def strong() -> RelativeBias:
    return RelativeBias(2, (3, 5), std=2.0)


def swin() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = SwinTransformer(
        patch_size=[4, 4],
        embed_dim=16,
        depths=[1, 1],
        num_heads=[1, 2],
        window_size=[4, 4],
        num_classes=3,
    )
    return model.eval()


def window_bias(site: Site) -> RelativeBias:
    assert site.heads is not None
    assert site.lattice is not None
    return RelativeBias(site.heads, (site.lattice.h, site.lattice.w), std=2.0)


class Encoder(nn.Module):
    """torch's own, which has a fast path for evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.encoder(self.patch(x).flatten(2).mT)
        return out


def test_torchs_fast_encoder_layers_do_not_pass_encodings_by() -> None:
    model, x = Encoder().eval(), torch.randn(2, 3, 32, 40)
    hooks = [len(module._forward_hooks) for module in model.modules()]
    before = model(x)
    visionpe.attach(model, RelativeBias(2, (4, 5), std=2.0), size=(32, 40))
    wanted = model(x)
    assert not torch.allclose(wanted, before, atol=1e-3)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(model(x), wanted)
    visionpe.detach(model)
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("how", ["hook", "parametrization"])
def test_weight_norm_is_traced(how: str) -> None:
    """Its kernel reads as many numbers as its tensor has, whatever the strides are."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    if how == "hook":
        with pytest.warns(FutureWarning, match="deprecated"):
            nn.utils.weight_norm(model[0])
    else:
        nn.utils.parametrizations.weight_norm(model[0])
    for _ in range(20):
        found = visionpe.trace(model, 16, 240)
    assert "_weight_norm_interface" in found.unknown
    assert found.outputs[-1].shape == (1, 8, 16, 240)


@pytest.mark.parametrize("name", ["", "(model)"])
def test_a_frame_reaches_an_encoding_of_the_models_own_output(name: str) -> None:
    x, frame = torch.randn(2, 3, 12, 20), Frame.identity(50, 60).crop(3, 5, h=12, w=20)
    alone = nn.Conv2d(3, 8, 3, padding=1)
    nested = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
    nested[0].load_state_dict(alone.state_dict())
    visionpe.attach(alone, Sinusoidal2d(), at=name, size=(12, 20))
    visionpe.attach(nested, Sinusoidal2d(), at="0", size=(12, 20))
    assert not torch.equal(alone(x, frame=frame), alone(x))
    assert torch.equal(alone(x, frame=frame), nested(x, frame=frame))


def test_images_may_be_given_by_keyword() -> None:
    model = vit(dynamic_img_size=True)
    visionpe.attach(model, RelativeBias(2, (5, 5), std=2.0), size=(48, 80))
    x = torch.randn(2, 3, 80, 48)
    assert torch.equal(model(x=x), model(x))
    frames = Frame.stack([Frame.identity(48, 80)] * 3)
    with pytest.raises(ValueError, match="3"):
        model(x=torch.randn(2, 3, 48, 80), frame=frames)


def test_dropped_tokens_are_no_lattice() -> None:
    model = vit(patch_drop_rate=0.5, dynamic_img_size=True).train()
    visionpe.attach(model, RelativeBias(2, (6, 10), std=1.0), size=(48, 80))
    with pytest.raises(AttachError, match="has 30 cells"):  # 30 = 6 x 5, of which 6 x 10 are known
        model(torch.randn(2, 3, 96, 160))
    with pytest.raises(AttachError, match="cannot tell which tokens were dropped or merged"):
        model(torch.randn(2, 3, 48, 80))


def test_other_pads_and_encodings_come_off_in_any_order() -> None:
    x = torch.randn(1, 3, 40, 56)
    plain = swin()(x)
    reflected = swin()
    visionpe.set_padding(reflected, "reflect")

    model = swin()
    visionpe.set_padding(model, "circular")
    visionpe.attach(model, window_bias, size=(40, 56))
    with visionpe.disabled(model):
        visionpe.set_padding(model, "reflect")
        torch.testing.assert_close(model(x), reflected(x))
        visionpe.set_padding(model, "original")
        torch.testing.assert_close(model(x), plain)
    visionpe.detach(model)
    assert torch.equal(model(x), plain)

    visionpe.attach(model, window_bias, size=(40, 56))
    visionpe.set_padding(model, "circular")
    visionpe.detach(model)
    visionpe.set_padding(model, "original")
    assert not any("forward" in vars(module) for module in model.modules())
    visionpe.attach(model, window_bias, size=(40, 56))
    assert not torch.equal(model(x), plain)
    with visionpe.disabled(model):
        assert torch.equal(model(x), plain)


@pytest.mark.parametrize("name", ["before", "active", "plans", "caller", "handles"])
def test_an_encoding_may_be_named_as_what_holds_it_names_things(name: str) -> None:
    model, other = vit(), vit()
    visionpe.attach(model, strong(), size=(48, 80), name=name)
    visionpe.load(other, visionpe.state(model))
    assert [plan.name for plan in visionpe.status(other)] == [name]


class TwoWays(nn.Module):
    """Attends by torch's function and by a product of its own, in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        own = (q @ k.mT * 8**-0.5).softmax(-1) @ v
        out: Tensor = (F.scaled_dot_product_attention(q, k, v) + own).transpose(1, 2).flatten(2)
        return out


class TwoWaysNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.attention = TwoWays()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(self.patch(x).flatten(2).mT)
        return out


def test_two_kinds_of_attention_in_a_module_are_loaded_each() -> None:
    model, other, x = TwoWaysNet(), TwoWaysNet(), torch.randn(2, 3, 12, 20)
    visionpe.attach(model, RelativeBias(2, (3, 5), std=1.0), size=(12, 20))
    visionpe.load(other, visionpe.state(model))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), model(x))


def test_a_state_that_does_not_fit_leaves_the_model_as_it_was() -> None:
    model, other = vit(), vit()
    visionpe.attach(model, strong(), size=(48, 80))
    state = visionpe.state(model)
    state.tensors["visionpe.RelativeBias.nowhere.table"] = torch.zeros(1)
    with pytest.raises(CheckpointError):
        visionpe.load(other, state)
    assert not visionpe.status(other)


class Sigmoid(nn.Conv2d):
    """Keeps its output for the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


def test_what_others_keep_of_a_convolutions_output_is_not_changed() -> None:
    model = nn.Sequential(Sigmoid(3, 8, 3, padding=1))
    visionpe.attach(model, CoordConv(), size=(6, 7))
    model(torch.randn(2, 3, 6, 7)).sum().backward()

    kept: list[Tensor] = []
    conv = nn.Conv2d(3, 8, 3, padding=1)
    model = nn.Sequential(conv)
    conv.register_forward_hook(lambda module, args, output: kept.append(output))
    visionpe.attach(model, CoordConv(), size=(6, 7))
    for weight in model.get_submodule("visionpe").parameters():
        nn.init.ones_(weight)
    x = torch.randn(2, 3, 6, 7)
    with torch.no_grad():
        model(x)
        plain = F.conv2d(x, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(kept[-1], plain)


class ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(input=x)
        return out


def test_a_convolution_may_be_given_its_input_by_keyword() -> None:
    model, x = ByKeyword(), torch.randn(2, 3, 6, 7)
    before = model(x)
    visionpe.attach(model, CoordConv(), size=(6, 7))
    assert torch.equal(model(x), before)


def test_a_graph_of_fx_holds_the_term_of_a_convolution() -> None:
    model = timm.create_model("resnet10t", num_classes=4).eval()
    visionpe.attach(model, CoordConv(), at="all", size=(64, 64))
    for weight in model.visionpe.parameters():
        nn.init.ones_(weight)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(create_feature_extractor(model, ["fc"])(x)["fc"], model(x))


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_the_size_that_a_model_was_made_for_is_known(name: str) -> None:
    model = timm.create_model(name, img_size=(64, 96), num_classes=3).eval()
    visionpe.attach(model, visionpe.Rotary())
    assert visionpe.status(model)[0].size == (64, 96)
    assert model(torch.randn(1, 3, 64, 96)).shape == (1, 3)


def test_a_model_compiled_in_place_is_refused() -> None:
    model = timm.create_model("test_resnet").eval()
    model.layer1.compile(backend="eager")
    message = (
        "`model` must not be compiled yet, but `layer1` was by `.compile()`, and would go on as it "
        "was then. Do this first, then compile."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        visionpe.attach(model, CoordConv(), size=(64, 64))


def test_models_are_traced_in_inference_mode() -> None:
    with torch.inference_mode():
        model = visionpe.attach(vit(), strong(), size=(48, 80))
    assert len(visionpe.status(model)) == 1


def test_a_frozen_backbone_keeps_its_learned_table() -> None:
    model = vit().requires_grad_(False)
    model.head.requires_grad_(True)
    visionpe.remove(model, "learned")
    trained = visionpe.remove(vit(), "learned")
    visionpe.attach(trained, strong(), size=(48, 80))
    visionpe.load(model, visionpe.state(trained))


def test_a_module_of_which_something_was_removed_can_be_parametrized() -> None:
    model = visionpe.remove(vit(), "learned")
    x = torch.randn(1, 3, 48, 80)
    before = model(x)
    nn.utils.parametrizations.weight_norm(model, "cls_token")
    torch.testing.assert_close(model(x), before)
    with pytest.raises(RemoveError, match="undo what made it one first"):
        visionpe.restore(model)
    nn.utils.parametrize.remove_parametrizations(model, "cls_token")
    visionpe.restore(model)
    assert not torch.allclose(model(x), before)
