"""Views that say where they are, and what a classifier loses by them."""

import math
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from visionpe.frame import Frame
from visionpe.tasks import Classification
from visionpe.tasks.stress import stress, thinned, wilson
from visionpe.tasks.stress_picture import stress_curves
from visionpe.tasks.stress_views import FAMILIES, views

H, W = 16, 24
CONVNET = {"class_path": "visionpe.models.convnet.ConvNet", "init_args": {"width": 4, "depth": 1}}


def ramp() -> Tensor:
    """An image whose pixels are their own centres, `(y, x)`."""
    y, x = torch.arange(H) + 0.5, torch.arange(W) + 0.5
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]


def centres(frame: Frame) -> Tensor:
    """Where the pixels' centres of a view lie in the original, `2 h w`."""
    h, w = (int(length) for length in frame.view[0])
    y, x = torch.arange(h) + 0.5, torch.arange(w) + 0.5
    points = torch.stack([*torch.meshgrid(y, x, indexing="ij"), torch.ones(h, w)])
    return torch.einsum("ij,jhw->ihw", frame.affine[0], points)


@pytest.mark.parametrize("view", views((H, W)), ids=lambda v: f"{v.family}-{v.level:g}")
def test_the_frame_of_a_view_says_what_its_pixels_show(view: Any) -> None:
    frame = Frame.stack([Frame.identity(H, W)])
    image, where = view.change(ramp(), frame)
    assert image.shape[-2:] == tuple(where.view[0].long().tolist())
    if not view.framed:
        return
    wanted = centres(where)
    border = 3  # resampling sees the edge
    inside = (wanted > border) & (wanted < torch.tensor([H, W])[:, None, None] - border)
    inside = inside.all(0)
    if view.family in ("crop", "resolution", "aspect"):  # and that of the window
        inside[:border], inside[-border:] = False, False
        inside[:, :border], inside[:, -border:] = False, False
    assert inside.any()
    # Weights against aliasing are not symmetric about a pixel where the factor is no whole number.
    smaller = image.shape[-2] < H or image.shape[-1] < W
    atol = 0.08 if smaller else 1e-4
    torch.testing.assert_close(image[0][:, inside], wanted[:, inside], rtol=0, atol=atol)


def test_sizes_are_multiples_of_a_patch() -> None:
    frame = Frame.stack([Frame.identity(H, W)])
    for view in views((H, W), multiple=8, only=("resolution", "aspect")):
        image, _ = view.change(ramp(), frame)
        assert image.shape[-2] % 8 == image.shape[-1] % 8 == 0


def test_a_shuffle_moves_whole_blocks_and_the_same_way_each_time() -> None:
    images = torch.arange(2 * H * W).view(2, 1, H, W).float()
    frame = Frame.stack([Frame.identity(H, W)] * 2)
    (view,) = (v for v in views((H, W), only=("shuffle",)) if v.level == 4)
    shuffled, _ = view.change(images, frame)
    (again,) = (v for v in views((H, W), only=("shuffle",)) if v.level == 4)
    one = [again.change(images[i : i + 1], frame.sample(i))[0] for i in range(2)]
    assert torch.equal(shuffled, torch.cat(one))  # however the images are batched
    assert not torch.equal(shuffled[:1], again.change(images[:1], frame.sample(0))[0])
    for before, after in zip(images, shuffled, strict=True):
        assert not torch.equal(before, after)
        blocks = [
            {
                tuple(b.flatten().tolist())
                for b in image.unfold(1, 4, 4).unfold(2, 6, 6)[0].flatten(0, 1)
            }
            for image in (before, after)
        ]
        assert blocks[0] == blocks[1]


def classifier(**options: Any) -> Classification:
    sizes: dict[str, Any] = {"num_classes": 3, "channels": 1, "image_size": (H, W)}
    task = Classification(options.pop("backbone", CONVNET), **sizes, **options)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return task


def batches(n: int = 12, *, constant: bool = False) -> list[Any]:
    images = torch.zeros(n, 1, H, W) if constant else torch.randn(n, 1, H, W)
    target = torch.arange(n) % 3
    frame = Frame.stack([Frame.identity(H, W)] * n)
    return [
        (images[i : i + 5], target[i : i + 5], Frame(*(p[i : i + 5] for p in frame)))
        for i in range(0, n, 5)
    ]


def test_the_view_that_changes_nothing_scores_what_the_classifier_does() -> None:
    task, given = classifier(encodings="visionpe.CoordConv"), batches()
    task.train()
    points = stress(task, given)
    assert task.training
    task.eval()
    with torch.no_grad():
        right = sum(int((task(x, f).argmax(-1) == y).sum()) for x, y, f in given)
    same = {"resolution": 1, "aspect": 1.5, "shift": 0, "flip": 0, "shuffle": 1}
    found = [p for p in points if same.get(p.family) == p.level]
    assert len(found) == 8  # four families, twice: no level of "aspect" is 24 / 16
    for point in found:
        assert (point.n, point.accuracy) == (12, right / 12)
        assert point.drift == pytest.approx(0, abs=1e-9)


