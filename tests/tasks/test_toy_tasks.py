import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionpe import AddCoords
from visionpe.data.not_so_clevr import Images, images
from visionpe.models.sampled_softmax import CellSampler
from visionpe.models.toy import MapToPoint, PointToImage, PointToMap, he_normal_
from visionpe.models.toy_baselines import StridedMapToPoint
from visionpe.tasks.toy import (
    CoordinateClassification,
    CoordinateRegression,
    CoordinateRendering,
    one_hot,
)


def batch(n: int = 5) -> Images:
    return Images(*(part[100 : 100 + n] for part in images()))


class Oracle(nn.Module):
    """Answers with given logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, points: Tensor) -> Tensor:
        return self.logits


def test_the_full_loss_is_the_cross_entropy_of_the_centres_cell() -> None:
    points, pictures = batch()
    task = CoordinateClassification(PointToMap(AddCoords()))
    cells = (points[:, 0] * 64 + points[:, 1]).long()
    wanted = F.cross_entropy(task.network(points), cells)
    assert torch.equal(task.loss(points, pictures), wanted)
    assert torch.equal(task.measures(points, pictures)["nll"], wanted)


def test_the_sampled_loss_comes_close_to_the_full_one() -> None:
    points, pictures = batch(40)
    network = PointToMap(AddCoords(align_corners=True), scaled=True)
    full = CoordinateClassification(network)
    sampled = CoordinateClassification(network, CellSampler(near=600, anywhere=1800))
    sampled.network.load_state_dict(full.network.state_dict())
    torch.testing.assert_close(
        sampled.loss(points, pictures), full.loss(points, pictures), rtol=0.05, atol=0.05
    )


def test_accuracy_counts_the_largest_of_all_cells() -> None:
    points, pictures = batch(4)
    right = F.one_hot((points[:, 0] * 64 + points[:, 1]).long(), 4096).float()
    right[0] = right[0].roll(1)  # one cell off
    task = CoordinateClassification(Oracle(right))
    assert task.measures(points, pictures)["accuracy"] == 0.75


def test_the_overlap_of_a_square_with_itself_is_one_and_with_its_neighbour_less() -> None:
    points, pictures = batch(2)
    squares = pictures.flatten(1).float()
    task = CoordinateRendering(Oracle(squares * 20 - 10))
    assert task.measures(points, pictures)["iou"] == 1
    shifted = CoordinateRendering(Oracle((squares * 20 - 10).roll(1, -1)))
    assert shifted.measures(points, pictures)["iou"].item() == pytest.approx(72 / 90)
    blank = CoordinateRendering(Oracle(torch.zeros(2, 4096)))
    assert blank.measures(points, pictures)["iou"] == 0


def test_regression_errors_are_in_cells_whatever_the_net_is_trained_on() -> None:
    points, pictures = batch(3)
    for scaled in (False, True):
        answer = points + torch.tensor([3.0, 4.0])
        task = CoordinateRegression(
            Oracle(answer * 2 / 63 - 1 if scaled else answer), scaled=scaled
        )
        measures = task.measures(points, pictures)
        assert measures["pixel_error"].item() == pytest.approx(5, rel=1e-5)
        loss = task.loss(points, pictures).item()
        assert loss == pytest.approx(12.5 * (2 / 63) ** 2 if scaled else 12.5, rel=1e-5)


def test_the_regressions_input_has_one_cell_set() -> None:
    points, pictures = batch(3)
    maps = one_hot(points, pictures)
    assert maps.shape == (3, 1, 64, 64)
    assert maps.flatten(1).sum(-1).tolist() == [1, 1, 1]
    assert [maps[i, 0, int(y), int(x)].item() for i, (y, x) in enumerate(points)] == [1, 1, 1]


def test_l2_is_the_sum_of_squared_kernels_without_biases() -> None:
    for network in (PointToMap(AddCoords()), PointToImage(AddCoords())):
        plain = CoordinateClassification(network)
        penalised = CoordinateClassification(network, l2=0.5)
        penalised.log = plain.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
        loss, with_l2 = plain.training_step(batch(), 0), penalised.training_step(batch(), 0)
        kernels = sum(p.square().sum() for p in network.parameters() if p.dim() > 1)
        torch.testing.assert_close(with_l2 - loss, 0.5 * torch.as_tensor(kernels))


def test_a_negative_l2_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^`l2` must be at least 0, but is -1.0.$"):
        CoordinateRegression(MapToPoint(AddCoords()), l2=-1.0)


def test_mean_pooling_cannot_tell_places_apart() -> None:
    """The negative control: an affine map and a mean see the one set cell only as a sum."""
    points, pictures = Images(*(part[::700] for part in images()))  # far apart
    maps = one_hot(points, pictures).double() * 1e4  # so bright that they outshine the border
    answers = MapToPoint(AddCoords(), pool="mean").double()(maps)
    torch.testing.assert_close(answers, answers[:1].expand(5, 2), rtol=0, atol=1e-10)
    answers = he_normal_(MapToPoint(AddCoords(), pool="max")).double()(maps)
    assert (answers - answers[:1]).abs().amax(0).min() > 0.1


def test_the_prior_start_paints_the_right_share_of_cells() -> None:
    network = PointToImage(AddCoords(align_corners=True), scaled=True)
    CoordinateRendering(network, prior=True)
    first, last = network.paint[0], network.paint[-1]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    assert torch.sigmoid(last.bias).item() == pytest.approx(81 / 4096, rel=1e-4)
    assert first.weight.std() > 20  # He's sqrt(2), times 64


def test_the_decay_of_the_locating_part_is_adamws_and_leaves_the_painting_part_alone() -> None:
    network = PointToImage(AddCoords())
    task = CoordinateRendering(network, locate_decay=0.5)
    locating = [p.detach().clone() for p in network.locate.parameters()]
    painting = [p.detach().clone() for p in network.paint.parameters()]
    task.on_before_optimizer_step(torch.optim.Adam(task.parameters(), lr=0.1))
    for before, after in zip(locating, network.locate.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), before * (1 - 0.1 * 0.5))
    for before, after in zip(painting, network.paint.parameters(), strict=True):
        assert torch.equal(after, before)


def test_the_regressions_start_is_scaled_and_its_cell_bright() -> None:
    points, pictures = batch(2)
    torch.manual_seed(0)
    task = CoordinateRegression(MapToPoint(AddCoords()), brightness=8.0, last_scale=0.01)
    torch.manual_seed(0)
    plain = CoordinateRegression(MapToPoint(AddCoords()))
    torch.testing.assert_close(
        task.network(one_hot(points, pictures)), plain.network(one_hot(points, pictures)) * 0.01
    )
    bright = task.network(8 * one_hot(points, pictures))
    assert torch.equal(task.places(points, pictures), bright)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CoordinateRendering(PointToMap(AddCoords()), prior=True),
            "`network` must be a PointToImage for `prior` and `locate_decay`, but is a PointToMap. "
            "Leave them out.",
        ),
        (
            lambda: CoordinateRegression(StridedMapToPoint(), last_scale=0.1),
            "`network` must be a MapToPoint to have its last kernel scaled, but is a "
            "StridedMapToPoint. Set `last_scale: 1.0`.",
        ),
        (
            lambda: CoordinateRegression(StridedMapToPoint(), brightness=0.0),
            "`brightness` must be positive, but is 0.0.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == message
