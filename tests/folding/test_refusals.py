"""What cannot be folded stays and is listed; what a folded model cannot do is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from backbones import bias, facts, pvt, torchvision_vit, vit
from torch import Tensor, nn

import visionpe
from visionpe import (
    PEG,
    AttentionEncoding,
    CoordConv,
    CoordConv2d,
    FoldError,
    Frame,
    HeightAttention,
    HyperConv2d,
    IRPEContextual,
    MapEncoding,
    RelativeBias,
    Shaw,
    TransformerXL,
)


def randomise(model: nn.Module) -> None:
    for parameter in model.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter, std=0.3)


def folded_vit() -> Any:
    model = visionpe.attach(vit(dynamic_img_size=True).eval(), bias, size=(48, 80))
    visionpe.attach(model, lambda s: visionpe.Learned2d(64, (3, 5)), size=(48, 80))
    randomise(model)
    visionpe.fold(model, (48, 80))
    return model


CONTENT: dict[str, tuple[Any, str]] = {
    "Shaw": (lambda s: Shaw(s.head_dim or 1), "its bias depends on queries or keys"),
    "IRPEContextual": (
        lambda s: IRPEContextual(s.head_dim or 1),
        "its bias depends on queries or keys",
    ),
    "TransformerXL": (
        lambda s: TransformerXL(s.heads or 1, s.head_dim or 1),
        "its bias depends on queries or keys",
    ),
    "PEG": (PEG(64), "what it does to a cell depends on the content"),
    "HyperConv2d": (HyperConv2d(64), "what it does to a cell depends on the content"),
    "HeightAttention": (
        HeightAttention(64, identity=True),
        "what it does to a cell depends on the content",
    ),
}


@pytest.mark.parametrize("name", CONTENT)
def test_what_looks_at_the_content_stays_and_is_listed(name: str) -> None:
    encoding, why = CONTENT[name]
    model = visionpe.attach(vit().eval(), CoordConv(), size=(48, 80))
    visionpe.attach(model, encoding, at="blocks.1", size=(48, 80))
    randomise(model)
    x = torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        wanted = model(x)
        folding = visionpe.fold(model, (48, 80))
        torch.testing.assert_close(model(x), wanted, rtol=1e-6, atol=1e-6)
    assert [line.encoding for line in folding.baked] == ["CoordTerm"]
    assert folding.kept[0][:2] == (f"visionpe.{name}.{_site(name)}", name)
    assert folding.kept[0].why == why
    assert str(folding).splitlines()[:3] == [
        f"VisionTransformer folded for 48 x 80: 1 folded, {len(folding.kept)} not",
        "CoordTerm visionpe.CoordConv.patch_embed-proj: map, 960 numbers",
        f"not {name} visionpe.{name}.{_site(name)}: {why}",
    ]


def _site(name: str) -> str:
    inside = name in ("Shaw", "IRPEContextual", "TransformerXL")
    return "blocks-1-attn" if inside else "blocks-1"


def test_images_of_another_size_are_refused() -> None:
    model = folded_vit()
    with pytest.raises(FoldError) as error:
        model(torch.randn(1, 3, 64, 80))
    assert str(error.value) == (
        "`images` must be 48 x 80 pixels, for which VisionTransformer is folded, but are 64 x 80. "
        "Call visionpe.unfold(model), and fold for their size."
    )
    assert model(torch.randn(1, 3, 48, 80)).shape == (1, 3)


def test_a_layer_that_is_given_another_map_says_so() -> None:
    model = nn.Sequential(CoordConv2d(3, 8, 3, zero_init=False), visionpe.Learned2d(8, (3, 5)))
    visionpe.fold(model, (5, 7))
    for layer, name, known in (
        (model[0], "CoordConv2d", "5 x 7"),
        (model[1], "Learned2d", "3 x 5"),
    ):
        with pytest.raises(FoldError) as error:
            layer(torch.randn(1, 3 if name == "CoordConv2d" else 8, 6, 9))
        assert str(error.value) == (
            f"{name} is folded for {known} cells, but is given 6 x 9 cells. Call the model with "
            "images of the size that it is folded for, or visionpe.unfold(model) first."
        )


def test_a_frame_is_refused() -> None:
    model = folded_vit()
    with pytest.raises(FoldError) as error:
        model(torch.randn(1, 3, 48, 80), frame=Frame.identity(48, 80))
    assert str(error.value) == (
        "`frame` must not be given: VisionTransformer is folded for whole images of 48 x 80 "
        "pixels. Call visionpe.unfold(model) first."
    )
    layer = nn.Sequential(CoordConv2d(3, 8, 3, zero_init=False))
    visionpe.fold(layer, (5, 7))
    with pytest.raises(FoldError) as error:
        layer[0](torch.randn(1, 3, 5, 7), Frame.identity(5, 7))
    assert str(error.value) == (
        "CoordConv2d is folded for whole images, but is given a frame. Call "
        "visionpe.unfold(model) first."
    )


def test_new_parameters_for_what_is_folded_are_refused_and_none_is_loaded() -> None:
    model = folded_vit()
    before = facts(model)
    state = {key: torch.randn_like(value) for key, value in model.state_dict().items()}
    for module, prefix in ((model, ""), (model.visionpe, "visionpe.")):
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        with pytest.raises(FoldError, match="must not be loaded while its encoding is folded"):
            module.load_state_dict(part)
    with pytest.raises(FoldError) as error:
        model.load_state_dict(state)
    assert str(error.value) == (
        "`visionpe.RelativeBias.blocks-0-attn.table` must not be loaded while its encoding is "
        "folded: it would have no effect. Call visionpe.unfold(model), load, and fold again."
    )
    assert facts(model) == before
    base = {k: v for k, v in state.items() if not k.startswith("visionpe.")}
    assert model.load_state_dict(base, strict=False).unexpected_keys == []
    visionpe.unfold(model).load_state_dict(state)


class Counting(AttentionEncoding):
    """A bias that is another one at each call."""

    calls = 0.0

    def bias(self, q: Tensor, k: Tensor, *rest: Any) -> Tensor:
        self.calls += 1
        return q.new_ones(1, 1, q.shape[-2], k.shape[-2]).tril() * self.calls


def attached(model: nn.Module, *encodings: Any) -> nn.Module:
    for encoding in encodings:
        visionpe.attach(model, encoding, size=(48, 80))
    return model


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return vit()


REFUSED: list[tuple[Callable[[], nn.Module], Any, type[Exception], str]] = [
    (
        vit,
        (48, 80),
        ValueError,
        "`model` must have encodings to fold, but VisionTransformer has none. Attach one: "
        "visionpe.attach.",
    ),
    (
        lambda: attached(vit(), lambda s: Shaw(s.head_dim or 1)),
        (48, 80),
        ValueError,
        "`model` must have encodings that can be folded, but of VisionTransformer none can: its "
        "bias depends on queries or keys; what it adds to the values depends on the attention's "
        "weights.",
    ),
    (
        lambda: visionpe.attach(torchvision_vit(), bias, size=(32, 32)),
        (32, 48),
        ValueError,
        "`size` must be that of images that VisionTransformer takes, but with 32 x 48 pixels it "
        "fails: Wrong image width! Expected 32 but got 48!",
    ),
    (
        lambda: attached(vit(), bias),
        48,
        TypeError,
        "`size` must be (h, w) in pixels, but is 48.",
    ),
    (
        folded_vit,
        (48, 80),
        ValueError,
        "`model` must not be folded, but VisionTransformer is, for images of 48 x 80 pixels. Call "
        "visionpe.unfold(model) first.",
    ),
    (
        on_meta,
        (48, 80),
        ValueError,
        "`model` must have its parameters in memory, but `cls_token` is on the meta device. Call "
        "`model.to_empty(device=...)` and load its state first.",
    ),
    (
        lambda: nn.DataParallel(attached(vit(), bias)),
        (48, 80),
        ValueError,
        "`model` must be the model itself, but is wrapped in DataParallel. Give its `.module`.",
    ),
]


@pytest.mark.parametrize(("make", "size", "kind", "said"), REFUSED)
def test_a_refused_fold_says_why_and_changes_nothing(
    make: Callable[[], nn.Module], size: Any, kind: type[Exception], said: str
) -> None:
    model = make()
    before = facts(model)
    with pytest.raises(kind) as error:
        visionpe.fold(model, size)
    assert str(error.value) == said
    assert facts(model) == before


def hooks(model: nn.Module) -> list[Any]:
    return [
        (name, list(module._forward_pre_hooks), "bias" in vars(module), module.training)
        for name, module in model.named_modules()
    ]


def test_a_model_that_would_compute_something_else_is_left_as_it_was() -> None:
    model = attached(vit().eval(), Counting())
    before = hooks(model)
    with pytest.raises(FoldError, match="would not compute the same: with constants an output"):
        visionpe.fold(model, (48, 80))
    assert hooks(model) == before


def test_a_folded_model_is_not_attached_to_and_not_detached_from() -> None:
    model = folded_vit()
    before = facts(model)
    said = (
        "`model` must not be folded, but VisionTransformer is, for images of 48 x 80 pixels. Call "
        "visionpe.unfold(model) first."
    )
    verbs: list[Callable[[], Any]] = [
        lambda: visionpe.attach(model, CoordConv()),
        lambda: visionpe.detach(model),
    ]
    for verb in verbs:
        with pytest.raises(ValueError, match="must not be folded") as error:
            verb()
        assert str(error.value) == said
        assert facts(model) == before
    visionpe.detach(visionpe.unfold(model))


def test_unfolding_what_is_not_folded_is_refused() -> None:
    with pytest.raises(ValueError, match="must be folded") as error:
        visionpe.unfold(pvt())
    assert str(error.value) == ("`model` must be folded, but PyramidVisionTransformerV2 is not.")


class Masked(nn.Module):
    """Gives its encoding a mask that it makes of the images."""

    def __init__(self, encoding: MapEncoding) -> None:
        super().__init__()
        self.encoding = encoding
        self.unused = RelativeBias(1, (2, 2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.encoding(x, mask=x[:, 0] > 0)
        return y


def test_encodings_that_are_given_more_or_do_not_run_are_listed() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), Masked(visionpe.MaskedSinusoidal2d()), visionpe.Sinusoidal2d()
    )
    assert [(line.module, line.why) for line in visionpe.fold(model, (5, 7)).kept] == [
        ("1.encoding", "it is given more than a map"),
        ("1.unused", "it does not run"),
    ]
