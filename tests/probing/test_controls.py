"""Controls: each changes what it says, and nothing else."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from visionpe.probing.contents import constant_images, permute_patches, shuffled
from visionpe.probing.controls import MODEL, PERMUTED, POSITIONLESS, RANDOM, conditions
from visionpe.probing.splits import least, parts, split
from visionpe.probing.twins import padding_twin, random_weights, redraw

NULL = "random weights, padding=circular"


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1)
    )


def test_a_convolutional_net_has_all_its_twins() -> None:
    net = cnn()
    found, notes = conditions(net, torch.randn(4, 3, 8, 12))
    twins = [f"padding={mode}" for mode in ("none", "reflect", "replicate", "circular")]
    assert [c.name for c in found] == [MODEL, RANDOM, PERMUTED, *twins, NULL]
    assert notes == ["There is no twin without position encodings: the model has none."]
    made = [condition.make() for condition in found]
    assert [m is net for m in made] == [True, False, True, *[False] * 5]


def test_a_net_that_pads_otherwise_has_a_twin_with_zeros() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"))
    found, _ = conditions(net, torch.randn(4, 3, 8, 12))
    names = [c.name for c in found]
    assert "padding=zeros" in names
    assert "padding=circular" not in names


def test_a_net_that_pads_nothing_has_a_note_instead() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4))
    found, notes = conditions(net, torch.randn(4, 3, 8, 12))
    assert [c.name for c in found] == [MODEL, RANDOM, PERMUTED]
    assert notes[0] == (
        "There is no twin with padding 'none': `model` must pad a map somewhere, but Sequential "
        "has no convolution, pool or call that does."
    )


def test_a_net_that_knows_places_by_encodings_has_a_twin_without() -> None:
    net = timm.create_model("test_vit", img_size=(32, 48), num_classes=3).eval()
    images = torch.randn(4, 3, 32, 48)
    found, notes = conditions(net, images)
    ignorant = f"{RANDOM}, {POSITIONLESS}"
    assert [c.name for c in found] == [MODEL, RANDOM, PERMUTED, POSITIONLESS, ignorant]
    assert notes[0] == (
        "There is no twin with padding 'none': the layers that are read do not depend on it at "
        "images of this size."
    )
    without = found[3].make().eval()
    tokens = without.forward_features(images)[:, 1:]  # type: ignore[operator]
    moved = without.forward_features(images.roll(16, 3))[:, 1:]  # type: ignore[operator]
    cells = [t.unflatten(1, (2, 3)) for t in (tokens, moved)]
    torch.testing.assert_close(cells[0].roll(1, 2), cells[1])  # patches of 16 pixels


def test_twins_have_the_weights_and_leave_the_model() -> None:
    net = cnn().eval()
    images = torch.randn(2, 3, 8, 12)
    before = net(images)
    twin = padding_twin(net, "circular")
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(twin(images)[inside], before[inside])
    assert not torch.allclose(twin(images), before)
    assert torch.equal(net(images), before)


def test_random_weights_are_drawn_as_at_the_start_and_the_model_is_left() -> None:
    net = cnn()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = torch.randn(8, 3, 8, 12)
    numbers = torch.random.get_rng_state()
    drawn: Any = random_weights(net, images, seed=1)
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert all(torch.equal(state[name], t) for name, t in net.state_dict().items())
    assert not torch.equal(drawn[0].weight, state["0.weight"])
    bound = (3 * 9) ** -0.5  # PyTorch's own for this convolution
    assert 0.9 * bound < float(drawn[0].weight.detach().abs().max()) <= bound
    assert torch.equal(drawn[0].weight, redrawn(net, 1))
    assert not torch.equal(drawn[0].weight, redrawn(net, 2))


def redrawn(net: nn.Module, seed: int) -> Tensor:
    drawn: Any = random_weights(net, seed=seed)
    weight: Tensor = drawn[0].weight
    return weight


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(2.5, 3.5, 4096))
        self.gain = nn.Parameter(torch.ones(64))


def test_parameters_without_a_start_keep_their_scale_and_constants_stay() -> None:
    bare = Bare()
    net = nn.Sequential(bare)
    drawn = random_weights(net).get_submodule("0")
    assert isinstance(drawn, Bare)
    assert drawn.table.mean().item() == pytest.approx(3, abs=0.02)
    assert drawn.table.std().item() == pytest.approx(bare.table.std().item(), rel=0.05)
    assert drawn.table.diff().abs().min() < 0.1 < drawn.table.diff().abs().max()  # no ramp
    assert torch.equal(drawn.gain, torch.ones(64))


def test_the_statistics_of_random_batch_norms_are_those_of_the_images() -> None:
    net = timm.create_model("resnet10t", num_classes=3)
    images = torch.randn(8, 3, 64, 64)
    drawn: Any = random_weights(net, images)
    assert [m.training for m in drawn.modules()] == [m.training for m in net.modules()]
    norm = nn.functional.batch_norm(
        drawn.conv1(images).detach(), drawn.bn1.running_mean, drawn.bn1.running_var
    )
    assert norm.mean((0, 2, 3)).abs().max() < 1e-3
    assert norm.var((0, 2, 3)).sub(1).abs().max() < 1e-2
    assert drawn.bn1.momentum == net.bn1.momentum


@pytest.mark.parametrize("size", [(8, 12), (224, 224), (14, 11), (13, 6)])
def test_patches_are_permuted_and_nothing_is_lost(size: tuple[int, int]) -> None:
    images = torch.randn(3, 2, *size)
    moved = permute_patches(images)
    assert moved.shape == images.shape
    assert not torch.equal(moved, images)
    assert torch.equal(moved.flatten(1).sort().values, images.flatten(1).sort().values)


def test_patches_move_whole_and_in_each_image_otherwise() -> None:
    number = torch.arange(48).reshape(6, 8).repeat_interleave(4, 0).repeat_interleave(3, 1)
    images = number.expand(2, 1, 24, 24).float()  # 8 x 8 patches of 3 x 3 pixels
    first, second = permute_patches(images)[:, 0]
    patches = first.reshape(8, 3, 8, 3).permute(0, 2, 1, 3).reshape(64, 9)
    whole = images[0, 0].reshape(8, 3, 8, 3).permute(0, 2, 1, 3).reshape(64, 9)
    assert sorted(map(tuple, patches.tolist())) == sorted(map(tuple, whole.tolist()))
    assert not torch.equal(first, second)


def test_an_image_is_permuted_alike_in_any_batch() -> None:
    images = torch.randn(5, 3, 8, 12)
    at_once = permute_patches(images)
    parts = [permute_patches(images[i : i + 2], i) for i in range(0, 5, 2)]
    assert torch.equal(torch.cat(parts), at_once)


def test_images_without_content() -> None:
    low, high = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 3.0, 4.0])
    made = constant_images(low, high, 40, 60, noise=6)
    assert torch.equal(made["black"][0, :, 7, 8], low)
    assert torch.equal(made["white"][0, :, 39, 0], high)
    noise = made["noise"]
    assert noise.shape == (6, 3, 40, 60)
    assert ((noise >= low[:, None, None]) & (noise <= high[:, None, None])).all()
    middle = (low + high) / 2
    torch.testing.assert_close(noise.mean((0, 2, 3)), middle, atol=0.05, rtol=0)


def test_a_shuffle_moves_all_targets_alike_and_keeps_their_values() -> None:
    truth = torch.stack([torch.arange(12.0).reshape(3, 4), -torch.arange(12.0).reshape(3, 4)])
    moved = shuffled(truth, 4)
    assert torch.equal(moved[0], -moved[1])
    assert torch.equal(moved.flatten(1).sort().values, truth.flatten(1).sort().values)
    assert torch.equal(shuffled(truth, 4), moved)
    assert not torch.equal(shuffled(truth, 5), moved)


def test_splits_are_by_image_and_of_each_seed_another() -> None:
    for n in (4, 5, 50, 1000):
        roles = torch.stack([split(n, seed) for seed in range(3)])
        assert [row.bincount(minlength=3).tolist() for row in roles] == [list(parts(n))] * 3
        assert min(parts(n)) >= 1
    assert not torch.equal(roles[0], roles[1])
    assert [parts(least(k))[0] >= k and parts(least(k) - 1)[0] < k for k in range(2, 60)]


def test_groups_are_split_whole() -> None:
    groups = torch.arange(50) % 7 + 3
    for seed in range(4):
        roles = split(50, seed, groups)
        each = [roles[groups == group].unique() for group in groups.unique()]
        assert all(len(role) == 1 for role in each)
        assert torch.cat(each).bincount(minlength=3).tolist() == list(parts(7))
    assert torch.equal(split(9, 1, torch.arange(9)), split(9, 1))


def test_random_weights_are_not_those_that_the_same_seed_made_the_model_with() -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 4, 3)
    assert not torch.equal(random_weights(net).get_parameter("weight"), net.weight)


def normed(kind: str) -> nn.Module:
    conv = nn.Conv2d(3, 6, 3, padding=1)
    if kind.startswith("old"):
        norms: Any = {"old spectral": nn.utils.spectral_norm, "old weight": nn.utils.weight_norm}
        old: nn.Module = norms[kind](conv).eval()
        return old
    norm: Any = getattr(nn.utils.parametrizations, f"{kind}_norm")
    made: nn.Module = norm(conv).eval()
    return made


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize("kind", ["old spectral", "old weight", "spectral", "weight"])
@torch.no_grad()
def test_weights_behind_a_norm_are_drawn_too(kind: str) -> None:
    net = normed(kind)
    images = torch.randn(2, 3, 8, 12)
    before = net(images)
    drawn: Any = random_weights(net)
    for name, parameter in net.named_parameters():
        assert not torch.equal(drawn.get_parameter(name), parameter), name
    assert torch.equal(net(images), before)
    drawn(images)  # the old ones compute their weight before a forward
    if "spectral" in kind:
        assert torch.linalg.matrix_norm(drawn.weight.flatten(1), 2).item() == pytest.approx(1, 0.05)
    else:
        assert drawn.weight.std().item() == pytest.approx(before.std().item(), rel=0.9)


class Half(nn.Module):
    """Resets one weight and leaves the other."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.randn(64))
        self.other = nn.Parameter(torch.randn(64))

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.one)


