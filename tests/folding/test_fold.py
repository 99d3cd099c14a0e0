"""A folded model computes what it did, from constants, and is as it was when unfolded."""

import copy
import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from backbones import ATTENTION, CONVOLUTIONS, bias, facts, learned, swin, vit
from torch import Tensor, nn

import visionpe
from visionpe import (
    AddCoords,
    Alibi2d,
    AppendSinusoidal2d,
    CoordConv,
    CoordConv2d,
    HyperScale,
    Learned2d,
    LieRE,
    LogCPB,
    RelativeBias,
    Rotary,
    RotaryDINOv3,
    RotaryMixed,
    Sinusoidal2d,
    Site,
)
from visionpe.folding.constants import Constants
from visionpe.models.vit import ViT


def cpb(site: Site) -> LogCPB:
    assert site.lattice is not None
    return LogCPB(site.heads or 1, (site.lattice.h, site.lattice.w), hidden=16)


FIXED: dict[str, Any] = {
    "table of offsets": bias,
    "network of offsets": cpb,
    "distances": lambda site: Alibi2d(site.heads or 1),
    "turns of neighbours": lambda site: Rotary(),
    "turns of halves": lambda site: RotaryDINOv3(),
    "turns of each head": lambda site: RotaryMixed(site.heads or 1, site.head_dim or 1),
    "turns of blocks": lambda site: LieRE(site.heads or 1, site.head_dim or 1, block=4),
    "table": learned,
    "sinusoids": lambda site: Sinusoidal2d(),
    "scales": lambda site: HyperScale(site.shape[1 if site.layout == "NCHW" else -1]),
    "coordinates": CoordConv(radius=True),
}


def attached(name: str, encoding: Any, **options: Any) -> tuple[nn.Module, Tensor]:
    backbone = {**ATTENTION, **CONVOLUTIONS}[name]
    model = backbone.model()
    visionpe.attach(model, encoding, size=(backbone.h, backbone.w), **options)
    randomise(model.get_submodule("visionpe"))
    return model, backbone.images()


def randomise(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(x)
    return result


def constants(model: nn.Module) -> list[Constants]:
    return [module for module in model.modules() if isinstance(module, Constants)]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *(("vit", what) for what in FIXED),
        *(("swin", what) for what in ("table of offsets", "turns of halves", "table")),
        *(("pvt", what) for what in ("network of offsets", "turns of neighbours", "coordinates")),
        *(("torchvision vit", what) for what in ("distances", "scales", "turns of blocks")),
    ],
)
def test_a_folded_model_computes_the_same_and_unfolds_to_the_bit(name: str, what: str) -> None:
    model, x = attached(name, FIXED[what])
    wanted, before = output(model, x), facts(model)
    folding = visionpe.fold(model, (x.shape[2], x.shape[3]))
    assert folding.kept == []
    assert sum(line.numbers for line in folding.baked) > 0
    torch.testing.assert_close(output(model, x), wanted, rtol=1e-6, atol=1e-6)
    with visionpe.disabled(model):
        assert not torch.equal(output(model, x), wanted)
    assert [(key, value) for key, *value in facts(model)[1]] == [
        (key, value) for key, *value in before[1]
    ]
    visionpe.unfold(model)
    assert facts(model) == before
    assert torch.equal(output(model, x), wanted)


def test_while_folded_nothing_is_computed_from_what_was_learned() -> None:
    model, x = attached("vit", bias)
    visionpe.attach(model, learned, size=(48, 80))
    visionpe.attach(model, CoordConv(), at="all", size=(48, 80))
    randomise(model.get_submodule("visionpe"))
    visionpe.fold(model, (48, 80))
    wanted = output(model, x)
    for parameter in model.get_submodule("visionpe").parameters():
        parameter.data.fill_(torch.nan)
    assert torch.equal(output(model, x), wanted)


