"""What `attach` refuses and how it says so, and what attached models survive."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from backbones import ATTENTION, CONVOLUTIONS, bias, facts, learned, pvt, swin, unfused, vit
from torch import Tensor, nn

import visionpe
from visionpe import (
    PEG,
    AddCoords,
    CoordConv,
    Frame,
    Learned2d,
    Plan,
    RelativeBias,
    Rotary,
    Sinusoidal2d,
)
from visionpe.attaching.errors import AttachError


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3))


class Twice(nn.Module):
    """One norm for two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 2, stride=2)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.two(self.norm(self.one(x))))
        return y


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return vit()


def attached_vit() -> Any:
    model = visionpe.attach(vit().eval(), bias, size=(48, 80))
    visionpe.attach(model, learned, size=(48, 80))
    visionpe.attach(model, CoordConv(), size=(48, 80))
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter)
    return model


REFUSED: list[tuple[Callable[[], Any], dict[str, Any], type[Exception], str]] = [
    (
        lambda: (vit(), RelativeBias(2, (3, 5))),
        {"at": "block.0"},
        ValueError,
        "`at` must name modules with attention, but 'block.0' matches none. "
        "Did you mean 'blocks.0.attn'? There are 6 modules: blocks.0.attn, blocks.1.attn, "
        "blocks.2.attn, blocks.3.attn, blocks.4.attn, blocks.5.attn.",
    ),
    (
        lambda: (vit(), RelativeBias(3, (3, 5))),
        {},
        ValueError,
        "`encoding` must fit `blocks.0.attn` (2 heads of width 32, 3 x 5 cells), but RelativeBias "
        "does not: its `heads` is 3. Name the sites that it fits, `at=`, or give a function that "
        "makes one for each `visionpe.Site`.",
    ),
    (
        lambda: (vit(), RelativeBias(2, (3, 4))),
        {},
        ValueError,
        "`encoding` must fit `blocks.0.attn` (2 heads of width 32, 3 x 5 cells), but RelativeBias "
        "does not: `window` must be at least (3, 5) for these places, but is (3, 4). Resize the "
        "table: resize_relative_bias(table, (3, 4), (3, 5)). Name the sites that it fits, `at=`, "
        "or give a function that makes one for each `visionpe.Site`.",
    ),
    (
        lambda: (net(), Learned2d(4, (3, 5))),
        {"at": "1"},
        ValueError,
        "`encoding` must fit `1` (48 x 80 cells), but Learned2d does not: `x` must have the 4 "
        "channels that Learned2d is made for, but has 8. Name the sites that it fits, `at=`, or "
        "give a function that makes one for each `visionpe.Site`.",
    ),
    (
        lambda: (net(), AddCoords()),
        {"at": "1"},
        ValueError,
        "`encoding` must fit `1` (48 x 80 cells), but AddCoords does not: it makes 10 channels of "
        "8. Name the sites that it fits, `at=`, or give a function that makes one for each "
        "`visionpe.Site`.",
    ),
    (
        lambda: (net(), Rotary()),
        {},
        ValueError,
        "`encoding` must act on attention, but Sequential has none. It has 0 attention, 4 map and "
        "2 convolution sites: see visionpe.trace.",
    ),
    (
        lambda: (net(), Sinusoidal2d()),
        {"at": "all"},
        ValueError,
        '`at` must be "first", modules or a predicate for an encoding of maps, but is "all". '
        "There are 4 modules: 0, 1, 2, (model).",
    ),
    (
        lambda: (net(), Sinusoidal2d()),
        {"at": lambda site: False},
        ValueError,
        "`at` must choose at least one of 4 modules: 0, 1, 2, (model), but is False for all.",
    ),
    (
        lambda: (net(), Sinusoidal2d()),
        {"at": 3},
        TypeError,
        '`at` must be "all", "first", a module\'s name or pattern, a list of them, or a predicate '
        "of a Site, but is int.",
    ),
    (
        lambda: (net(), Sinusoidal2d),
        {},
        TypeError,
        "`encoding` must be an encoding, but is the class Sinusoidal2d.",
    ),
    (
        lambda: (net(), nn.ReLU()),
        {},
        TypeError,
        "`encoding` must be a map or attention encoding, a CoordConv, or a function of a Site that "
        "makes one, but is ReLU.",
    ),
    (
        lambda: (net(), lambda site: RelativeBias(2, site.queries.shape)),
        {},
        ValueError,
        "`encoding` must make an encoding for one of the 0 attention and 4 map sites of "
        "Sequential, but makes none: AttributeError: 'NoneType' object has no attribute 'shape'",
    ),
    (
        lambda: (Twice(), Learned2d(8, (3, 5))),
        {"at": "norm"},
        ValueError,
        "`at` must name sites that can take encodings, but `norm` cannot: it runs several times, "
        "on different maps.",
    ),
    (
        lambda: (net(), lambda site: nn.ReLU()),
        {},
        TypeError,
        "`encoding` must make map or attention encodings, but makes a ReLU.",
    ),
    (
        lambda: (net(), CoordConv()),
        {"size": None},
        ValueError,
        "`size` must be given, (h, w) of the images in pixels: Sequential has no `pretrained_cfg` "
        "that says it.",
    ),
    (
        lambda: (net(), CoordConv()),
        {"size": 48},
        TypeError,
        "`size` must be (h, w) in pixels, but is 48.",
    ),
    (
        lambda: (net(), CoordConv()),
        {"name": "a.b"},
        ValueError,
        "`name` must be a name without dots, no method's, but is 'a.b'.",
    ),
    (
        lambda: (visionpe.attach(net(), CoordConv(), size=(48, 80)), CoordConv()),
        {},
        ValueError,
        "`encoding` must be attached once under one name, but 'CoordConv' is attached to 1 sites "
        "already. Detach it first, or give another `name`.",
    ),
    (
        lambda: (
            nn.Sequential(visionpe.attach(net(), CoordConv(), size=(48, 80)), nn.ReLU()),
            CoordConv(),
        ),
        {},
        ValueError,
        "`model` must not have encodings attached to a part of it, but `0` has. Attach to `0`, or "
        "detach from it first.",
    ),
    (
        lambda: (on_meta(), Rotary()),
        {},
        ValueError,
        "`model` must have its parameters in memory, but `cls_token` is on the meta device. Call "
        "`model.to_empty(device=...)` and load its state first.",
    ),
    (
        lambda: (nn.DataParallel(net()), CoordConv()),
        {},
        ValueError,
        "`model` must be the model itself, but is wrapped in DataParallel. Give its `.module`.",
    ),
    (
        lambda: (torch.compile(net()), CoordConv()),
        {},
        ValueError,
        "`model` must be the model itself, but is compiled (OptimizedModule). Give its "
        "`._orig_mod`.",
    ),
]


