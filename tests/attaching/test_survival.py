"""What somebody does to a model of his own, he does to one with encodings attached."""

from typing import Any

import peft
import pytest
import timm
import timm.optim
import torch
from backbones import (
    ATTENTION,
    CONVOLUTIONS,
    Backbone,
    bias,
    facts,
    learned,
)
from torch import Tensor, nn

import visionpe
from visionpe import CoordConv, Frame, HeightAttention, Rotary, Site
from visionpe.attaching.errors import AttachError


def swinv2() -> nn.Module:
    model: nn.Module = timm.create_model(
        "swinv2_tiny_window8_256",
        img_size=(32, 48),
        window_size=4,
        embed_dim=16,
        depths=(1, 1),
        num_heads=(2, 4),
        num_classes=3,
    )
    for name, parameter in model.named_parameters():
        if ".norm" in name and name.endswith("weight"):
            nn.init.ones_(parameter)  # they start at zero: no attention has a say
    return model


def hybrid() -> nn.Module:
    model: nn.Module = timm.create_model("mobilevit_xxs", num_classes=3)
    return model


FAMILIES: dict[str, Backbone] = {
    "vit": ATTENTION["vit"],
    "swin": ATTENTION["swin"],
    "swinv2": Backbone(swinv2, 32, 48),
    "pvt": ATTENTION["pvt"],
    "maxvit": ATTENTION["maxvit"],
    "mobilevit": Backbone(hybrid, 64, 96),
    "resnet": Backbone(lambda: timm.create_model("test_resnet", num_classes=3), 64, 96),
    "convnext": Backbone(lambda: timm.create_model("test_convnext", num_classes=3), 64, 96),
    "torchvision vit": ATTENTION["torchvision vit"],
    "torchvision resnet": CONVOLUTIONS["resnet18"],
}
WITH_ATTENTION = ["vit", "swin", "swinv2", "pvt", "maxvit", "mobilevit", "torchvision vit"]


def attached(name: str, *, start: bool = False) -> Any:
    """A family's model with an encoding in its attention, on its maps and in a convolution."""
    backbone = FAMILIES[name]
    model, size = backbone.model(), (backbone.h, backbone.w)
    if name in WITH_ATTENTION:
        visionpe.attach(model, bias, size=size)
    visionpe.attach(model, learned, size=size)
    visionpe.attach(model, CoordConv(), size=size)
    if not start:
        randomise(model)
    return model


def randomise(model: nn.Module) -> None:
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter, std=0.3)


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(x)
    return result


@pytest.mark.parametrize("name", FAMILIES)
def test_a_training_step_reaches_all_that_is_attached_and_changes_nothing_else(name: str) -> None:
    model, x = attached(name, start=True), FAMILIES[name].images()
    base = FAMILIES[name].model()
    kinds = [(type(m), m.training) for m in base.modules()]
    own = [m for n, m in model.named_modules() if n.partition(".")[0] != "visionpe"]
    assert [(type(m), m.training) for m in own] == kinds
    assert {k: (v.dtype, v.device) for k, v in base.state_dict().items()}.items() <= {
        k: (v.dtype, v.device) for k, v in model.state_dict().items()
    }.items()
    inside = dict(model.visionpe.named_parameters())
    if name == "torchvision vit":  # only the class token is pooled: places have no say in the last
        inside = {k: v for k, v in inside.items() if "layer_1" not in k}
    before = {key: parameter.detach().clone() for key, parameter in inside.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().sum().backward()
    for key, parameter in inside.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key
    optimizer.step()
    assert all(not torch.equal(before[key], parameter) for key, parameter in inside.items())


@pytest.mark.parametrize("name", ["vit", "swin", "pvt", "resnet", "torchvision resnet"])
def test_states_go_round_and_what_is_attached_is_not_missing_from_base_checkpoints(
    name: str,
) -> None:
    model, other, x = attached(name), attached(name), FAMILIES[name].images()
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(output(other, x), output(model, x))
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("visionpe.")}
    base, added = FAMILIES[name].model(), sorted(model.state_dict().keys() - own)
    inside = {key: other.state_dict()[key].clone() for key in added}
    other.load_state_dict(base.state_dict(), strict=True)
    assert all(torch.equal(other.state_dict()[key], inside[key]) for key in added)
    with visionpe.disabled(other):
        assert torch.equal(output(other, x), output(base, x))
    result = base.load_state_dict(model.state_dict(), strict=False)
    assert (result.missing_keys, sorted(result.unexpected_keys)) == ([], added)
    base.load_state_dict(own, strict=True)
    with visionpe.disabled(model):
        assert torch.equal(output(base, x), output(model, x))


