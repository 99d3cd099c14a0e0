"""What `attach` refuses and how it says so, and what attached models survive."""

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
import torch.distributed as dist
from backbones import ATTENTION, CONVOLUTIONS, bias, facts, learned, pvt, swin, unfused, vit
from timm.layers import set_reentrant_ckpt, use_reentrant_ckpt
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

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
    RotaryDINOv3,
    Sinusoidal2d,
)
from visionpe.attaching.errors import AttachError
from visionpe.attaching.verbs import Attachable


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


class Patches(nn.Module):
    """A convolution in each patch (TNT)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, 16, stride=16).mT
        y: Tensor = self.conv(patches.reshape(-1, 3, 16, 16))
        return y


class Pooled(nn.Module):
    """Attention pooling first, whose queries have no place, and then attention between places."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 8, stride=8)
        self.pool = timm.layers.AttentionPool2d(8, feat_size=(2, 3), num_heads=2)
        self.attn = timm.layers.Attention(8, num_heads=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        y: Tensor = self.attn(x.flatten(2).mT + self.pool(x)[:, None])
        return y


class Pair(nn.Module):
    """Two images at once."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        y: Tensor = self.one(left) - self.one(right)
        return y


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still met
        made: nn.Module = torch.jit.script(net())
    return made


@contextmanager
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


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


REFUSED: list[tuple[Callable[[], Any], dict[str, Any], type[Exception], str | None]] = [
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
    (
        lambda: (scripted(), CoordConv()),
        {},
        ValueError,
        "`model` must be Python, but is RecursiveScriptModule, TorchScript. Give the module it was "
        "made of.",
    ),
    (
        lambda: (Pair(), CoordConv()),
        {},
        ValueError,
        "`model` must take one batch of images, but Pair also needs `right`. Attach to the part of "
        "it that looks at images.",
    ),
    (
        lambda: (net(), []),
        {},
        ValueError,
        "`encoding` must be one or more encodings, but is an empty list.",
    ),
    (
        lambda: (net(), [CoordConv(), Sinusoidal2d()]),
        {"name": ["one"]},
        ValueError,
        "`name` must be a list of 2 names, as `encoding` is, but is ['one'].",
    ),
    (
        lambda: (net(), CoordConv()),
        {"name": ["one"]},
        ValueError,
        "`name` must be a name, as `encoding` is, but is ['one'].",
    ),
    (
        lambda: (vit(), [RelativeBias(2, (3, 5)), RelativeBias(2, (3, 5))]),
        {},
        ValueError,
        "`encoding` must be attached once under one name, but 'RelativeBias' is attached to 6 "
        "sites already. Detach it first, or give another `name`.",
    ),
    (
        lambda: (vit(), [RelativeBias(2, (3, 5)), Learned2d(8, (3, 5))]),
        {},
        ValueError,
        "`encoding` must fit `norm_pre` (3 x 5 cells), but Learned2d does not: `x` must have the 8 "
        "channels that Learned2d is made for, but has 64. Name the sites that it fits, `at=`, or "
        "give a function that makes one for each `visionpe.Site`.",
    ),
    (
        lambda: (Patches(), CoordConv()),
        {},
        ValueError,
        "`at` must name sites that can take encodings, but `conv` cannot: it runs on parts of a "
        "map.",
    ),
    (
        lambda: (timm.create_model("test_maxvit", img_size=(64, 96)), Rotary()),
        {"size": (32, 48)},
        ValueError,
        None,  # what the model itself says
    ),
    (
        lambda: (nn.Sequential(nn.Conv2d(3, 8, 64)), CoordConv()),
        {},
        ValueError,
        None,
    ),
]


@pytest.mark.parametrize(("make", "options", "kind", "said"), REFUSED)
def test_a_refused_call_says_why_and_changes_nothing(
    make: Callable[[], Any], options: dict[str, Any], kind: type[Exception], said: str | None
) -> None:
    model, encoding = make()
    before, noise = facts(model), torch.get_rng_state()
    with pytest.raises(kind) as error:
        visionpe.attach(model, encoding, **{"size": (48, 80), **options})
    if said is None:
        h, w = options.get("size", (48, 80))
        said = f"`model` must take images of 3 x {h} x {w}, but {type(model).__name__} fails in `"
        assert str(error.value).startswith(said)
        assert str(error.value).endswith("Give `h`, `w` and `channels` that it takes.")
    else:
        assert str(error.value) == said
    assert facts(model) == before
    assert torch.equal(torch.get_rng_state(), noise)


def test_models_dealt_out_to_processes_are_refused_by_every_verb() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    said = {
        "DistributedDataParallel": "`model` must be the model itself, but is wrapped in "
        "DistributedDataParallel. Give its `.module`.",
        "FullyShardedDataParallel": "`model` must be the model itself, but is wrapped in "
        "FullyShardedDataParallel. Give its `.module`.",
        "FSDPSequential": "`model` must have its parameters whole, but it is sharded by "
        "`fully_shard`. Attach first, then shard.",
    }
    state = visionpe.state(visionpe.attach(net(), CoordConv(), size=(5, 7)))
    verbs: list[Callable[[nn.Module], object]] = [
        lambda model: visionpe.attach(model, CoordConv(), size=(5, 7)),
        lambda model: visionpe.load(model, state),
    ]
    with one_process(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one process, and without a GPU
        mesh = init_device_mesh("cpu", (1,))
        for model in (
            nn.parallel.DistributedDataParallel(net()),
            FullyShardedDataParallel(net(), device_id=torch.device("cpu")),
            fully_shard(net(), mesh=mesh),
        ):
            assert isinstance(model, nn.Module)
            before = [(name, type(m), sorted(vars(m))) for name, m in model.named_modules()]
            for verb in verbs:
                with pytest.raises(ValueError, match="`model` must") as error:
                    verb(model)
                assert str(error.value) == said[type(model).__name__]
            assert [(name, type(m), sorted(vars(m))) for name, m in model.named_modules()] == before


def test_a_list_of_encodings_is_attached_together_and_planned_together() -> None:
    model, x = vit(depth=2).eval(), torch.randn(2, 3, 48, 80)
    encodings: list[Attachable] = [bias, Rotary(), CoordConv()]
    plans = visionpe.attach(model, encodings, size=(48, 80), dry_run=True)
    assert [repr(plan) for plan in plans] == [
        "<RelativeBias at 2 sites of VisionTransformer for 48 x 80>",
        "<Rotary at 2 sites of VisionTransformer for 48 x 80>",
        "<CoordConv at 1 sites of VisionTransformer for 48 x 80>",
    ]
    visionpe.attach(model, encodings, name=["a", "b", "c"], size=(48, 80))
    assert [plan.name for plan in visionpe.status(model)] == ["a", "b", "c"]
    other = vit(depth=2).eval()
    other.load_state_dict(visionpe.detach(copy.deepcopy(model)).state_dict())
    for encoding in encodings:
        visionpe.attach(other, encoding, size=(48, 80))
    assert torch.equal(model(x), other(x))


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


def test_attention_without_places_of_queries_is_left_out_and_makers_are_not_asked_for_it() -> None:
    def maker(site: visionpe.Site) -> RelativeBias:
        assert site.queries is not None
        return RelativeBias(2, (2, 3), std=1.0)

    model, x = Pooled().eval(), torch.randn(2, 3, 16, 24)
    before = model(x)
    plan = visionpe.attach(model, maker, size=(16, 24), dry_run=True)
    assert [entry.site.module for entry in plan.entries] == ["attn"]
    assert [(site.module, why) for site, why in plan.skipped] == [
        ("pool", "its queries have no place (class attention, pooling).")
    ]
    visionpe.attach(model, maker, size=(16, 24))
    assert not torch.equal(model(x), before)


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


@pytest.mark.parametrize("reentrant", [False, True])
def test_layers_computed_again_in_the_backward_pass_know_their_frame_and_size(
    reentrant: bool,
) -> None:
    model: Any = vit(depth=2, dynamic_img_size=True).eval()
    visionpe.attach(model, lambda site: RelativeBias(2, (12, 12)), size=(48, 80))
    visionpe.attach(model, [RotaryDINOv3(), learned], size=(48, 80))
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter)
    whole = Frame.identity(96, 160)
    x, y = torch.randn(2, 3, 48, 80), torch.randn(2, 3, 64, 48)

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        one = model(x, frame=whole.crop(0, 9, h=48, w=80))
        two = model(y, frame=whole.crop(30, 50, h=64, w=48))
        three = model(y)
        (one.square().sum() + two.square().sum() + (one * three).sum()).backward()
        return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}

    wanted = gradients()
    model.set_grad_checkpointing(True)
    before = use_reentrant_ckpt()
    set_reentrant_ckpt(reentrant)
    try:
        got = gradients()
    finally:
        set_reentrant_ckpt(before)
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-5)
    assert len(model.visionpe.caller.recorded) == 0  # gone with their graphs


def test_a_frame_whose_call_cannot_be_told_is_refused_in_the_backward_pass() -> None:
    model: Any = attached_vit()
    model.set_grad_checkpointing(True)
    seen: list[Tensor] = []
    model.blocks[-1].register_forward_hook(lambda _, __, y: seen.append(y))
    model(torch.randn(2, 3, 48, 80), frame=Frame.identity(48, 80))
    with pytest.raises(AttachError) as error:  # the output is gone, and what it said of the call
        seen[0].sum().backward()
    assert str(error.value) == (
        "A frame cannot reach layers that are computed again in this backward pass: 0 calls of "
        "the model may have made them. Keep the model's output until then and call it from one "
        "thread, turn gradient checkpointing off, or call the model without `frame`."
    )


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