class Asking(Half):
    def reset_parameters(self, std: float) -> None:  # type: ignore[override]
        nn.init.normal_(self.one, std=std)


@pytest.mark.parametrize("kind", [Half, Asking])
def test_what_a_reset_leaves_is_drawn_too(kind: type[Half]) -> None:
    net = kind()
    drawn = random_weights(net)
    assert not torch.equal(drawn.get_parameter("one"), net.one)
    assert not torch.equal(drawn.get_parameter("other"), net.other)
    assert bool((drawn.get_parameter("one") < 0).any()) == (kind is Asking)


def test_random_weights_are_the_models_own_where_it_says_how() -> None:
    net = timm.create_model("test_vit", img_size=(32, 48), num_classes=3)
    weight = "blocks.0.attn.qkv.weight"
    with torch.no_grad():
        net.get_parameter(weight).mul_(9)
    wrapped = nn.Sequential(net)
    drawn = random_weights(wrapped).get_parameter(f"0.{weight}")
    assert drawn.std().item() == pytest.approx(0.02, rel=0.05)  # PyTorch's own: 0.072
    assert redraw(deepcopy(wrapped)) == "reset_parameters, VisionTransformer.init_weights"
    assert redraw(cnn()) == "reset_parameters"


def test_branches_are_not_switched_off_by_a_models_own_start() -> None:
    net = timm.create_model("resnet10t", num_classes=3)
    net.init_weights()
    assert not net.get_parameter("layer1.0.bn2.weight").any()
    assert torch.equal(random_weights(net).get_parameter("layer1.0.bn2.weight"), torch.ones(64))