@pytest.mark.parametrize("name", ["vit", "swin", "pvt", "resnet"])
def test_features_and_intermediates_are_those_of_the_model(name: str) -> None:
    model, x = attached(name), FAMILIES[name].images()
    wanted = output(model, x)
    with torch.no_grad():
        features = model.forward_features(x)
        assert torch.equal(model.forward_head(features), wanted)
        last, maps = model.forward_intermediates(x)
        only = model.forward_intermediates(x, intermediates_only=True)
        assert torch.equal(last, features)
        with visionpe.disabled(model):
            _, plain = model.forward_intermediates(x)
    assert all(torch.equal(a, b) for a, b in zip(maps, only, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(maps, plain, strict=True))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "pvt_v2_b0"])
def test_nets_that_return_features_take_encodings_at_their_stages(name: str) -> None:
    model, x = timm.create_model(name, features_only=True).eval(), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        plain = model(x)
        visionpe.attach(model, CoordConv(), at="all", size=(64, 96))
        stage = {"test_resnet": "layer2", "test_convnext": "stages_1", "pvt_v2_b0": "stages_1"}
        at = stage.get(name, "blocks.1")
        channels = plain[-1].shape[1]
        visionpe.attach(model, _gate, at=at, size=(64, 96))
        assert all(torch.equal(a, b) for a, b in zip(model(x), plain, strict=True))
        randomise(model)
        got = model(x)
    assert got[-1].shape[1] == channels
    assert not any(torch.equal(a, b) for a, b in zip(got, plain, strict=True))


def _gate(site: Site) -> HeightAttention:
    return HeightAttention(site.shape[1 if site.layout == "NCHW" else -1], identity=True)


@pytest.mark.parametrize("name", ["vit", "swin", "convnext"])
def test_a_new_classifier_sees_what_is_attached(name: str) -> None:
    model, x = attached(name), FAMILIES[name].images()
    features = model.forward_features(x)
    model.reset_classifier(7)
    assert output(model, x).shape == (2, 7)
    assert torch.equal(model.forward_features(x), features)
    model.reset_classifier(0)
    pooled = output(model, x)
    with visionpe.disabled(model):
        assert not torch.equal(output(model, x), pooled)


@pytest.mark.parametrize("name", ["pvt", "maxvit", "resnet", "convnext"])
def test_images_of_other_sizes_pass_or_say_which_size_to_attach_for(name: str) -> None:
    model = attached(name)
    x = torch.randn(2, 3, 96, 64)
    windowed = name == "maxvit"
    if windowed or name == "pvt":
        visionpe.detach(model, "RelativeBias")
    if windowed:
        visionpe.attach(model, lambda s: Rotary(), size=(64, 96))
        with pytest.raises((AttachError, AssertionError)):
            model(x)
        return
    assert output(model, x).isfinite().all()
    with visionpe.disabled(model):
        plain = output(model, x)
    assert not torch.equal(output(model, x), plain)


