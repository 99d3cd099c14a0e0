"""What a model has of position is taken out, and put back to the bit; its state stays its own."""

import copy
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import timm
import torch
from backbones import facts, pvt, swin, torchvision_swin, torchvision_vit, vit
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

import visionpe
from visionpe import Frame, Learned2d, RelativeBias, RemoveError, Rotary


class Case(NamedTuple):
    """A model, the size of its images, what it has, and the patches that it sees apart."""

    make: Callable[[], nn.Module]
    h: int
    w: int
    kinds: tuple[str, ...]
    patch: int = 0
    least: float = 1e-5  # by how much its output must change, of its largest

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        model = self.make().eval()
        for parameter in model.parameters():  # position matters, however they start
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.3)
        return model

    def images(self) -> Tensor:
        return torch.randn(2, 3, self.h, self.w)


def small(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model: nn.Module = timm.create_model(name, num_classes=3, **options)
        return model

    return make


def plain(name: str, **options: Any) -> Callable[[], nn.Module]:
    size = {"img_size": (48, 80), "embed_dim": 32, "depth": 2, "num_heads": 2}
    return small(name, **size | options)


_STAGES = {"embed_dims": (8, 16, 20, 32), "depths": (1, 1, 1, 1)}
CASES = {
    "vit": Case(lambda: vit(depth=2), 48, 80, ("absolute",), 16),
    "sincos": Case(
        lambda: sincos(),
        48,
        80,
        ("sinusoidal",),
        16,
    ),
    "torchvision vit": Case(torchvision_vit, 32, 32, ("absolute",), 8),
    "swin": Case(swin, 32, 48, ("relative",)),
    "torchvision swin": Case(torchvision_swin, 32, 48, ("relative",)),
    "swin v2": Case(
        small(
            "swinv2_tiny_window8_256",
            img_size=(32, 48),
            window_size=4,
            embed_dim=16,
            depths=(2, 2),
            num_heads=(2, 4),
        ),
        32,
        48,
        ("relative_mlp",),
    ),
    "beit": Case(plain("beit_base_patch16_224"), 48, 80, ("relative",), 16),
    "eva": Case(
        plain("eva02_tiny_patch14_224", img_size=(42, 70)), 42, 70, ("absolute", "rotary"), 14
    ),
    "rope": Case(plain("vit_small_patch16_rope_224"), 48, 80, ("rotary",), 16),
    "rope mixed": Case(plain("vit_small_patch16_rope_mixed_224"), 48, 80, ("rotary",), 16),
    "dinov3": Case(plain("vit_small_patch16_dinov3"), 48, 80, ("rotary",), 16),
    "convit": Case(
        plain("convit_tiny", img_size=(48, 48), local_up_to_layer=1),
        48,
        48,
        ("absolute", "relative_mlp"),
        16,
    ),
    "sam": Case(
        plain("samvit_base_patch16", img_size=(64, 64), global_attn_indexes=(1,)),
        64,
        64,
        ("absolute", "decomposed"),
    ),
    "twins": Case(small("twins_pcpvt_small", **_STAGES), 64, 96, ("convolution",)),
    "xcit": Case(plain("xcit_nano_12_p16_224", depth=1), 48, 80, ("sinusoidal",)),
    "levit": Case(
        small("levit_128s", img_size=128, embed_dim=(16, 24, 32), num_heads=(2, 2, 2), key_dim=8),
        128,
        128,
        ("relative",),
        least=1e-6,
    ),
}


def sincos() -> nn.Module:
    """A ViT whose table is sines, and does not learn."""
    model: Any = vit(depth=2, class_token=False)
    table = build_sincos2d_pos_embed([3, 5], dim=64)
    model.pos_embed = nn.Parameter(table[None], requires_grad=False)
    return model  # type: ignore[no-any-return]


def shuffled(x: Tensor, patch: int) -> Tensor:
    """The images with their patches in another order."""
    h, w = (n // patch for n in x.shape[-2:])
    parts = x.unflatten(-1, (w, patch)).unflatten(-3, (h, patch)).transpose(-3, -2)
    order = torch.randperm(h * w)
    parts = parts.flatten(2, 3)[:, :, order].unflatten(2, (h, w))
    whole: Tensor = parts.transpose(-3, -2).flatten(-2).flatten(-3, -2)
    return whole


def take(case: Case, model: nn.Module) -> nn.Module:
    return visionpe.remove(model, "all", size=(case.h, case.w))


def run(model: nn.Module, x: Tensor, **options: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(x, **options)
    return out


def apart(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / a.abs().max()).item()


@pytest.mark.parametrize("name", CASES)
def test_what_is_removed_has_no_say_and_comes_back_to_the_bit(name: str) -> None:
    case = CASES[name]
    model, x = case.model(), case.images()
    before, wanted = facts(model), run(model, x)
    own = [(k, id(p), p.requires_grad) for k, p in model.named_parameters()]
    inventory = visionpe.inspect(model)
    assert {s.kind for s in inventory.encodings} == set(case.kinds)

    assert take(case, model) is model
    got = run(model, x)
    assert got.isfinite().all()
    assert apart(wanted, got) > case.least
    assert apart(got, run(model, x.flip(0))) > 1e-6  # it still sees the images
    assert visionpe.inspect(model).nothing_found
    assert facts(model)[1] == before[1]
    assert [(k, i) for k, i, _ in own] == [(k, id(p)) for k, p in model.named_parameters()]

    used = {k for k, p in model.named_parameters() if p.requires_grad}
    model(x).square().sum().backward()
    assert {k for k, p in model.named_parameters() if p.grad is not None} == used
    visionpe.restore(model)
    assert [(k, id(p), p.requires_grad) for k, p in model.named_parameters()] == own
    assert facts(model) == before
    assert torch.equal(run(model, x), wanted)
    assert repr(visionpe.inspect(model)) == repr(inventory)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.patch])
def test_without_any_source_the_order_of_the_patches_does_not_matter(name: str) -> None:
    case = CASES[name]
    model, x = case.model(), case.images()
    torch.manual_seed(1)
    other = shuffled(x, case.patch)
    assert apart(run(model, x), run(model, other)) > 1e-4
    take(case, model)
    assert apart(run(model, x), run(model, other)) <= 1e-5
    visionpe.restore(model)
    assert apart(run(model, x), run(model, other)) > 1e-4


@pytest.mark.parametrize("name", ["vit", "swin", "eva", "twins", "xcit"])
def test_checkpoints_load_before_and_after_and_the_removal_stays(name: str) -> None:
    case = CASES[name]
    source, x = case.model(), case.images()
    state = {k: v.clone() for k, v in source.state_dict().items()}
    wanted = run(take(case, source), x)
    for assign in (False, True):
        model = take(case, case.make().eval())
        model.load_state_dict(state, assign=assign)
        assert torch.equal(run(model, x), wanted)
        assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
        back = visionpe.restore(model)
        assert torch.equal(run(back, x), run(case.model(), x))


@pytest.mark.parametrize("name", ["vit", "swin v2", "rope", "twins", "xcit"])
def test_copies_and_saved_models_are_without_it_too_and_can_have_it_back(name: str) -> None:
    case = CASES[name]
    model, x = case.model(), case.images()
    wanted = run(model, x)
    got = run(take(case, model), x)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        assert isinstance(other, type(case.make()))
        assert torch.equal(run(other, x), got)
        assert torch.equal(run(visionpe.restore(other), x), wanted)
    assert torch.equal(run(model, x), got)


@pytest.mark.parametrize("name", ["vit", "swin", "rope", "twins", "xcit"])
@pytest.mark.usefixtures("unchecked")
def test_graphs_are_captured_without_it(name: str) -> None:
    case = CASES[name]
    model, x = take(case, case.model()), case.images()
    wanted = run(model, x)
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(run(compiled, x), wanted)
    with torch.no_grad():
        exported = torch.export.export(model, (x,)).module()
        torch.testing.assert_close(exported(x), wanted)


def test_every_way_into_the_model_is_without_it_and_other_types_too() -> None:
    model: Any = visionpe.remove(CASES["vit"].model(), "learned")
    x = CASES["vit"].images()
    wanted = run(model, x)
    assert torch.equal(model.forward_head(model.forward_features(x)), wanted)
    features = model.forward_intermediates(x, intermediates_only=True, norm=True)[-1]
    other = model.forward_intermediates(shuffled(x, 16), intermediates_only=True, norm=True)[-1]
    torch.testing.assert_close(features.mean((2, 3)), other.mean((2, 3)), rtol=1e-4, atol=1e-5)
    model.bfloat16()
    assert run(model, x.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(run(model.double(), x.double()).float(), run(model, x.double()).float())


def test_a_learned_table_is_replaced_by_rotary() -> None:
    case = CASES["vit"]
    model, x = case.model(), case.images()
    wanted = run(model, x)
    visionpe.remove(model, "learned")
    without = run(model, x)
    visionpe.attach(model, Rotary(), size=(48, 80))
    turned = run(model, x)
    assert apart(without, turned) > 1e-4
    assert apart(turned, run(model, x, frame=Frame.identity(48, 80).hflip())) > 1e-6
    with visionpe.disabled(model):
        assert torch.equal(run(model, x), without)
    visionpe.restore(visionpe.detach(model))
    assert torch.equal(run(model, x), wanted)


def test_attached_encodings_are_no_part_of_what_a_model_has() -> None:
    model, x = CASES["vit"].model(), CASES["vit"].images()
    visionpe.attach(model, Learned2d(64, (3, 5), init_std=1.0), size=(48, 80))
    visionpe.attach(model, RelativeBias(2, (3, 5), std=1.0), size=(48, 80))
    visionpe.remove(model, "all")
    with visionpe.disabled(model):
        without = run(model, x)
    assert apart(without, run(model, x)) > 1e-4
    with pytest.raises(ValueError, match="has none, and 'absolute' was removed"):
        visionpe.remove(model, "all")


def test_kinds_are_removed_and_restored_one_by_one() -> None:
    case = CASES["eva"]
    model, x = case.model(), case.images()
    both = run(model, x)
    one = run(visionpe.remove(model, "rotary"), x)
    none = run(visionpe.remove(model, ["learned"]), x)
    assert len({t.flatten()[0].item() for t in (both, one, none)}) == 3
    other = run(visionpe.restore(model, "rotary"), x)
    assert not torch.equal(other, both)
    assert torch.equal(run(visionpe.restore(model, "learned"), x), both)
    assert torch.equal(run(visionpe.remove(model, "rotary"), x), one)


def test_swins_bias_is_zero_and_its_windows_stay() -> None:
    model, x = CASES["swin"].model(), CASES["swin"].images()
    zero = copy.deepcopy(model)
    for name, parameter in zero.named_parameters():
        if name.endswith("bias_table"):
            nn.init.zeros_(parameter)
    assert torch.equal(run(visionpe.remove(model, "relative"), x), run(zero, x))


REFUSED: list[tuple[Callable[[], nn.Module], Any, type[Exception], str]] = [
    (
        lambda: vit(depth=1),
        "rotary",
        ValueError,
        "`kind` must be what the model has, but is 'rotary': VisionTransformer has 'absolute'.",
    ),
    (
        lambda: visionpe.remove(vit(depth=1), "learned"),
        "absolute",
        ValueError,
        "`kind` must be what the model has, but is 'absolute': VisionTransformer has none, and "
        "'absolute' was removed.",
    ),
    (
        lambda: vit(depth=1),
        "lerned",
        ValueError,
        "`kind` must be one of 'learned', 'absolute', 'sinusoidal', 'relative', 'relative_mlp', "
        "'decomposed', 'rotary', 'convolution', 'all', but is 'lerned'. Did you mean 'learned'?",
    ),
    (
        lambda: vit(depth=1),
        "padding",
        ValueError,
        "`kind` must be an encoding, but is 'padding': call visionpe.set_padding(model, 'none').",
    ),
    (
        lambda: vit(depth=1),
        [],
        ValueError,
        "`kind` must name what to remove, but is empty: VisionTransformer has 'absolute'.",
    ),
    (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3)),
        "all",
        ValueError,
        "`model` must have a source of position to remove, but Sequential has none.",
    ),
    (
        lambda: nn.DataParallel(vit(depth=1)),
        "learned",
        ValueError,
        "`model` must be the model itself, but is wrapped in DataParallel. Give its `.module`.",
    ),
    (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), PosConv(2)),
        "convolution",
        RemoveError,
        "`1.proj` cannot be removed: it changes the size of the map, so that what follows has "
        "nothing else to go on. Set its padding instead, where its position comes from: "
        "visionpe.set_padding(model, 'circular', at='1.proj').",
    ),
]


