"""What is attached changes nothing at first, learns, and goes without a trace."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from backbones import ATTENTION, CONVOLUTIONS, Backbone, bias, facts, learned, vit
from torch import Tensor, nn

import visionpe
from visionpe import CoordConv, HeightAttention, IRPEContextual, Shaw, Site

ALL = {**ATTENTION, **CONVOLUTIONS}


def shaw(site: Site) -> Shaw:
    return Shaw(site.head_dim or 1, heads=site.heads)


def contextual(site: Site) -> IRPEContextual:
    return IRPEContextual(site.head_dim or 1, heads=site.heads)


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(x)
    return result


def require_identity(
    backbone: Backbone, encoding: Any, tolerance: float, options: Mapping[str, Any]
) -> None:
    model, x = backbone.model(), backbone.images()
    before, plain = facts(model), output(model, x)
    attached = visionpe.attach(model, encoding, size=(backbone.h, backbone.w), **options)
    assert attached is model
    keys = list(model.state_dict())
    base = [key for key, *_ in before[1]]
    assert [key for key in keys if not key.startswith("visionpe.")] == base
    assert len(keys) > len(base)
    difference = (output(model, x) - plain).abs().max() / plain.abs().max()
    assert difference <= tolerance, difference

    own = list(model.get_submodule("visionpe").parameters())
    model(x).square().sum().backward()
    for parameter in own:
        assert parameter.grad is not None
        parameter.data.add_(torch.randn_like(parameter), alpha=0.5)
    changed = output(model, x)
    assert not torch.equal(changed, plain)
    model.zero_grad()
    model(x).square().sum().backward()
    for name, parameter in model.get_submodule("visionpe").named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name

    with visionpe.disabled(model):
        assert torch.equal(output(model, x), plain)
    assert torch.equal(output(model, x), changed)
    visionpe.detach(model)
    assert facts(model) == before
    assert torch.equal(output(model, x), plain)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        *((name, bias) for name in ATTENTION),
        *(
            (name, make)
            for name in ("vit", "swin", "torchvision vit")
            for make in (shaw, contextual)
        ),
    ],
)
def test_an_encoding_in_attention_changes_nothing_at_first_and_leaves_nothing(
    name: str, make: Callable[[Site], nn.Module]
) -> None:
    # Where the class token alone is pooled, places have no say in the last block.
    options = {"at": "encoder.layers.*_0"} if name == "torchvision vit" else {}
    require_identity(ATTENTION[name], make, 1e-5, options)


@pytest.mark.parametrize("name", ALL)
def test_a_table_at_the_first_tokens_or_map_changes_no_bit_at_first(name: str) -> None:
    require_identity(ALL[name], learned, 0.0, {})


@pytest.mark.parametrize("name", ["resnet18", "tensorflow's same", "vit", "maxvit"])
@pytest.mark.parametrize("at", ["first", "all"])
def test_coordinates_in_convolutions_change_no_bit_at_first(name: str, at: str) -> None:
    require_identity(ALL[name], CoordConv(radius=at == "all"), 0.0, {"at": at})


@pytest.mark.parametrize(
    ("name", "at"),
    [("resnet18", "layer[12]"), ("swin", "layers.0"), ("vit", "blocks.1"), ("pvt", "stages.1")],
)
def test_a_gate_on_maps_and_tokens_of_any_layout_changes_no_bit_at_first(
    name: str, at: str
) -> None:
    channels = {"resnet18": None, "swin": 16, "vit": 64, "pvt": 16}[name]

    def gate(site: Site) -> HeightAttention:
        return HeightAttention(site.shape[1] if channels is None else channels, identity=True)

    backbone = ALL[name]
    model, x = backbone.model(), backbone.images()
    plain = output(model, x)
    visionpe.attach(model, gate, at=at, size=(backbone.h, backbone.w))
    assert torch.equal(output(model, x), plain)


def test_a_shared_encoding_is_one_for_all_sites() -> None:
    backbone = ATTENTION["vit"]
    model = visionpe.attach(backbone.model(), bias, size=(48, 80), share=True)
    assert [k for k in model.state_dict() if "visionpe" in k] == [
        "visionpe.RelativeBias.shared.table"
    ]
    x = backbone.images()
    plain = output(model, x)
    nn.init.normal_(model.get_parameter("visionpe.RelativeBias.shared.table"))
    assert not torch.equal(output(model, x), plain)


def test_several_encodings_act_together_and_leave_one_by_one() -> None:
    backbone = ATTENTION["vit"]
    model, x = backbone.model(), backbone.images()
    before = facts(model)
    visionpe.attach(model, bias, size=(48, 80))
    with_bias = facts(model)
    nn.init.normal_(model.get_parameter("visionpe.RelativeBias.blocks-0-attn.table"))
    one = output(model, x)
    visionpe.attach(model, shaw, size=(48, 80))
    visionpe.attach(model, learned, size=(48, 80))
    torch.testing.assert_close(output(model, x), one, rtol=1e-5, atol=1e-5)
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter)
    visionpe.detach(model, "Learned2d")
    visionpe.detach(model, "Shaw")
    assert [len(part) for part in facts(model)] == [len(part) for part in with_bias]
    assert [plan.name for plan in visionpe.status(model)] == ["RelativeBias"]
    visionpe.detach(model)
    assert facts(model) == before


def test_a_pretrained_state_loads_before_or_after() -> None:
    backbone, state = ATTENTION["vit"], vit().state_dict()
    first = visionpe.attach(backbone.model(), bias, size=(48, 80))
    first.load_state_dict(state)
    second = backbone.model()
    second.load_state_dict(state)
    visionpe.attach(second, bias, size=(48, 80))
    x = backbone.images()
    assert torch.equal(output(first, x), output(second, x))


def test_what_is_attached_follows_the_model() -> None:
    model = vit().to(torch.bfloat16).train()
    visionpe.attach(model, bias, size=(48, 80))
    inside = model.get_submodule("visionpe")
    assert {p.dtype for p in inside.parameters()} == {torch.bfloat16}
    assert all(module.training for module in inside.modules())
    assert model(torch.randn(2, 3, 48, 80, dtype=torch.bfloat16)).dtype == torch.bfloat16
    model.double().eval()
    assert {p.dtype for p in inside.parameters()} == {torch.float64}
    assert not any(module.training for module in inside.modules())
    assert output(model, torch.randn(2, 3, 48, 80).double()).dtype == torch.float64