def test_only_frames_tell_a_shift_of_a_uniform_image() -> None:
    task = classifier(encodings="visionpe.CoordConv")
    points = stress(task, batches(constant=True), only=["shift", "crop"])
    for point in points:
        moved = point.level > 0 or point.family == "crop"
        assert (point.drift > 1e-6) == (moved and point.frames), point


def test_without_encodings_there_is_nothing_to_tell() -> None:
    assert not any(point.frames for point in stress(classifier(), batches(), only=["flip"]))


def test_sizes_that_a_backbone_refuses_have_a_reason() -> None:
    vit = {"embed_dim": 8, "depth": 1, "num_heads": 2, "patch_size": 8}
    task = classifier(backbone="vit_tiny_patch16_224", backbone_args=vit)
    points = stress(task, batches(), only=["resolution", "flip"])
    for point in points:
        refused = point.family == "resolution" and point.level != 1
        assert bool(point.reason) == refused
        assert math.isnan(point.accuracy) == refused
        assert (point.to_dict()["accuracy"] is None) == refused
    assert any("Input height" in point.reason for point in points)


def test_a_part_of_the_images_is_spread_over_all() -> None:
    given = [(torch.zeros(n, 1, 2, 2), torch.arange(n), None) for n in (7, 7, 6)]
    kept = [
        int(y) + start
        for start, (_, t, _) in zip((0, 7, 14), thinned(given, 5, 20), strict=True)
        for y in t
    ]
    assert kept == [0, 4, 8, 12, 16]
    assert sum(len(t) for _, t, _ in thinned(given, 5, None)) == 5
    assert sum(len(t) for _, t, _ in thinned(given, 50, 20)) == 20


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (93, 100), (1, 3)])
def test_intervals_are_wilsons(right: int, n: int) -> None:
    wanted = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((wanted.low, wanted.high), abs=1e-7)


def test_bad_input_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"`only` must be of resolution, .*, but has 'shear'"):
        stress(classifier(), batches(), only=["shear"])
    with pytest.raises(ValueError, match=r"^`batches` must hold at least one image, but are empty"):
        stress(classifier(), [], only=["flip"])


def test_the_picture_has_a_column_for_each_family() -> None:
    points = stress(classifier(encodings="visionpe.CoordConv"), batches())
    figure, axes = stress_curves(points, title="a run")
    assert axes.shape == (2, len(FAMILIES))
    assert len(axes[0, 0].lines) == 2  # with frames and without
    assert figure.legends


def test_levels_that_come_to_one_size_are_told_once() -> None:
    found = views((32, 32), multiple=16, only=("resolution", "aspect"))
    levels = [(view.family, view.level) for view in found]
    sizes = []
    for view in found:
        image, _ = view.change(torch.zeros(1, 1, 32, 32), Frame.identity(32, 32))
        sizes.append((view.family, tuple(image.shape[2:])))
    assert len(set(sizes)) == len(sizes)
    assert ("resolution", 1.0) in levels
    assert ("resolution", 1.5) in levels
    assert len(levels) < 12
    assert levels == sorted(levels, key=lambda level: (level[0] != "resolution", level[1]))


class _Picky(nn.Module):
    """Takes one size, and says so as an index beside the table does."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(H, 3)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        if x.shape[2] != H:
            raise IndexError("index 31 is out of bounds")
        return self.head(x.mean((1, 3)))


def test_any_error_at_another_size_is_a_refusal_and_clean_features_are_made_once() -> None:
    task = classifier()
    task.network = _Picky()
    batch = (torch.randn(4, 1, H, W), torch.arange(4) % 3, None)
    points = stress(task, [batch], only=["resolution", "flip"])
    refused = [point for point in points if point.reason]
    assert {point.level for point in refused} == {0.5, 0.75, 1.25, 1.5, 2.0, 2.6}
    assert {point.reason for point in refused} == {"index 31 is out of bounds"}
    assert all(point.n == 4 for point in points if point.family == "flip")
    assert task.network.calls == 1 + len(points)


def test_of_a_stream_no_more_is_read_than_is_wanted() -> None:
    read = []

    def stream() -> Any:
        for i in range(100):
            read.append(i)
            yield torch.zeros(2, 1, H, W), torch.zeros(2, dtype=torch.int64), None

    kept = [len(batch[1]) for batch in thinned(stream(), 5, None)]
    assert sum(kept) == 5
    assert len(read) <= 4