def test_the_map_of_a_convolution_is_its_coordinate_channels_convolved() -> None:
    conv = nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2), padding_mode="reflect")
    model = nn.Sequential(conv)
    visionpe.attach(model, CoordConv(), size=(8, 11))
    randomise(model.get_submodule("visionpe"))
    weight = model.get_parameter("visionpe.CoordConv.0.weight")
    visionpe.fold(model, (8, 11))
    (map_,) = constants(model)[0].buffers()
    code = F.pad(visionpe.grid(8, 11)[None], (2, 2, 1, 1), mode="reflect")
    torch.testing.assert_close(map_, F.conv2d(code, weight, stride=2))


def test_every_convolution_of_a_net_has_its_map() -> None:
    model, x = attached("resnet18", CoordConv(), at="all")
    wanted = output(model, x)
    folding = visionpe.fold(model, (40, 56))
    assert len(folding.baked) == 20
    torch.testing.assert_close(output(model, x), wanted, rtol=1e-5, atol=1e-5)
    model.to(memory_format=torch.channels_last)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output(model, last), wanted, rtol=1e-4, atol=1e-4)
    assert all(
        map_.is_contiguous(memory_format=torch.channels_last)
        for part in constants(model)
        for map_ in part.buffers()
    )


def net() -> nn.Module:
    return nn.Sequential(
        CoordConv2d(3, 8, 3, padding=1, groups=1, radius=True, zero_init=False),
        AppendSinusoidal2d(4),
        nn.Conv2d(12, 8, 3, stride=2),
        AddCoords(radius=True),
        Learned2d(11, (3, 4), init_std=1.0),
        HyperScale(11, zero_init=False),
    )


def test_encodings_that_are_layers_of_a_model_are_folded_too() -> None:
    model, x = net().eval(), torch.randn(2, 3, 13, 18)
    wanted, before = output(model, x), facts(model)
    folding = visionpe.fold(model, (13, 18))
    assert [line.module for line in folding.baked] == ["0", "1", "3", "4", "5"]
    torch.testing.assert_close(output(model, x), wanted, rtol=1e-5, atol=1e-5)
    visionpe.unfold(model)
    assert facts(model) == before
    assert torch.equal(output(model, x), wanted)


def test_a_transformer_of_our_own_is_folded_with_all_of_its_encodings() -> None:
    encodings: list[Any] = [
        Sinusoidal2d(),
        Rotary(),
        RelativeBias(2, (3, 5), prefix_bias=True, std=1.0),
    ]
    model = ViT((8, 8), width=16, depth=2, heads=2, registers=1, encodings=encodings).eval()
    x = torch.randn(2, 3, 24, 40)
    wanted, before = output(model, x), facts(model)
    folding = visionpe.fold(model, (24, 40))
    assert [(line.encoding, line.what) for line in folding.baked[:3]] == [
        ("Sinusoidal2d", "terms"),
        ("Rotary", "turns"),
        ("RelativeBias", "bias"),
    ]
    torch.testing.assert_close(output(model, x), wanted, rtol=1e-5, atol=1e-5)
    visionpe.unfold(model)
    assert facts(model) == before


def test_windows_that_are_alike_share_one_bias() -> None:
    model, x = attached("swin", bias, at="layers.0")
    visionpe.fold(model, (32, 48))
    plain, shifted = (next(part.buffers()) for part in constants(model))
    assert plain.shape == (1, 2, 16, 16)
    assert shifted.shape == (6, 2, 16, 16)
    assert output(model, x).shape == (2, 3)


