from collections.abc import Callable
from typing import Any, final

import pytest
import torch
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from visionpe import (
    PEG,
    AddCoords,
    AddFourierFeatures,
    AttentionEncoding,
    ComplexOrder,
    ConvolutionalContext2d,
    Factorised2d,
    Frame,
    HyperConv2d,
    HyperScale,
    Learned2d,
    MapEncoding,
    MaskedSinusoidal2d,
    Places,
    PointEncoding,
    RotaryMixed,
    Sinusoidal2d,
)
from visionpe.models.resnet import ResNet
from visionpe.models.transformer import Attention
from visionpe.models.vit import ViT
from visionpe.probing.twins import random_weights


@final
class Waves(PointEncoding):
    """Adds a function of the place, for these tests."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, width))

    def tokens(self, x: Float[Tensor, "b n c"], places: Places) -> Float[Tensor, "b n c"]:
        code: Tensor = (places.positions.to(x.dtype) @ self.weight).sin()
        return x + code

    def forward(
        self, x: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b c h w"]:
        places = Places.of(x.shape[-2], x.shape[-1], frame)
        result: Tensor = self.tokens(x.flatten(2).mT, places).mT.unflatten(2, x.shape[-2:])
        return result


@final
class Nearness(AttentionEncoding):
    """A bias by distance, for these tests; keeps the places it saw last."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()))
        self.seen: Places | None = None

    def bias(
        self,
        q: Float[Tensor, "b heads n d"],
        k: Float[Tensor, "b heads m d"],
        places: Places,
        key_places: Places,
        scale: float,
    ) -> Float[Tensor, "#b heads n m"] | None:
        self.seen = places
        at = places.positions if places.positions.dim() == 3 else places.positions[None]
        far = (at[:, :, None] - at[:, None]).abs().sum(-1).to(q.dtype)
        p = places.prefix
        padded = nn.functional.pad(far, (p, 0, p, 0))[:, None]
        return (-self.slope * padded).expand(-1, q.shape[1], -1, -1)


def small(encodings: Any = None, **options: Any) -> ViT:
    given = {"width": 24, "depth": 2, "heads": 3, "classes": 5, "registers": 2} | options
    net = ViT((4, 4), encodings=encodings, **given)
    for block in net.blocks:  # the usual small draw hides what attention does
        for parameter in block.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.2)
    return net


def shuffled(images: Tensor, order: Tensor) -> Tensor:
    """The 4 x 4 patches of images in another order."""
    h, w = images.shape[2:]
    patches = nn.functional.unfold(images, 4, stride=4)[:, :, order]
    return nn.functional.fold(patches, (h, w), 4, stride=4)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_attention_without_encodings_is_equivariant_to_permutations(
    dtype: torch.dtype, limit: float
) -> None:
    layer = Attention(24, 3).to(dtype)
    x, order = torch.randn(2, 35, 24, dtype=dtype), torch.randperm(35)
    got = layer(x[:, order], Places.of(5, 7))
    assert (got - layer(x, Places.of(5, 7))[:, order]).abs().max() <= limit


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_without_encodings_the_encoder_is_equivariant_to_permutations(
    dtype: torch.dtype, limit: float
) -> None:
    net = ViT((4, 4), width=24, depth=2, heads=3, registers=2).to(dtype)
    x, order, places = torch.randn(2, 15, 24, dtype=dtype), torch.randperm(15), Places.of(3, 5)
    before, after = net.encode(x, places), net.encode(x[:, order], places)
    assert (after[:, 3:] - before[:, 3:][:, order]).abs().max() <= limit
    assert (after[:, :3] - before[:, :3]).abs().max() <= limit
    images = torch.randn(2, 3, 12, 20, dtype=dtype)
    assert (net(images) - net(shuffled(images, order))).abs().max() <= limit