class PosConv(nn.Module):
    """A convolution that nothing stands beside."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(8, 8, 3, stride, 1, groups=8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x)
        return y


@pytest.mark.parametrize(("make", "kind", "error", "said"), REFUSED)
def test_a_refused_removal_says_why_and_changes_nothing(
    make: Callable[[], nn.Module], kind: Any, error: type[Exception], said: str
) -> None:
    model = make()
    before, classes = facts(model), [type(m) for m in model.modules()]
    with pytest.raises(error) as info:
        visionpe.remove(model, kind)
    assert str(info.value) == said
    assert facts(model) == before
    assert [type(m) for m in model.modules()] == classes


def test_a_convolution_without_which_nothing_is_seen_is_put_back() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), PosConv(1), nn.Dropout()).train()
    before, classes = facts(model), [type(m) for m in model.modules()]
    noise = torch.get_rng_state()
    with pytest.raises(RemoveError) as error:
        visionpe.remove(model, "convolution", size=(9, 12))
    assert str(error.value) == (
        "`1.proj` cannot be removed: without, Sequential no longer sees its images, since nothing "
        "stands beside. Set the padding instead, where the position comes from: "
        "visionpe.set_padding(model, 'circular', at=['1.proj'])."
    )
    for size, said in ((None, "`size` must be given"), ((2, 2), "`size` must be that of images")):
        with pytest.raises(ValueError, match=said):
            visionpe.remove(model, "convolution", size=size)
    assert facts(model) == before
    assert [type(m) for m in model.modules()] == classes
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), noise)


def test_a_reparametrised_position_convolution_is_told_from_one_that_is_added() -> None:
    model: Any = small(
        "fastvit_sa12", layers=(1, 1, 1, 1), embed_dims=(16, 16, 16, 32), fork_feat=False
    )().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    visionpe.restore(visionpe.remove(model, "convolution", size=(64, 64)))
    model.apply(lambda m: m.fuse() if hasattr(m, "fuse") else None)
    for module in model.modules():
        if hasattr(module, "reparameterize"):
            module.reparameterize()
    with pytest.raises(RemoveError, match="no longer sees its images"):
        visionpe.remove(model, "convolution", size=(64, 64))


def test_restoring_what_is_there_is_refused() -> None:
    with pytest.raises(ValueError, match="removed") as info:
        visionpe.restore(pvt())
    assert str(info.value) == (
        "`kind` must be something that was removed, but from this PyramidVisionTransformerV2 "
        "nothing was."
    )
    with pytest.raises(ValueError, match="removed") as info:
        visionpe.restore(visionpe.remove(vit(depth=1), "learned"), "rotary")
    assert str(info.value) == (
        "`kind` must be something that was removed, but from this VisionTransformer 'absolute' "
        "was, not 'rotary'."
    )


def test_a_removed_table_is_not_overwritten_by_one_of_another_size() -> None:
    model: Any = vit(depth=1)
    nn.init.normal_(model.pos_embed)
    kept = model.pos_embed.detach().clone()
    visionpe.remove(model, "learned")
    with pytest.raises(RemoveError) as info:
        model.set_input_size((64, 64))
    assert str(info.value) == (
        "`pos_embed` of VisionTransformer was removed, so it cannot be made another size: call "
        "visionpe.restore, change the size, and remove it again."
    )
    assert torch.equal(visionpe.restore(model).pos_embed, kept)
