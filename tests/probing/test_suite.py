"""The whole probe: what must be found is found, what must not is not, and bad input is refused."""

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from visionpe import AddCoords, CellMLP, ProbeResult, Ridge, Trained, dead_leaves, probe
from visionpe.probing.errors import FeatureError, ProbeError
from visionpe.probing.page_findings import findings, headline
from visionpe.probing.result import TARGET
from visionpe.probing.training import Recipe

NULL = "random weights, padding=circular"
ALL = ("H", "V", "G", "HS", "VS")


def leaves(n: int, h: int = 32, w: int = 48) -> Tensor:
    return (dead_leaves(n, h, w, periodic=True) - 0.5) * 12**0.5


def cnn() -> nn.Sequential:
    """Of stride 4; trained or not, it knows its edges by zero padding alone."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def of_cnn() -> ProbeResult:
    torch.manual_seed(0)
    return probe(cnn(), leaves(400), layers=["8"], batch_size=50)


def test_padding_is_found_and_the_nulls_are_null(of_cnn: ProbeResult) -> None:
    for name in ("H", "V", "G"):
        assert of_cnn.mean("8", name).spearman > 0.2
        assert of_cnn.mean("8", name).spearman_interval[0] > 0.15
        assert of_cnn.mean("8", name).r2 > 0.05
        assert of_cnn.selectivity("8", name) > 0.03
    for name in ALL:  # 3 splits of 120 tested images each
        for condition in ("shuffled", NULL, "padding=circular"):
            mean = of_cnn.mean("8", name, condition)
            assert abs(mean.spearman) < 0.05, (name, condition)
            assert abs(mean.r2) < 0.05, (name, condition)


def test_a_layer_of_coordinates_has_r2_of_1_and_needs_no_padding() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), AddCoords(), nn.Conv2d(5, 8, 1))
    result = probe(net, torch.randn(20, 3, 12, 16), layers=["2"], targets=["H", "V", "quadrant"])
    for condition in ("model", "random weights", "padding=circular", NULL, "permuted"):
        for name in ("H", "V"):
            mean = result.mean("2", name, condition)
            assert mean.r2 == pytest.approx(1, abs=1e-4)
            assert mean.spearman == pytest.approx(1, abs=5e-3)  # of ties, which rounding breaks
            assert mean.mae < 0.01
    assert result.mean("2", "H", "noise").r2 == pytest.approx(1, abs=1e-3)
    assert result.mean("2", "quadrant").r2 < 0.95  # no line


def test_the_control_task_tells_what_a_layer_can_memorise() -> None:
    class EveryCell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(1, 64, 4, 6))
            self.conv = nn.Conv2d(3, 64, 8, stride=8)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.conv(x) + 5 * self.table
            return made

    coordinates = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), AddCoords(), nn.Conv2d(6, 8, 1))
    every = probe(EveryCell(), leaves(40), layers=[""], targets=["H"])
    line = probe(coordinates, leaves(40), layers=["2"], targets=["H"])
    assert every.mean("", "H").r2 > 0.9 < line.mean("2", "H").r2
    assert every.mean("", "H", "control task").r2 > 0.9
    assert every.selectivity("", "H") < 0.1
    assert line.selectivity("2", "H") > 0.5
    assert abs(every.mean("", "H", "shuffled").r2) < 0.05


def test_every_value_stands_beside_its_controls(of_cnn: ProbeResult) -> None:
    conditions = of_cnn.conditions
    assert conditions[0] == "model"
    twins = [f"padding={mode}" for mode in ("none", "reflect", "replicate", "circular")]
    assert set(conditions) == {
        "model", "shuffled", "control task", "random weights", "permuted", *twins, NULL,
        "black", "white", "noise",
    }  # fmt: skip
    assert len(of_cnn.means) == len(ALL) * len(conditions)
    assert len(of_cnn.rows) == 3 * len(of_cnn.means)
    keys = [(r.layer, r.target, r.condition, r.seed) for r in of_cnn.rows]
    assert len(set(keys)) == len(keys)
    assert list(of_cnn.maps["8"]["H"]) == [TARGET, *conditions] or set(of_cnn.maps["8"]["H"]) == {
        TARGET,
        *conditions,
    }


def test_means_are_those_of_the_rows_inside_their_intervals(of_cnn: ProbeResult) -> None:
    for mean in of_cnn.means:
        rows = [
            r for r in of_cnn.rows
            if (r.layer, r.target, r.condition) == (mean.layer, mean.target, mean.condition)
        ]  # fmt: skip
        for score in ("spearman", "mae", "r2"):
            values = [getattr(row, score) for row in rows]
            assert getattr(mean, score) == pytest.approx(sum(values) / 3)
            low, high = getattr(mean, f"{score}_interval")
            if mean.condition in ("black", "white"):  # one image says nothing of others
                assert math.isnan(low)
                assert math.isnan(high)
                continue
            assert low - 1e-9 <= getattr(mean, score) <= high + 1e-9
        assert mean.n_images == sum(row.n_images for row in rows)
        for row in rows:
            if mean.condition not in ("black", "white"):
                assert row.interval[0] - 1e-9 <= row.spearman <= row.interval[1] + 1e-9
            assert row.n_train == 280
            assert row.seconds > 0


def test_the_printed_result_has_the_nulls_and_cannot_go_without(of_cnn: ProbeResult) -> None:
    text = str(of_cnn)
    head = text.splitlines()[3]
    for word in ("model", "shuffled", "control", "random", "permuted", "circular", "black"):
        assert word in head
    line = next(line for line in text.splitlines() if line.startswith("8  "))
    assert f"{of_cnn.mean('8', 'H').spearman:.3f}" in line
    assert f"{of_cnn.mean('8', 'H', 'shuffled').spearman:.3f}" in line
    assert len(of_cnn.table("r2").splitlines()) == len(text.splitlines())
    bare = ProbeResult([], [m for m in of_cnn.means if m.condition == "model"], {})
    with pytest.raises(ValueError, match="means") as refused:
        print(bare)
    assert str(refused.value) == (
        "`means` must hold the condition 'shuffled' for each value, but layer '8', target 'H' has "
        "none beside 'model'."
    )
    with pytest.raises(
        ValueError, match=r"^`score` must be one of 'spearman', 'mae', 'r2', but is 'spc'\.$"
    ):
        of_cnn.table("spc")


def test_a_result_is_plain_numbers_and_words(of_cnn: ProbeResult) -> None:
    import json

    text = json.dumps(of_cnn.to_dict())
    back = json.loads(text)
    assert len(back["rows"]) == len(of_cnn.rows)
    assert back["meta"]["size"] == [32, 48]
    assert back["meta"]["lattices"] == {"8": [8, 12]}
    assert len(back["maps"]["8"]["H"]["model"]) == 8
    assert back["companions"]["8"]["border_error"] > back["companions"]["8"]["interior_error"]
    with pytest.raises(KeyError, match="The result must hold"):
        of_cnn.mean("8", "H", "nothing")


def test_black_and_white_images_show_the_padding_alone(of_cnn: ProbeResult) -> None:
    for condition in ("black", "white"):
        means = of_cnn.maps["8"]["G"][condition]
        # Cells that no edge reaches are all alike.
        inner = means[3:-3, 3:-3]
        assert inner.max() - inner.min() < 1e-4
        assert means.max() - means.min() > 0.01


def test_a_loader_gives_what_a_tensor_gives() -> None:
    images = leaves(20, 16, 24)
    torch.manual_seed(3)
    net = cnn()
    a = probe(net, images, layers=["8"], targets=["H"], seeds=2, batch_size=5)
    loader = DataLoader(TensorDataset(images, torch.zeros(20)), batch_size=8)
    b = probe(net, loader, layers=["8"], targets=["H"], seeds=2)
    for one, other in zip(a.means, b.means, strict=True):
        assert (one.layer, one.condition) == (other.layer, other.condition)
        assert one.r2 == pytest.approx(other.r2, abs=1e-3)


def test_the_model_and_the_random_numbers_are_left_as_they_were() -> None:
    net = cnn()
    net[4].eval()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flags = [m.training for m in net.modules()]
    numbers = torch.random.get_rng_state()
    probe(net, size=(16, 24), layers=["8"], targets=["H"], seeds=1)
    assert all(torch.equal(state[name], t) for name, t in net.state_dict().items())
    assert [m.training for m in net.modules()] == flags
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert not any(m._forward_hooks or "forward" in vars(m) for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_a_vit_without_images_is_probed_from_its_tokens_and_says_so() -> None:
    net = timm.create_model("test_vit", img_size=(32, 48), patch_size=8, num_classes=3)
    with torch.no_grad():
        net.pos_embed.mul_(50)  # as large as learned ones grow
    result = probe(net, size=(32, 48), targets=["H"], seeds=1)
    assert result.layers == [f"blocks.{i}" for i in (0, 2, 3, 5)]
    assert result.mean("blocks.0", "H").r2 > 0.1  # its table
    assert result.meta["origin"] == "generated: 64 dead-leaves images"
    assert result.notes[0].startswith("No images were given.")
    assert any(note.startswith("There is no twin") for note in result.notes)
    assert "padding=circular" not in result.conditions
    assert abs(result.mean("blocks.0", "H", "positions removed").r2) < 0.05
    assert "No images were given" in str(result)


def test_layers_can_be_read_together_at_a_common_size() -> None:
    images = leaves(30, 16, 24)
    net = cnn()
    result = probe(net, images, layers=["2", ("5", "8")], targets=["H"], seeds=1, lattice=(9, 11))
    assert result.layers == ["2", "5 + 8"]
    assert result.meta["lattices"] == {"2": [9, 11], "5 + 8": [9, 11]}
    assert result.meta["channels"] == {"2": 12, "5 + 8": 36}
    assert list(result.companions) == ["2"]


@pytest.mark.parametrize(
    "readout", [Ridge(kernel=3), Trained(CellMLP, Recipe(epochs=2))], ids=["ridge 3", "mlp"]
)
def test_other_read_outs_go_the_same_way(readout: Any) -> None:
    result = probe(
        cnn(), leaves(40, 16, 24), layers=["5"], targets=["H", "G"], seeds=2, readout=readout
    )
    cut = 1 if isinstance(readout, Ridge) else 0
    assert result.maps["5"]["G"]["model"].shape == (8 - 2 * cut, 12 - 2 * cut)
    assert len(result.conditions) == 13
    assert abs(result.mean("5", "H", "shuffled").r2) < 0.05
    assert result.meta["readout"] == repr(readout)


def test_progress_is_told_to_the_end() -> None:
    seen: list[tuple[int, int, str]] = []
    probe(
        cnn(), leaves(8, 16, 24), layers=["5"], targets=["H"], seeds=1, batch_size=4,
        progress=lambda *step: seen.append(step),
    )  # fmt: skip
    done, total, what = zip(*seen, strict=True)
    assert list(done) == [*range(1, total[0] + 1), total[0]]
    assert set(total) == {2 * 2 * 8}  # batches, passes, conditions
    assert what[-1] == "done"
    assert list(dict.fromkeys(what))[:2] == ["model", "random weights"]


def test_a_twin_that_cannot_be_is_noted_and_the_rest_is_kept() -> None:
    # Nothing is padded.
    net = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 6, 1))
    result = probe(net, leaves(20, 8, 12), layers=["1"], targets=["H"], seeds=1)
    assert "padding=reflect" not in result.conditions
    assert {"model", "shuffled", "random weights"} <= {*result.conditions}
    notes = [n for n in result.notes if n.startswith("There is no twin with padding 'reflect': ")]
    assert len(notes) == 1


def test_a_net_that_fails_on_constant_images_is_probed_on_the_others() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            scale = x.std((2, 3), keepdim=True)
            made: Tensor = self.conv(x / (scale * (scale > 1e-3)))
            return made

    result = probe(Normalised(), leaves(20, 8, 12), layers=["conv"], targets=["H"], seeds=1)
    assert "noise" in result.conditions
    assert not {"black", "white"} & set(result.conditions)
    assert sum(note.startswith("There is no result for ") for note in result.notes) == 2


class NaNs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(x) / (x.amax() - x.amax())
        return made


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": []}, "`targets` must name at least one target, but is empty."),
        ({"seeds": 0}, "`seeds` must be at least 1, but is 0."),
        ({"layers": []}, "`layers` must name at least one layer, but is empty."),
        (
            {"size": (32, 32)},
            "`images` must be of `size` 32 x 32, but are 16 x 24. Resize or crop them.",
        ),
        (
            {"images": torch.zeros(3, 3, 16, 24), "layers": ["8"]},
            "`images` must be at least 4 to read layer '8', 24 channels at 4 x 6 cells, by "
            "Ridge(kernel=1), but are 3. Give more images, larger ones, or a smaller read-out.",
        ),
        (
            {"images": torch.zeros(1, 3, 16, 24), "layers": ["2"]},
            "`images` must be at least 4 to read layer '2', 12 channels at 16 x 24 cells, by "
            "Ridge(kernel=1), but are 1. Give more images, larger ones, or a smaller read-out.",
        ),
        (
            {"layers": ["8"], "readout": Ridge(kernel=3)},
            "`images` must be at least 50 to read layer '8', 24 channels at 4 x 6 cells, by "
            "Ridge(kernel=3), but are 20. Give more images, larger ones, or a smaller read-out.",
        ),
        (
            {"layers": ["8"], "readout": Ridge(kernel=7)},
            "Layer '8' cannot be read: `kernel` must be at most 4 at maps of 4 x 6, but is 7. "
            "Give larger images or a smaller window.",
        ),
        (
            {"layers": ["9"]},
            "`layers` must name modules of Sequential, but '9' matches none. The nearest is '8'. "
            "There are 9 with a map: 0, 1, 2, 3, ..., 7, 8.",
        ),
    ],
    ids=["targets", "seeds", "layers", "size", "few", "one", "few 3x3", "kernel", "unknown"],
)
def test_bad_calls_are_refused(options: dict[str, Any], said: str) -> None:
    images = options.pop("images", torch.randn(20, 3, 16, 24))
    with pytest.raises(ValueError, match="must") as refused:
        probe(cnn(), images, **options)
    assert str(refused.value) == said


def test_so_many_images_as_are_asked_for_are_enough() -> None:
    result = probe(
        cnn(), leaves(50, 16, 24), layers=["8"], targets=["H"], seeds=1, readout=Ridge(kernel=3)
    )
    assert result.meta["images"] == 50


@pytest.mark.usefixtures("unchecked")
def test_models_that_need_another_size_or_have_no_map_are_refused() -> None:
    vit = timm.create_model("test_vit", img_size=(32, 48), num_classes=3)
    with pytest.raises(ValueError, match=r"^`model` must take images of 3 x 16 x 24, but Vision"):
        probe(vit, torch.randn(8, 3, 16, 24))
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"^`model` must have "):
        probe(flat, torch.randn(8, 3, 16, 24))
    with pytest.raises(
        ValueError, match=r"^`size` must be given, \(h, w\) of the images in pixels"
    ):
        probe(cnn())
    with pytest.raises(TypeError, match=r"^`model` must be an `nn\.Module`, but is str\.$"):
        probe("resnet18")  # type: ignore[arg-type]


def test_features_that_are_not_finite_are_refused_and_the_model_is_left() -> None:
    net = NaNs()
    with pytest.raises(FeatureError, match=r"^Layer 'conv' must|^Layer '' must give finite feat"):
        probe(net, torch.randn(8, 3, 16, 24), layers=[""])
    assert not any(m._forward_hooks for m in net.modules())


def test_a_loader_that_shuffles_by_torchs_numbers_shuffles_alike_in_each_reading() -> None:
    images = TensorDataset(torch.randn(20, 3, 16, 24))
    result = probe(
        cnn(), DataLoader(images, batch_size=5, shuffle=True), layers=["8"], targets=["H"], seeds=1
    )
    assert result.meta["images"] == 20
    own = DataLoader(images, batch_size=5, shuffle=True, generator=torch.Generator())
    with pytest.raises(ProbeError, match=r"^`images` must be the same in each reading, but image"):
        probe(cnn(), own, layers=["8"], targets=["H"], seeds=1)


def test_photographs_in_fit_and_test_are_no_position() -> None:
    """A net without a border reads what it was fitted to; of other photographs it knows nothing."""
    torch.manual_seed(7)
    layers: list[nn.Module] = []
    for c, d in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(c, d, 3, 2, 1, padding_mode="circular"), nn.ReLU()]
    net = nn.Sequential(*layers)
    images = leaves(8, 64, 96).repeat(5, 1, 1, 1)
    options: dict[str, Any] = {"layers": ["5"], "targets": ["H"]}
    apart = probe(net, images, groups=[i % 8 for i in range(40)], **options)
    mixed = probe(net, images, **options)
    assert mixed.mean("5", "H").r2 > 0.1
    assert apart.mean("5", "H").r2 < 0.02
    assert apart.notes[-2:] == [
        "The 40 images are of 8 groups, such as photographs: splits and intervals are drawn by "
        "group.",
        "8 groups are few: intervals hold less often than they say below 20, and there are none "
        "with fewer than 5 to test on.",
    ]
    assert all("group" not in note for note in mixed.notes)
    assert {row.n_train for row in apart.rows} == {30}
    with pytest.raises(ValueError, match="groups") as refused:
        probe(net, images, groups=[i % 3 for i in range(40)], **options)
    assert str(refused.value) == (
        "`groups` must be at least 4, to fit to some and to test on others, but are 3. Give crops "
        "of more photographs."
    )
    with pytest.raises(ValueError, match=r"^`groups` must be of given images, but `images` is"):
        probe(net, size=(32, 48), groups=[0, 1])


def test_few_images_are_noted_and_have_no_interval() -> None:
    result = probe(cnn(), leaves(8, 16, 24), layers=["5"], targets=["H"], seeds=1)
    assert all(math.isnan(end) for end in result.mean("5", "H").spearman_interval)
    assert result.notes[-1].startswith("8 images are few: intervals hold less often")
    assert headline(result) == (
        "Of one map nothing can be said: there are too few images to test on for an interval."
    )
    assert findings(result)[0].verdict == "there are too few images to test on for an interval"
    assert "(no interval)" in findings(result)[0].read
    assert "nan" not in str(result)
    assert ">nan" not in result.to_html()


def test_a_read_out_that_diverged_is_no_finding() -> None:
    class Steep(nn.Sequential):
        def __init__(self, channels: int, targets: int) -> None:
            super().__init__(nn.Conv2d(channels, targets, 1))

    readout = Trained(Steep, Recipe(epochs=15, lr=1e6))
    result = probe(cnn(), leaves(40, 16, 24), layers=["5"], targets=["H"], seeds=1, readout=readout)
    mean = result.mean("5", "H")
    assert math.isnan(mean.spearman)
    assert math.isnan(mean.r2)
    assert findings(result)[0].verdict == "the read-out diverged"
    assert headline(result) == "Of one map nothing can be said: the read-out diverged."
    assert (
        "The read-out of layer '5' under 'model' diverged: its predictions are not finite, and its "
        "scores NaN. Take a smaller step size."
    ) in result.notes
    assert ">nan" not in result.to_html()


def test_controls_are_read_as_the_model_is() -> None:
    """The permuted control of images without patches to permute is the model itself."""
    net = nn.Sequential(AddCoords(), nn.Conv2d(5, 8, 1))
    images = torch.rand(24, 3, 1, 1).expand(-1, -1, 11, 13).contiguous()
    readout = Trained(CellMLP, Recipe(epochs=2))
    result = probe(net, images, layers=["1"], targets=["H", "V"], seeds=2, readout=readout)
    for name in ("H", "V"):
        model, same = result.mean("1", name), result.mean("1", name, "permuted")
        assert (model.spearman, model.r2) == (same.spearman, same.r2)


class InPlace(nn.Module):
    """Begins by changing what it is given, and runs a part without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(2)
        with torch.no_grad():
            made: Tensor = self.net(x)
        return made


def test_a_net_that_works_in_place_is_probed_to_the_end_and_the_images_are_left() -> None:
    images = leaves(24, 16, 24)
    kept = images.clone()
    result = probe(InPlace().eval(), images, layers=["net.5"], targets=["H"], seeds=1)
    assert torch.equal(images, kept)
    assert result.companions["net.5"].field_size == 0  # no gradient reaches it
    assert "padding=circular" in result.conditions


def test_a_layer_that_is_named_twice_is_read_once() -> None:
    pair = ("2", "5")
    result = probe(
        cnn(), leaves(24, 16, 24), layers=["2", "2", pair, pair], targets=["H"], seeds=1,
        lattice=(6, 7),
    )  # fmt: skip
    assert result.layers == ["2", "2 + 5"]
    assert len(result.means) == 2 * len(result.conditions)
    assert result.mean("2 + 5", "H").n_images == 7


def test_how_random_weights_were_drawn_is_said() -> None:
    result = probe(cnn(), leaves(24, 16, 24), layers=["5"], targets=["H"], seeds=1)
    assert result.meta["random weights"] == "reset_parameters"