ABSOLUTE: dict[str, Callable[[], MapEncoding]] = {
    "AddFourierFeatures": lambda: AddFourierFeatures(24, 8),
    "ComplexOrder": lambda: ComplexOrder(24),
    "Factorised2d": lambda: Factorised2d(24, (3, 5)),
    "HyperScale": lambda: HyperScale(24),
    "Learned2d": lambda: Learned2d(24, (3, 5)),
    "MaskedSinusoidal2d": MaskedSinusoidal2d,
    "Sinusoidal2d": Sinusoidal2d,
    # Context from a convolution: what it knows of place it has from its borders and neighbours.
    "ConvolutionalContext2d": lambda: ConvolutionalContext2d(24, kernel_size=3, groups=8),
    "HyperConv2d": lambda: HyperConv2d(24),
    "PEG": lambda: PEG(24),
}


@pytest.mark.parametrize("name", ABSOLUTE)
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_with_an_encoding_the_order_of_the_patches_matters(name: str, pool: str) -> None:
    encoding = ABSOLUTE[name]()
    for parameter in encoding.parameters():  # not at their start, where they do nothing
        nn.init.normal_(parameter)
    net = small(encoding, pool=pool, classes=None)
    images, order = torch.randn(2, 3, 12, 20), torch.arange(14, -1, -1)
    assert (net(images) - net(shuffled(images, order))).abs().max() >= 1e-3


def test_a_bias_inside_attention_breaks_the_symmetry_too() -> None:
    net = small(Nearness(), classes=None)
    images, order = torch.randn(2, 3, 12, 20), torch.randperm(15)
    assert (net(images) - net(shuffled(images, order))).abs().max() >= 1e-3