@pytest.mark.parametrize(("make", "options", "kind", "said"), REFUSED)
def test_a_refused_call_says_why_and_changes_nothing(
    make: Callable[[], Any], options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    model, encoding = make()
    before = facts(model)
    with pytest.raises(kind) as error:
        visionpe.attach(model, encoding, **{"size": (48, 80), **options})
    assert str(error.value) == said
    assert facts(model) == before


def test_detaching_what_is_not_attached_is_refused() -> None:
    for verb in (visionpe.detach, lambda model: visionpe.disabled(model).__enter__()):
        with pytest.raises(ValueError, match="has nothing") as error:
            verb(net())
        assert str(error.value) == (
            "`model` must have something attached to it, but Sequential has nothing."
        )
    model = visionpe.attach(net(), CoordConv(), size=(5, 7))
    with pytest.raises(ValueError, match="one of") as error:
        visionpe.detach(model, "Rotary")
    assert str(error.value) == (
        "`name` must be one of 'CoordConv', which are attached, but is 'Rotary'."
    )


def test_a_plan_says_what_goes_where_and_a_dry_run_changes_nothing() -> None:
    model = pvt()
    before = facts(model)
    plan = visionpe.attach(
        model, lambda s: Rotary(), at=["stages.0", "stages.2"], size=(64, 96), dry_run=True
    )
    assert isinstance(plan, Plan)
    assert repr(plan) == "<Rotary at 2 sites of PyramidVisionTransformerV2 for 64 x 96>"
    assert [entry.site.module for entry in plan.entries] == [
        "stages.0.blocks.0.attn",
        "stages.2.blocks.0.attn",
    ]
    lines = str(plan).splitlines()
    assert lines[1].split()[:6] == ["module", "acts", "on", "lattice", "prefix", "heads"]
    assert lines[2].startswith("stages.0.blocks.0.attn  attention  16 x 24  0       1 x 8  Rotary(")
    assert facts(model) == before
    assert visionpe.status(model) == []
    visionpe.attach(model, Rotary(), at="stages.0", size=(64, 96))
    assert [repr(plan) for plan in visionpe.status(model)] == [
        "<Rotary at 1 sites of PyramidVisionTransformerV2 for 64 x 96>"
    ]


def test_what_cannot_take_an_encoding_is_listed_with_the_reason() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.weight)

    model = nn.Sequential(nn.Conv2d(3, 8, 3), Own())
    plan = visionpe.attach(model, CoordConv(), at="all", size=(8, 9), dry_run=True)
    assert [(site.module, why) for site, why in plan.skipped] == [
        ("1", "it is a Own, no nn.Conv2d.")
    ]
    assert str(plan).endswith("not 1: it is a Own, no nn.Conv2d.")


