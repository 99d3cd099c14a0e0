import time

import numpy as np
import pytest
import torch

from visionpe.data.not_so_clevr import NotSoClevr, held_out, images


def test_there_is_one_image_for_each_place_and_it_is_a_9x9_square() -> None:
    data = images()
    assert len(data.points) == len(data.images) == 3136
    assert len(data.points.unique(dim=0)) == 3136
    assert [data.points.min().item(), data.points.max().item()] == [4, 59]
    y, x = 30, 4
    image = data.images[(data.points == torch.tensor([y, x])).all(-1)][0, 0]
    assert image.sum() == 81
    assert image[y - 4 : y + 5, x - 4 : x + 5].all()


def test_the_splits_have_the_published_counts() -> None:
    assert [(~held_out(s)).sum().item() for s in ("quadrant", "uniform")] == [2407, 2368]
    assert [held_out(s).sum().item() for s in ("quadrant", "uniform")] == [729, 768]


def test_the_quadrant_is_the_lower_right_one() -> None:
    assert images().points[held_out("quadrant")].min() == 33


def test_the_uniform_split_is_drawn_in_the_released_codes_order() -> None:
    """x slowest, then y, one draw each: another order gives other images, with the same count."""
    generator = np.random.RandomState(20202)
    held = [[y, x] for x in range(4, 60) for y in range(4, 60) if generator.random_sample() < 0.25]
    assert images().points[held_out("uniform")].tolist() == held


def test_it_is_made_in_under_a_second() -> None:
    start = time.process_time()
    images()
    assert time.process_time() - start < 1


def test_batches_are_points_with_their_images_and_parts_do_not_meet() -> None:
    data = NotSoClevr("uniform", batch_size=100)
    seen = [batch[0] for batch in data.train_dataloader()]
    assert len(seen[0]) == 100
    train, test = (torch.cat([b[0] for b in loader]) for loader in data.val_dataloader())
    assert (len(train), len(test)) == (2368, 768)
    places = torch.cat([train, test])
    assert len(places.unique(dim=0)) == 3136
    assert torch.equal(torch.cat(seen).unique(dim=0), train.unique(dim=0))
    points, squares = next(iter(data.predict_dataloader()))
    rows, columns = points.long().unbind(-1)
    assert squares[torch.arange(len(points)), 0, rows, columns].all()


def test_bad_input_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^`batch_size` must be at least 1 image, but is 0.$"):
        NotSoClevr(batch_size=0)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_split_is_refused() -> None:
    message = r"^`split` must be 'quadrant' or 'uniform', but is 'random'.$"
    with pytest.raises(ValueError, match=message):
        held_out("random")  # type: ignore[arg-type]