def timms_keys(net: ViT) -> dict[str, str]:
    """timm's name of each of our parameters; its prefix tokens are two parameters."""
    rename = {"embed": "patch_embed.proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
    keys = {}
    for ours in net.state_dict():
        theirs = ours
        for a, b in rename.items():
            theirs = theirs.replace(a, b)
        keys[ours] = theirs
    return keys


@pytest.mark.parametrize(("pool", "theirs"), [("class", "token"), ("mean", "avg")])
@pytest.mark.parametrize("learned", [False, True])
def test_with_timms_weights_it_is_timms_model(pool: str, theirs: str, learned: bool) -> None:
    timms = VisionTransformer(
        img_size=(12, 20),
        patch_size=4,
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=5,
        reg_tokens=2,
        qkv_bias=True,
        global_pool=theirs,
        fc_norm=False,
        no_embed_class=True,
        pos_embed="learn" if learned else "none",
    ).eval()
    for parameter in timms.parameters():
        nn.init.normal_(parameter, std=0.2)
    net = small(Learned2d(24, (3, 5)) if learned else None, pool=pool)
    weights = timms.state_dict()
    weights["tokens"] = torch.cat([weights.pop("cls_token"), weights.pop("reg_token")], 1)
    if learned:
        weights["on_map.0.table"] = weights.pop("pos_embed")[0].mT.unflatten(1, (3, 5))
    keys = timms_keys(net)
    assert sorted(keys.values()) == sorted(weights)
    net.load_state_dict({ours: weights[key] for ours, key in keys.items()})
    images = torch.randn(3, 3, 12, 20)
    torch.testing.assert_close(net(images), timms(images), rtol=0, atol=1e-5)


def entering(net: ViT, images: Tensor, frame: Frame | None = None) -> Tensor:
    """The patch tokens that the first block is given."""
    seen: list[Tensor] = []
    hook = net.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(images, frame)
    hook.remove()
    return seen[0][:, net.prefix :]


@pytest.mark.parametrize("encoding", [Waves(), Sinusoidal2d()])
def test_a_crop_gets_the_codes_of_its_place_in_the_image(encoding: MapEncoding) -> None:
    net = small(encoding)
    images = torch.randn(2, 3, 24, 32)
    frame = Frame.identity(24, 32).crop(8, 4, h=12, w=20)
    crop = images[..., 8:20, 4:24]
    whole = entering(net, images).mT.unflatten(2, (6, 8))[..., 2:5, 1:6].flatten(2).mT
    torch.testing.assert_close(entering(net, crop, frame), whole, rtol=0, atol=1e-5)
    assert (entering(net, crop) - whole).abs().max() > 0.1


def test_frames_and_prefix_tokens_reach_the_attention_encodings() -> None:
    net = small(Nearness(), share=True)
    frames = Frame.stack([Frame.identity(24, 32).crop(8 * i, 4, h=12, w=20) for i in (0, 1)])
    net(torch.randn(2, 3, 12, 20), frames)
    encoding = net.in_attention[0][0]  # type: ignore[index] # a ModuleList of ModuleLists
    seen = encoding.seen
    assert seen.prefix == 3
    assert torch.equal(seen.positions, Places.of(3, 5, frames).positions)
    assert torch.equal(seen.extent, torch.tensor([[6.0, 8.0]]).expand(2, -1))
    net(torch.randn(2, 3, 12, 20))
    assert encoding.seen.shape == (3, 5)


def test_a_function_makes_an_encoding_for_each_block() -> None:
    def waves(net: ViT) -> list[Tensor]:
        return [p for n, p in net.named_parameters() if n.startswith("in_attention.")]

    copied, drawn = small(RotaryMixed(3, 8)), small(lambda: RotaryMixed(3, 8))
    assert torch.equal(*waves(copied))  # one draw, for both blocks
    assert not torch.equal(*waves(drawn))
    assert len(waves(small(lambda: RotaryMixed(3, 8), share=True))) == 1
    both = small([Waves, lambda: Nearness()])
    assert len(both.on_map) == 1
    assert len(both.in_attention) == 2
    with pytest.raises(TypeError, match=r"^`encodings` must be map or attention encodings, but"):
        small(lambda: nn.Identity())


def test_the_start_of_a_net_can_be_drawn_again() -> None:
    for net in (ViT((4, 4), width=24, depth=2, heads=3), ResNet((1, 1), width=16)):
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        after = dict(random_weights(net).named_parameters())
        for name, was in before.items():
            assert float(after[name].detach().std(correction=0)) == pytest.approx(
                float(was.std(correction=0)), rel=0.25, abs=0.005
            ), name


def test_blocks_have_a_copy_each_or_share_one() -> None:
    given = Nearness()
    apart, shared = small([Waves(), given]), small([given, Waves()], share=True)
    slopes = [name for name, _ in apart.named_parameters() if name.endswith("slope")]
    assert slopes == ["in_attention.0.0.slope", "in_attention.1.0.slope"]
    assert [n for n in shared.state_dict() if n.endswith("slope")] == ["in_attention.0.0.slope"]
    shared.load_state_dict(
        {k.replace("in_attention.1", "in_attention.0"): v for k, v in apart.state_dict().items()}
    )
    images = torch.randn(2, 3, 12, 20)
    assert torch.equal(apart(images), shared(images))  # equal at the start
    apart(images).square().sum().backward()
    grads = [net_slope.grad for net_slope in apart.parameters() if net_slope.dim() == 0]
    assert grads[0] is not None
    assert grads[1] is not None
    assert not torch.equal(grads[0], grads[1])


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_packed_patches_of_several_sizes_are_what_each_image_is_alone(pool: str) -> None:
    net = small([Waves(), Nearness()], pool=pool).double()
    sizes = [(3, 5), (2, 4), (1, 1)]
    images = [torch.randn(1, 3, 4 * h, 4 * w, dtype=torch.float64) for h, w in sizes]
    alone = torch.cat([net(image) for image in images])
    patches, at = torch.randn(3, 16, 48, dtype=torch.float64), torch.zeros(3, 16, 2)
    mask = torch.zeros(3, 16, dtype=torch.bool)
    for i, (image, (h, w)) in enumerate(zip(images, sizes, strict=True)):
        order = torch.randperm(h * w)
        patches[i, : h * w] = nn.functional.unfold(image, 4, stride=4)[0].mT[order]
        at[i, : h * w] = Places.of(h, w).positions[order]
        mask[i, : h * w] = True
    places = Places.at(at, torch.tensor(sizes).float())
    packed = net.forward_patches(patches, places, mask)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-10)
    unmasked = net.forward_patches(patches, places)
    assert (unmasked - alone).abs().max() > 1e-3