def test_a_predicate_chooses_by_what_was_traced() -> None:
    plan = visionpe.attach(
        pvt(),
        lambda s: Rotary(),
        at=lambda s: s.key_lattice != s.lattice,
        size=(64, 96),
        dry_run=True,
    )
    assert [entry.site.module[:8] for entry in plan.entries] == ["stages.0", "stages.1", "stages.2"]


def test_the_size_is_read_from_timms_configuration() -> None:
    plan = visionpe.attach(timm.create_model("test_vit"), Rotary(), dry_run=True)
    assert plan.size == (160, 160)


def test_copies_and_saved_models_are_whole_and_apart() -> None:
    model, x = attached_vit(), torch.randn(2, 3, 48, 80)
    frame = Frame.identity(96, 160).crop(0, 9, h=48, w=80)
    wanted = model(x, frame=frame)
    copied = copy.deepcopy(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for other in (copied, loaded):
        assert torch.equal(other(x, frame=frame), wanted)
        for parameter in other.get_submodule("visionpe").parameters():
            parameter.data.zero_()
        assert torch.equal(model(x, frame=frame), wanted)
        visionpe.detach(other)
        assert "visionpe" not in dict(other.named_children())
        assert not torch.equal(other(x), wanted)
    assert torch.equal(model(x, frame=frame), wanted)


def test_a_frame_is_not_kept_after_the_call_nor_after_a_failed_one() -> None:
    model, x = attached_vit(), torch.randn(2, 3, 48, 80)
    frame = Frame.identity(96, 160).crop(0, 9, h=48, w=80)
    wanted, framed = model(x), model(x, frame=frame)
    assert not torch.equal(framed, wanted)
    with pytest.raises(TypeError, match=r"`frame` must be a visionpe\.Frame, but is str"):
        model(x, frame="here")
    with pytest.raises(ValueError, match="samples"):
        model(x, frame=Frame.stack([frame] * 3))
    with pytest.raises(AssertionError):
        model(x[..., :40], frame=frame)
    assert torch.equal(model.forward_head(model.forward_features(x)), wanted)


def test_recomputed_layers_have_the_same_gradients_and_refuse_frames() -> None:
    model, x = attached_vit(), torch.randn(2, 3, 48, 80)
    model(x).square().sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.set_grad_checkpointing(True)
    model(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-5)
    loss = model(x, frame=Frame.identity(96, 160).crop(0, 9, h=48, w=80)).square().sum()
    with pytest.raises(AttachError, match="Turn gradient checkpointing off"):
        loss.backward()


def test_attention_that_runs_in_another_way_than_it_was_traced_is_refused() -> None:
    model = visionpe.attach(vit(), bias, size=(48, 80))
    with pytest.raises(AttachError) as error:
        unfused(model)(torch.randn(1, 3, 48, 80))
    assert str(error.value) == (
        "`blocks.0.attn` computes attention in another way than when it was traced: its sdpa "
        "number 0 was not met. Detach, and attach again while it runs as it does now."
    )


@pytest.mark.parametrize("make", [lambda: vit(depth=1), lambda: swin(depths=(1,), num_heads=(2,))])
@pytest.mark.usefixtures("unchecked")
def test_graphs_are_captured_whole(make: Callable[[], nn.Module]) -> None:
    size = (48, 80) if isinstance(make(), type(vit())) else (32, 48)
    model = visionpe.attach(make().eval(), bias, size=size)
    visionpe.attach(model, learned, size=size)
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 3, *size)
    frame = Frame.identity(2 * size[0], 200).crop(3, 9, h=size[0], w=size[1])
    with torch.no_grad():
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, frame=frame), model(x, frame=frame))
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


def test_a_model_that_is_a_sequence_of_its_children_stays_one() -> None:
    model, x = net(), torch.randn(2, 3, 5, 7)
    plain = model(x)
    visionpe.attach(model, PEG(8), at="1", size=(5, 7))
    assert torch.equal(model(x), plain)


def test_attached_tokens_may_need_the_whole_map() -> None:
    backbone = ATTENTION["vit"]
    model, x = backbone.model(), backbone.images()
    plain = model(x)
    visionpe.attach(model, PEG(64), at="blocks.1", size=(48, 80))
    assert torch.equal(model(x), plain)
    nn.init.normal_(next(model.get_submodule("visionpe").parameters()))
    assert not torch.equal(model(x), plain)


def test_channels_last_is_kept() -> None:
    backbone = CONVOLUTIONS["resnet18"]
    model = visionpe.attach(backbone.model(), CoordConv(), at="all", size=(40, 56))
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter, std=0.1)
    x = backbone.images()
    wanted = model(x)
    model.to(memory_format=torch.channels_last)
    seen: list[Tensor] = []
    model.get_submodule("layer1").register_forward_hook(lambda _, __, y: seen.append(y))
    torch.testing.assert_close(
        model(x.contiguous(memory_format=torch.channels_last)), wanted, rtol=1e-4, atol=1e-4
    )
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
