"""Trained read-outs: as published, several side by side as if each alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionpe import CellMLP, PosENet, Trained
from visionpe.models.posenet import resize_corners
from visionpe.probing.readout import FIT, TEST
from visionpe.probing.targets import TARGETS
from visionpe.probing.training import Recipe, optimisers, train, train_step


def test_posenet_is_what_was_published() -> None:
    net = PosENet(5).eval()
    parts = [torch.randn(2, 2, 56, 40), torch.randn(2, 3, 7, 7)]
    conv, norm = net.net[0], net.net[1]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    x = torch.cat(
        [F.interpolate(p, (28, 28), mode="bilinear", align_corners=True) for p in parts], 1
    )
    x = norm(F.conv2d(x, conv.weight, conv.bias)).sigmoid()
    assert x.shape == (2, 1, 26, 26)
    wanted = F.interpolate(x, (224, 224), mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(parts), wanted)
    together = torch.cat([resize_corners(part, (28, 28)) for part in parts], 1)
    torch.testing.assert_close(net(together), wanted)


@pytest.mark.parametrize(
    ("kernel", "depth", "padding", "left"),
    [
        (1, 1, 0, 28),
        (3, 1, 0, 26),
        (7, 1, 0, 22),
        (3, 3, 0, 22),
        (3, 1, 1, 28),
        (3, 1, 2, 30),
        (7, 1, 3, 28),
    ],
)
def test_posenet_of_all_published_kinds(kernel: int, depth: int, padding: int, left: int) -> None:
    net = PosENet(3, 2, kernel=kernel, depth=depth, padding=padding)
    seen: dict[str, Tensor] = {}
    net.net.register_forward_hook(lambda m, a, out: seen.update(out=out))
    made = net(torch.randn(2, 3, 32, 48))
    assert made.shape == (2, 2, 224, 224)
    assert seen["out"].shape == (2, 2, left, left)
    assert made.min() >= 0
    assert made.max() <= 1
    convs = [m for m in net.net if isinstance(m, nn.Conv2d)]
    assert len(convs) == depth


@pytest.mark.parametrize("depth", [1, 2])
def test_targets_trained_together_learn_as_if_alone(depth: int) -> None:
    maps = [torch.randn(6, 4, 9, 11) for _ in range(3)]
    truth = torch.stack([TARGETS[name](20, 24) for name in ("H", "G")]).expand(6, -1, -1, -1)

    def made(targets: int) -> PosENet:
        return PosENet(4, targets, depth=depth, size_mid=(8, 10), size_out=(20, 24))

    both = made(2)
    alone = []
    for t in range(2):
        one = made(1)
        state = {}
        for name, tensor in both.state_dict().items():
            state[name] = tensor.chunk(2)[t].clone() if tensor.dim() else tensor.clone()
        one.load_state_dict(state)
        list(train(one, [(m, truth[:, t : t + 1]) for m in maps], Recipe(epochs=2)))
        alone.append(one)
    list(train(both, [(m, truth) for m in maps], Recipe(epochs=2)))
    for t, one in enumerate(alone):
        torch.testing.assert_close(both.eval()(maps[0])[:, t : t + 1], one.eval()(maps[0]))


def test_weights_start_uniform_after_glorot_for_each_target() -> None:
    net = PosENet(16, 4, depth=2)
    for conv in (m for m in net.net if isinstance(m, nn.Conv2d)):
        fan_in, fan_out = 16 * 9, conv.out_channels // 4 * 9
        bound = (6 / (fan_in + fan_out)) ** 0.5
        assert 0.95 * bound < conv.weight.abs().max() <= bound
        assert conv.bias is not None
        assert not conv.bias.any()


def test_the_recipe_is_the_published_one() -> None:
    net = nn.Linear(1, 1)
    optimiser, schedule = optimisers(net.parameters(), Recipe())
    group = optimiser.param_groups[0]
    assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-4)
    steps = []
    for _ in range(Recipe().epochs):
        steps.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert steps == pytest.approx([0.1] * 10 + [0.01] * 5)


def test_training_lowers_the_loss() -> None:
    coordinates = torch.stack(
        torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 16), indexing="ij")
    )
    maps = coordinates.expand(4, 2, 12, 16) + 0.1 * torch.randn(4, 2, 12, 16)
    truth = TARGETS["H"](12, 16).expand(4, 1, 12, 16)
    losses = list(train(CellMLP(2), [(maps, truth)] * 10, Recipe(epochs=8)))
    assert losses[-1] < 0.1 * losses[0]
    with pytest.raises(ValueError, match=r"^`batches` must hold batches in each epoch, but is"):
        list(train(CellMLP(2), []))


def test_a_trained_fitting_is_the_plain_loop_on_its_training_images() -> None:
    maps, truth = torch.randn(8, 3, 6, 7), torch.rand(8, 2, 6, 7)
    roles = torch.randint(0, 3, (2, 8))
    roles[:, 0], roles[:, 4] = FIT, FIT
    how = Trained(CellMLP, Recipe(epochs=3))
    fitting = how.begin(3, 6, 7, outputs=2, splits=2)
    plain = []
    for split in range(2):
        torch.manual_seed(split)
        plain.append(CellMLP(3, 2))
    done = False
    while not done:
        for part in (slice(0, 4), slice(4, 8)):
            fitting.update(maps[part], truth[part], roles[:, part])
        done = fitting.finish()
    for split, net in enumerate(plain):
        batches = [
            (maps[part][seen], truth[part][seen])
            for part in (slice(0, 4), slice(4, 8))
            for seen in [roles[split, part] != TEST]
        ]
        list(train(net, batches, Recipe(epochs=3)))
        torch.testing.assert_close(fitting.predict(maps)[split], net.eval()(maps))


def test_a_step_returns_the_loss_before_it() -> None:
    net = nn.Conv2d(1, 1, 1)
    maps, truth = torch.randn(2, 1, 3, 4), torch.rand(2, 1, 3, 4)
    before = F.mse_loss(net(maps), truth).item()
    optimiser, _ = optimisers(net.parameters(), Recipe())
    assert train_step(net, optimiser, maps, truth) == pytest.approx(before)
    assert F.mse_loss(net(maps), truth).item() < before


class Narrow(nn.Module):
    def __init__(self, channels: int, targets: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, targets, 9)

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.conv(maps)
        return made


def test_a_read_out_that_cannot_read_is_refused() -> None:
    with pytest.raises(ValueError, match="Narrow") as refused:
        Trained(Narrow).begin(3, 6, 7, outputs=1, splits=1)
    assert str(refused.value).startswith("`readout` must read maps of 3 x 6 x 7, but Narrow fails:")
    with pytest.raises(ValueError, match="size_mid") as refused:
        PosENet(3, size_mid=(2, 28))
    assert str(refused.value) == (
        "`size_mid` must leave a cell after 1 convolutions of 3, but (2, 28) leaves (0, 26)."
    )
    with pytest.raises(ValueError, match=r"^`depth` must be at least 1, but is 0\.$"):
        PosENet(3, depth=0)
    with pytest.raises(ValueError, match=r"^`padding` must be at least 0, but is -1\.$"):
        PosENet(3, padding=-1)
    with pytest.raises(ValueError, match=r"^`hidden` must be at least 1, but is 0\.$"):
        CellMLP(3, hidden=0)


class Dropping(nn.Sequential):
    """Learns all its outputs by few numbers, and drops some at random."""

    def __init__(self, channels: int, targets: int) -> None:
        super().__init__(nn.Conv2d(channels, 2, 1), nn.Dropout(0.5), nn.Conv2d(2, targets, 1))


def test_what_is_learned_apart_does_not_change_what_is_learned_first() -> None:
    maps, truth = torch.randn(8, 3, 6, 7), torch.rand(8, 6, 6, 7)
    roles = torch.full((2, 8), FIT)
    roles[1, :3] = TEST
    how = Trained(Dropping, Recipe(epochs=3))
    alone = how.begin(3, 6, 7, outputs=2, splits=2, together=2)
    among = how.begin(3, 6, 7, outputs=6, splits=2, together=2)
    for fitting, wanted in ((alone, truth[:, :2]), (among, truth)):
        done = False
        while not done:
            fitting.update(maps, wanted, roles)
            done = fitting.finish()
    assert among.predict(maps).shape == (2, 8, 6, 6, 7)
    assert torch.equal(among.predict(maps)[:, :, :2], alone.predict(maps))
    assert among.memory > alone.memory
