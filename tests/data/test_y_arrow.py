import pytest
import torch

from visionpe.data.y_arrow import YArrow, draw, scenes

_FEET = [(1, 0), (0, 1), (-1, 0), (0, -1)]


@pytest.mark.parametrize("cells", [4, 9, 14])
def test_a_scene_has_eight_arrows_one_y_and_each_other_letter_once(cells: int) -> None:
    content, _ = scenes(torch.arange(200), cells=cells)
    glyph = torch.where(content > 0, (content.long() - 1) // 4, -1).flatten(1)
    counts = torch.stack([(glyph == kind).sum(1) for kind in range(7)], 1)
    assert torch.equal(counts, torch.tensor([[8, 1, 1, 1, 1, 1, 1]]).expand(200, 7))


@pytest.mark.parametrize("cells", [4, 9, 14])
def test_the_answer_is_the_arrow_at_the_foot_of_the_y(cells: int) -> None:
    content, answer = scenes(torch.arange(200), cells=cells, seed=3, epoch=1)
    for canvas, turn in zip(content.tolist(), answer.tolist(), strict=True):
        ((y, x, k),) = [
            (i, j, cell - 5)
            for i, row in enumerate(canvas)
            for j, cell in enumerate(row)
            if 5 <= cell < 9
        ]
        assert canvas[y + _FEET[k][0]][x + _FEET[k][1]] == 1 + turn
        beside = [(y + dy, x + dx) for dy, dx in _FEET]
        held = [canvas[i][j] for i, j in beside if 0 <= i < cells and 0 <= j < cells]
        assert all(1 <= cell < 5 for cell in held)


def test_a_drawn_y_stands_on_the_side_that_its_foot_points_to() -> None:
    turns = draw(torch.tensor([[[5, 6], [7, 8]]], dtype=torch.uint8), cell=12)[0, 0] / 255
    for k, (dy, dx) in enumerate(_FEET):
        tile = turns[12 * (k // 2) :, 12 * (k % 2) :][:12, :12]
        weight = tile.sum()
        centre = torch.arange(12) - 5.5
        # The foot is thin: the ink's centre lies on the other side of the tile's.
        assert dy * float((tile.sum(1) * centre).sum() / weight) <= 0
        assert dx * float((tile.sum(0) * centre).sum() / weight) <= 0


def test_nothing_but_the_scene_is_drawn_and_larger_cells_are_larger_drawings() -> None:
    content, _ = scenes(torch.arange(3))
    small, large = draw(content, cell=6), draw(content, cell=12)
    assert torch.equal(small.repeat_interleave(2, 2).repeat_interleave(2, 3), large)
    tiles = small.unfold(2, 6, 6).unfold(3, 6, 6).flatten(4)[:, 0]  # b n n 36
    assert torch.equal(tiles.any(-1), content > 0)


def test_a_scene_depends_on_seed_epoch_and_number_alone() -> None:
    first, answer = scenes(torch.arange(10), seed=1, epoch=2)
    again, answers = scenes(torch.tensor([7, 3]), seed=1, epoch=2)
    assert torch.equal(first[[7, 3]], again)
    assert torch.equal(answer[[7, 3]], answers)
    for seed, epoch in ((0, 2), (1, 3)):
        assert not torch.equal(scenes(torch.arange(10), seed=seed, epoch=epoch)[0], first)


def test_training_images_are_new_each_epoch_and_tests_never() -> None:
    data = YArrow(cell=6, batch_size=4, train_images=8, val_images=4, test_images=4, test_cells=14)
    data.setup("fit")
    loader = data.train_dataloader()
    seen = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        images = torch.cat([batch[0] for batch in loader]).flatten(1)
        seen.append({tuple(image.tolist()) for image in images})
    assert not seen[0] & seen[1]
    images, answers, frame = next(iter(data.test_dataloader()))
    assert images.shape == (4, 1, 84, 84)
    assert answers.shape == (4,)
    assert frame.extent.tolist() == [[84.0, 84.0]] * 4
    other = YArrow(cell=6, test_images=4, test_cells=14, seed=5)
    other.setup("test")
    assert torch.equal(next(iter(other.test_dataloader()))[0], images)


def test_too_small_a_canvas_or_cell_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^`cells` must be at least 4, to hold 14 glyphs, but is 3\.$"
    ):
        YArrow(cells=3)
    with pytest.raises(ValueError, match=r"^`cell` must be a multiple of 6 pixels, but is 8\.$"):
        YArrow(cell=8)