def test_an_encoding_that_has_learned_nothing_folds_to_nothing() -> None:
    backbone = ATTENTION["vit"]
    model = visionpe.attach(backbone.model(), bias, size=(48, 80))
    visionpe.attach(model, learned, size=(48, 80))
    visionpe.attach(model, CoordConv(), size=(48, 80))
    folding = visionpe.fold(model, (48, 80))
    assert [line.numbers for line in folding.baked] == [0] * 8
    masks: list[Tensor | None] = []

    class Masks(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if getattr(func, "__name__", "") == "scaled_dot_product_attention":
                masks.append(kwargs.get("attn_mask"))
            return func(*args, **(kwargs or {}))

    with Masks():
        output(model, backbone.images())
    assert masks == [None] * 6


def test_copies_and_saved_models_are_folded_and_unfold_apart() -> None:
    model, x = attached("vit", bias)
    visionpe.attach(model, lambda s: Rotary(), size=(48, 80))
    wanted, state = output(model, x), model.state_dict()
    visionpe.fold(model, (48, 80))
    folded = output(model, x)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        assert torch.equal(output(other, x), folded)
        for part in constants(other):
            for numbers in part.buffers():
                numbers.fill_(torch.nan)
        assert torch.equal(output(model, x), folded)
        visionpe.unfold(other)
        assert torch.equal(output(other, x), wanted)
        for key, value in other.state_dict().items():
            assert torch.equal(value, state[key]), key
        assert len(constants(other)) == 0
    assert torch.equal(output(model, x), folded)


def test_turns_and_codes_stay_exact_in_a_model_that_is_made_half_precision() -> None:
    model, x = attached("vit", lambda s: Rotary())
    visionpe.attach(model, Sinusoidal2d(), size=(48, 80))
    visionpe.fold(model, (48, 80))
    model.to(torch.bfloat16)
    assert {b.dtype for part in constants(model) for b in part.buffers()} == {torch.float32}
    got = output(model, x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert torch.equal(output(visionpe.unfold(model), x.bfloat16()), got)


def test_models_in_half_precision_and_under_autocast_fold() -> None:
    model, x = attached("vit", cpb)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = output(model, x)
        visionpe.fold(model, (48, 80))
        assert torch.equal(output(model, x), wanted)
    half = visionpe.unfold(model).to(torch.bfloat16)
    wanted = output(half, x.bfloat16())
    visionpe.fold(half, (48, 80))
    assert torch.equal(output(half, x.bfloat16()), wanted)


def test_folding_leaves_modes_random_numbers_and_gradients_alone() -> None:
    model = attached("resnet18", CoordConv(), at="all")[0].train()
    model.get_submodule("layer2").eval()
    before, modes = facts(model), [module.training for module in model.modules()]
    drawn = torch.get_rng_state()
    visionpe.fold(model, (40, 56))
    assert torch.equal(torch.get_rng_state(), drawn)
    kept = [m.training for name, m in model.named_modules() if "folded_" not in name]
    assert kept == modes
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    visionpe.unfold(model)
    assert facts(model) == before


def test_one_encoding_on_maps_of_several_sizes_has_a_map_of_each() -> None:
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = CoordConv2d(3, 3, 3, padding=1, zero_init=False)

        def forward(self, x: Tensor) -> Tensor:
            small: Tensor = self.conv(self.conv(x)[..., ::2, ::3])
            return small

    model, x = Pyramid(), torch.randn(2, 3, 8, 12)
    wanted = output(model, x)
    visionpe.fold(model, (8, 12))
    assert constants(model)[0].sizes == ["8 x 12 cells", "4 x 4 cells"]
    torch.testing.assert_close(output(model, x), wanted)


def test_one_encoding_for_different_places_stays_as_it_is() -> None:
    model = visionpe.attach(
        swin().eval(),
        lambda s: RelativeBias(s.heads or 1, (8, 12), std=1.0),
        at="layers.0",
        size=(32, 48),
        share=True,
    )
    visionpe.attach(model, learned, size=(32, 48))
    x = torch.randn(1, 3, 32, 48)
    wanted = output(model, x)
    folding = visionpe.fold(model, (32, 48))
    assert str(folding).splitlines()[2:] == [
        "not RelativeBias visionpe.RelativeBias.shared: it runs on different places with 16 "
        "queries and 16 keys"
    ]
    assert torch.equal(output(model, x), wanted)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("make", [lambda s: Rotary(), bias])
def test_a_folded_model_compiles_whole(make: Any) -> None:
    model = visionpe.attach(vit(depth=1).eval(), make, size=(48, 80))
    visionpe.attach(model, learned, size=(48, 80))
    randomise(model.get_submodule("visionpe"))
    visionpe.fold(model, (48, 80))
    x = torch.randn(2, 3, 48, 80)
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(output(compiled, x), output(model, x), rtol=1e-5, atol=1e-5)