def silent(net: ViT) -> list[str]:
    """The parameters that a training step leaves without a gradient."""
    net(torch.randn(2, 3, 12, 20)).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    return [name for name, grad in gradients.items() if grad is None or grad.abs().max() == 0]


def test_every_parameter_gets_a_gradient() -> None:
    assert silent(small([Waves(), Nearness()], pool="mean")) == []
    assert silent(small(Waves())) == []


def test_a_class_token_has_no_place_so_the_last_blocks_encoding_is_idle_if_it_alone_is_pooled() -> (
    None
):
    assert silent(small(Nearness())) == ["in_attention.1.0.slope"]
    assert silent(small(Nearness(), share=True)) == []


def test_the_smallest_and_other_forms_work() -> None:
    images = torch.randn(2, 3, 12, 20)
    bare = ViT((4, 10), width=6, depth=1, heads=1, class_token=False, pool="mean", classes=None)
    assert bare(images).shape == (2, 6)
    assert bare.tokens is None
    assert small()(images[:0]).shape == (0, 5)
    assert small()(images.to(memory_format=torch.channels_last)).shape == (2, 5)
    net = small(Waves()).bfloat16()
    assert net(images.bfloat16()).dtype == torch.bfloat16
    # ViT-Ti/16 of timm without position: 5,717,416 with its 197 x 192 table.
    tiny = ViT(classes=1000)
    assert sum(p.numel() for p in tiny.parameters()) == 5_717_416 - 197 * 192


@pytest.mark.usefixtures("unchecked")
def test_it_exports_with_open_sizes() -> None:
    net = small([Waves(), Nearness()]).eval()
    h, w = (4 * torch.export.Dim(name, min=1, max=16) for name in "hw")
    program = torch.export.export(net, (torch.randn(2, 3, 12, 20),), dynamic_shapes=({2: h, 3: w},))
    images = torch.randn(2, 3, 20, 8)
    torch.testing.assert_close(program.module()(images), net(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViT(width=10), "`width` must be a multiple of `heads`, 3, but is 10."),
        (
            lambda: ViT((0, 4), registers=-1),
            "`patch`, `channels` and `depth` must be at least 1 and `registers` 0, "
            "but are (0, 4), 3, 12 and -1.",
        ),
        (
            lambda: ViT(class_token=False),
            "`pool` must be 'mean', or 'class' with a class token, "
            "but is 'class' with `class_token=False`.",
        ),
        (
            lambda: small(AddCoords()),
            "`encodings` must keep the 24 channels of the tokens, but AddCoords makes them 26. "
            "Use one that adds or scales.",
        ),
        (
            lambda: small(for_heads(4)),
            "`encodings` must be made for 3 heads of width 8, but Nearness is made for 4 of None.",
        ),
        (
            lambda: small()(torch.zeros(1, 3, 12, 21)),
            "`images` must be multiples of (4, 4) pixels, but are (12, 21).",
        ),
        (
            lambda: small(PEG(24)).forward_patches(torch.zeros(1, 6, 48), Places.of(2, 3)),
            "`encodings` must act on single tokens to take patches, but PEG needs a whole map. "
            "Give images.",
        ),
        (
            lambda: small().forward_patches(torch.zeros(1, 7, 48), Places.of(2, 3, prefix=1)),
            "`places` must be those of the patches alone, but has 1 before and 0 behind them.",
        ),
        (
            lambda: small().forward_patches(torch.zeros(1, 5, 48), Places.of(2, 3)),
            "`patches` must hold as many tokens as `places`, 6 (0 + 6 + 0), but holds 5.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_encoding_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        small(nn.Identity())
    wanted = "`encodings` must be map or attention encodings, but one is a Identity."
    assert str(caught.value) == wanted


def for_heads(heads: int) -> Nearness:
    encoding = Nearness()
    encoding.heads = heads
    return encoding