@pytest.mark.parametrize("name", ["convnext", "maxvit"])
def test_channels_last_gives_the_same(name: str) -> None:
    model, x = attached(name), FAMILIES[name].images()
    wanted = output(model, x)
    model.to(memory_format=torch.channels_last)
    got = output(model, x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vit", "swin", "swinv2", "convnext"])
def test_under_autocast_it_computes_and_learns_as_in_float32(name: str) -> None:
    model, x = attached(name), FAMILIES[name].images()
    wanted = output(model, x)
    with torch.autocast("cpu", torch.bfloat16):
        got = model(x)
        got.float().square().sum().backward()
    assert got.dtype == torch.bfloat16
    scale = float(wanted.abs().max())
    assert float((got.detach().float() - wanted).abs().max()) < 0.1 * scale
    for key, parameter in model.visionpe.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", ["swin", "convnext"])
def test_recomputed_layers_have_the_same_gradients(name: str) -> None:
    model, x = attached(name), FAMILIES[name].images()
    gradients = []
    for recompute in (False, True):
        model.set_grad_checkpointing(recompute)
        model.zero_grad()
        model(x).square().sum().backward()
        gradients.append({k: p.grad.clone() for k, p in model.visionpe.named_parameters()})
    for key, wanted in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "swin", "torchvision resnet"])
def test_timms_optimizers_decay_nothing_that_is_attached(name: str) -> None:
    model = FAMILIES[name].model()
    before = facts(model)
    own = _own(model)
    bare = _decayed(model)
    model = attached(name)
    added = {f"visionpe.{key}" for key, _ in model.visionpe.named_parameters()}
    assert _own(model) == own | added
    assert _decayed(model) == bare
    visionpe.detach(model)
    assert [part[3] for part in facts(model)[0]] == [part[3] for part in before[0]]
    assert _own(model) == own


def _own(model: Any) -> set[str]:
    return set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()


def _decayed(model: nn.Module) -> set[str]:
    """The names of the parameters to which timm's factory gives weight decay."""
    optimizer = timm.optim.create_optimizer_v2(model, "adamw", lr=0.1, weight_decay=0.05)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optimizer.param_groups
    assert sum(len(group["params"]) for group in groups) == len(names)
    return {names[id(p)] for g in groups for p in g["params"] if g["weight_decay"]}


def test_layer_wise_learning_rates_leave_attached_parameters_at_the_full_rate() -> None:
    model = attached("vit")
    optimizer = timm.optim.create_optimizer_v2(
        model, "adamw", lr=0.1, weight_decay=0.05, layer_decay=0.5
    )
    inside = {id(parameter) for parameter in model.visionpe.parameters()}
    groups = [g for g in optimizer.param_groups if any(id(p) in inside for p in g["params"])]
    assert {group["lr_scale"] for group in groups} == {1.0}
    assert {group["weight_decay"] for group in groups} == {0.0}


def test_lora_on_top_starts_as_the_attached_model_and_trains_what_is_saved() -> None:
    model, x = attached("vit"), FAMILIES["vit"].images()
    wanted = output(model, x)
    names = [name for name, _ in model.visionpe.RelativeBias.named_children()]
    config = peft.LoraConfig(target_modules=["qkv"], r=2, modules_to_save=names)
    adapted = peft.get_peft_model(model, config).eval()
    torch.testing.assert_close(output(adapted, x), wanted, rtol=1e-5, atol=1e-6)
    adapted(x).square().sum().backward()
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert any("visionpe.RelativeBias" in name for name in trained)
    for name, parameter in adapted.named_parameters():
        if name in trained and "lora_A" not in name:  # its factor is zero at first
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(output(merged, x), wanted, rtol=1e-5, atol=1e-6)


def test_frames_reach_encodings_inside_a_wrapper_that_calls_the_model() -> None:
    model = attached("vit")
    frame = Frame.identity(96, 160).crop(3, 9, h=48, w=80)
    x = FAMILIES["vit"].images()
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["qkv"], r=2)).eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(x, frame=frame), model(x, frame=frame))
        assert not torch.equal(adapted(x), adapted(x, frame=frame))