def test_a_start_that_fails_leaves_the_resets() -> None:
    class Lost(nn.Sequential):
        def init_weights(self) -> None:
            raise FileNotFoundError("weights.pth")

    net = Lost(nn.Conv2d(3, 4, 3))
    assert not torch.equal(
        random_weights(net).get_parameter("0.weight"), net.get_parameter("0.weight")
    )
    assert redraw(deepcopy(net)) == (
        "reset_parameters, Lost.init_weights failed: FileNotFoundError"
    )


def test_norms_without_parameters_get_their_statistics() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.AvgPool2d(2))
    drawn: Any = random_weights(net, torch.randn(8, 3, 8, 12) + 2)
    assert (drawn[0].running_mean > 1.5).all()


@dataclass
class Answer:
    logits: Tensor


class Decides(nn.Module):
    """Its output hides what padding does."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = cnn()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        maps = self.net(x)
        return Answer(maps) if self.kind == "object" else maps.mean((2, 3)) > 1e9


@pytest.mark.parametrize("kind", ["object", "decision"])
def test_an_output_that_hides_the_padding_costs_no_twin(kind: str) -> None:
    found, notes = conditions(Decides(kind).eval(), torch.randn(4, 3, 8, 12))
    assert {f"padding={mode}" for mode in ("none", "reflect", "circular")} <= {
        c.name for c in found
    }
    assert len(notes) == 1
