"""The reproductions: their data are the papers', and the documents show what they wrote."""

import importlib.util
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from visionpe.models.posenet import PosENet
from visionpe.models.red_green import RedGreen, Rook
from visionpe.paddings.swap import set_padding
from visionpe.probing.targets import published
from visionpe.probing.training import Recipe, loss

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def experiment(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_{name}", ROOT / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_red_is_on_the_left_in_class_0_and_the_halves_are_swapped() -> None:
    red_green = experiment("red_green")
    data = red_green.scenes(200, 0)
    assert data.labels[:4].tolist() == [0, 1, 0, 1]
    for images, label, swapped in zip(*data, strict=True):
        for image, above in ((images, label == 0), (swapped, label == 1)):
            assert float(image.sum()) == 32  # two squares of 4 x 4, apart
            assert float(image[2].sum()) == 0
            red, green = (image[channel].nonzero() for channel in (0, 1))
            assert (red[:, 1].min() < green[:, 1].min()) == (label == 0)
            assert abs(int(red[:, 1].min() - green[:, 1].min())) >= 5
            for square in (red, green):
                assert int(square[:, 0].min()) in (range(3, 11) if above else range(19, 27))


def test_the_faithful_split_tests_on_training_images_and_the_clean_one_does_not() -> None:
    red_green = experiment("red_green")
    for split, shared in (("faithful", 1000), ("clean", 0)):
        train, held, test = red_green.splits(split, 3)
        assert [len(part.images) for part in (train, held, test)] == [2000, 1000, 1000]
        known = set(map(bytes, train.images.byte().flatten(1).numpy()))
        assert (
            sum(image in known for image in map(bytes, test.images.byte().flatten(1).numpy()))
            == shared
        )
        assert torch.equal(test.labels, torch.arange(1000) % 2)
    one, other = (red_green.splits("faithful", seed)[0].images for seed in (3, 4))
    assert torch.equal(one, other)  # only the weights differ, as in the released code
    assert not torch.equal(red_green.splits("clean", 4)[0].images, train.images)


def test_a_net_that_sees_no_border_cannot_tell_a_scene_from_a_shifted_one() -> None:
    """Circular padding and strides of 8 in all: a shift by 16 rows changes no answer."""
    red_green = experiment("red_green")
    data = red_green.scenes(20, 1)
    circular = RedGreen(padding=1, padding_mode="circular")
    zeros = RedGreen(padding=1)
    shifted = data.images.roll(16, 2)
    assert torch.equal(shifted, data.swapped)
    torch.testing.assert_close(circular(shifted), circular(data.images))
    assert not torch.allclose(zeros(shifted), zeros(data.images), atol=1e-6)


def test_rook_sees_its_place_by_its_border_alone() -> None:
    """A filter that fires two cells above and left of a piece, where there may be no cell."""
    images = torch.zeros(2, 1, 32, 32)
    images[0, 0, :7, :7] = images[1, 0, -7:, -7:] = 1
    for mode, same in (("circular", True), ("zeros", False)):
        net = Rook(padding_mode=mode)  # type: ignore[arg-type]
        with torch.no_grad():
            net.conv.weight.fill_(-1)
            net.conv.weight[..., 4, 4] = 1
            upper, lower = net(images)
        assert torch.equal(upper, lower) == same


def test_the_short_loss_is_the_published_one() -> None:
    padding = experiment("padding_position")
    truth = published("V", 224, 224)
    maps = torch.rand(4, 3, 28, 28)
    for kernel, zeros in ((3, 0), (3, 2), (7, 3)):
        net = PosENet(3, kernel=kernel, padding=zeros).train()
        short = padding.Loss(truth, *net.net(maps).shape[2:])(net.net(maps))
        long = loss(net(maps), truth[None, None])
        torch.testing.assert_close(short, long, rtol=1e-5, atol=0)
        ours = torch.autograd.grad(short, list(net.parameters()))
        theirs = torch.autograd.grad(long, list(net.parameters()))
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_padding_with_black_tells_the_border_and_with_the_mean_does_not() -> None:
    """The experiment in small: 3 epochs of 320 images."""
    padding = experiment("padding_position")
    bright = torch.rand(320, 3, 28, 28)
    truth = published("G", 224, 224)
    found = {}
    for name, maps, mode in (
        ("black", bright, "zeros"),
        ("mean", bright - bright.mean(), "zeros"),
        ("circular", bright, "circular"),
    ):
        torch.manual_seed(0)
        net = PosENet(3, padding=1)
        if mode != "zeros":
            set_padding(net, mode)  # type: ignore[arg-type]
        padding.fit(net, maps, truth, 0, Recipe(epochs=3))
        found[name] = padding.scores(net, maps[:8], truth)["spc"]
    assert found["black"] > 0.2
    assert abs(found["mean"]) < 0.05
    assert abs(found["circular"]) < 0.05


def test_clothes_lie_where_their_label_says() -> None:
    displacement = experiment("displacement")
    if not (ROOT / "data" / "FashionMNIST").is_dir():
        pytest.skip("`make assets` brings Fashion-MNIST")
    images, labels = displacement.scenes(ROOT / "data", 60, "test", 0)
    assert images.shape == (60, 1, 48, 48)
    for image, field in zip(images, labels["where"].tolist(), strict=True):
        rows, columns = (image[0].sum(axis).nonzero().flatten() for axis in (1, 0))
        row, column = divmod(field, 3)
        # A piece lies in its 20 x 20 cells, whose upper left corner is in the field.
        assert 0 <= int(rows.max()) - 29 * row / 3 < 29 / 3 + 20
        assert 0 <= int(columns.max()) - 29 * column / 3 < 29 / 3 + 20
    assert set(labels["what"].tolist()) <= set(range(10))


def test_every_map_that_is_probed_is_one_of_the_nets() -> None:
    displacement = experiment("displacement")
    net = displacement.network()
    assert all(isinstance(net[int(name)], nn.ReLU) for name in displacement.LAYERS)


def test_intervals_are_students() -> None:
    from scipy.stats import t

    lines = experiment("lines")
    values = [0.1, 0.4, 0.2, 0.3, 0.6]
    low, high = t.interval(0.95, 4, 0.32, torch.tensor(values).std().item() / math.sqrt(5))
    assert lines.interval(values) == pytest.approx((high - low) / 2, rel=1e-3)
    assert lines.mean([0.5]) == "0.500"


def test_a_line_is_replaced_by_one_with_its_keys_and_kept_otherwise(tmp_path: Path) -> None:
    lines = experiment("lines")
    path = tmp_path / "results" / "a.csv"
    lines.keep(path, [{"row": "a", "seed": "0", "x": "1"}], ("row", "seed"))
    lines.keep(path, [{"row": "a", "seed": "1", "x": "2"}], ("row", "seed"))
    lines.keep(path, [{"row": "a", "seed": "0", "x": "3"}], ("row", "seed"))
    assert [line["x"] for line in lines.read(path)] == ["3", "2"]
    assert lines.has(path, row="a", seed=1)
    assert not lines.has(path, row="a", seed=2)
    assert [file.name for file in path.parent.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    "name", ["padding_position", "red_green", "probe_pretrained", "displacement"]
)
def test_the_tables_are_what_the_lines_say(name: str) -> None:
    module = experiment(name)
    assert module.TABLE.read_text() == module.table()


def test_the_documents_tables_are_the_results() -> None:
    text = (ROOT / "docs" / "probe.md").read_text()
    tables = re.findall(r"<!-- table: (\S+) -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert len(tables) == 5
    for path, table in tables:
        assert table.strip() == (ROOT / path).read_text().strip(), path
