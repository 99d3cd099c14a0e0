"""The scenes that tell new places, new glyphs and new distances apart."""

import torch
from torch import Tensor, nn

from experiments.y_arrow_places import (
    MOVED,
    TRAINED,
    WIDE,
    accuracies,
    amid_nothing,
    emptied,
    table,
    trained_scenes,
    wide_scenes,
)
from visionpe import Frame, positions


def test_amid_nothing__the_scene_is_in_the_middle_and_the_answer_the_same() -> None:
    index = torch.arange(7)
    (inner, answer), (outer, same) = trained_scenes(index), amid_nothing(index)
    border = (WIDE - TRAINED) // 2
    assert torch.equal(outer[:, border:-border, border:-border], inner)
    assert int((outer > 0).sum()) == int((inner > 0).sum())
    assert torch.equal(answer, same)


def test_emptied__the_y_and_what_is_around_it_stay_as_they_were() -> None:
    index = torch.arange(50)
    (before, answer), (after, same) = wide_scenes(index), emptied(index)
    assert torch.equal(answer, same)
    assert bool(((after == 0) | (after == before)).all())
    for old, new in zip(before, after, strict=True):
        y, x = ((old >= 5) & (old < 9)).nonzero()[0].tolist()
        around = slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2)
        assert torch.equal(new[around], old[around])
        new[around] = 0
        assert not new.any()


def test_accuracies__every_answer_is_counted_and_only_the_moved_canvas_has_a_frame() -> None:
    frames: list[Frame | None] = []

    class Up(nn.Module):
        def forward(self, images: Tensor, frame: Frame | None) -> Tensor:
            frames.append(frame)
            return torch.eye(4)[:1].expand(len(images), -1)

    scores = accuracies(Up(), 6, 250)
    up = float((trained_scenes(torch.arange(250))[1] == 0).float().mean())
    assert abs(scores["9 x 9"] - up) < 1e-6
    assert scores["9 x 9"] == scores["moved"] == scores["amid nothing"]
    assert scores["23 x 23"] == scores["all else empty"]
    (moved,) = {id(frame): frame for frame in frames if frame is not None}.values()
    assert positions(TRAINED, TRAINED, moved)[:, 0, 0].tolist() == [MOVED, MOVED]
    assert table([{"encoding": "up", "seed": "1", "9 x 9": "0.2500"}]).endswith("| up | 1 | 25.0 |")
