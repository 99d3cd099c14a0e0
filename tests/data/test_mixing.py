"""Mixup and CutMix, and what becomes of frames."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from visionpe import Frame
from visionpe.data.mixing import Mix, cut_box, shared

H, W = 6, 9


def whole(b: int) -> Frame:
    return Frame.stack([Frame.identity(H, W)] * b)


def mixed(mix: Mix, number: int = 0, b: int = 8) -> tuple[Any, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    images, targets = torch.rand(b, 3, H, W), torch.arange(b) % 4
    return mix(images, targets, whole(b), num_classes=4, seeds=(0, number)), images, targets


def test_mixup_weighs_images_and_targets_alike() -> None:
    (images, shares, _), before, targets = mixed(Mix(mixup=1.0))
    hot = F.one_hot(targets, 4).float()
    for i in range(8):
        # image = w * own + (1 - w) * partner's, for the one partner that fits.
        fits = []
        for j in range(8):
            own, other = before[i].flatten(), before[j].flatten()
            w = 1.0 if i == j else float((images[i].flatten() - other) @ (own - other))
            w = w if i == j else w / float((own - other).square().sum())
            if torch.allclose(images[i], w * before[i] + (1 - w) * before[j], atol=1e-5):
                fits.append(torch.allclose(shares[i], w * hot[i] + (1 - w) * hot[j], atol=1e-4))
        assert any(fits)


def test_cutmix_weighs_targets_by_the_pixels_it_took() -> None:
    cut = 0
    for number in range(10):
        (images, shares, _), before, targets = mixed(Mix(cutmix=1.0), number)
        same = (images == before).all(1)  # b h w
        for i in range(8):
            own = float(same[i].float().mean())
            if own == 1:  # its own partner, or an empty box
                continue
            cut += 1
            taken = ~same[i]
            rows, columns = taken.any(1).nonzero()[:, 0], taken.any(0).nonzero()[:, 0]
            assert taken.sum() == len(rows) * len(columns)  # a box
            others = [j for j in range(8) if torch.equal(images[i][:, taken], before[j][:, taken])]
            assert len(others) == 1
            expected = torch.zeros(4)
            expected[targets[i]] += own
            expected[targets[others[0]]] += 1 - own
            torch.testing.assert_close(shares[i], expected)
    assert cut > 20


def test_shares_sum_to_one_and_keep_the_classes_there_are() -> None:
    for mix in (Mix(mixup=0.2), Mix(cutmix=1.0), Mix(0.8, 1.0, 0.5)):
        for number in range(5):
            (_, shares, _), _, targets = mixed(mix, number)
            torch.testing.assert_close(shares.sum(-1), torch.ones(8))
            torch.testing.assert_close(shares.sum(0).sum(), torch.tensor(8.0))
            assert not shares[:, ~torch.isin(torch.arange(4), targets)].any()


def test_weights_follow_the_beta_law() -> None:
    weights = []
    for number in range(300):
        (_, shares, _), _, _ = mixed(Mix(mixup=0.4), number, b=4)
        weights.append(float(shares[0, 0]))
    weights = [w for w in weights if w < 1]  # one in four is its own partner
    assert 180 < len(weights) < 270
    assert stats.kstest(weights, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_a_batch_is_mixed_with_the_asked_probability() -> None:
    left = sum(
        torch.equal(out.images, x) for out, x, _ in (mixed(Mix(1.0, 0, 0.3), n) for n in range(200))
    )
    assert 110 < left < 170


def test_the_mixing_is_a_function_of_the_seeds_and_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    a, b, c = (mixed(Mix(1.0, 1.0), number)[0] for number in (3, 3, 4))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.targets, b.targets)
    assert not torch.equal(a.images, c.images)
    torch.manual_seed(0)
    torch.rand(8, 3, H, W)
    assert not torch.equal(state, torch.get_rng_state())  # `mixed` draws its images
    expected = torch.get_rng_state()
    mixed(Mix(1.0, 1.0))
    assert torch.equal(expected, torch.get_rng_state())


def test_frames_are_kept_where_both_parts_share_one_and_are_dropped_where_not() -> None:
    frames = [
        Frame.identity(H, W),
        Frame.identity(H, W),
        Frame.identity(20, 30).crop(3, 4, h=H, w=W),
    ]
    batch = Frame.stack(frames)
    kept = shared(batch, torch.tensor([1, 0, 2]))
    assert torch.equal(kept.affine, batch.affine)
    assert torch.equal(kept.extent, batch.extent)
    dropped = shared(batch, torch.tensor([2, 1, 0]))
    for i, expected in enumerate([whole(1), whole(1), whole(1)]):
        assert torch.equal(dropped.affine[i], expected.affine[0])
        assert torch.equal(dropped.view[i], expected.view[0])
        assert torch.equal(dropped.extent[i], expected.extent[0])


@pytest.mark.parametrize("seed", range(3))
def test_the_box_has_the_asked_share_unless_the_edge_cuts_it(seed: int) -> None:
    torch.manual_seed(seed)
    for weight in (0.0, 0.36, 0.91, 1.0):
        (top, bottom), (left, right) = cut_box(40, 60, weight, [0.5, 0.5])
        assert (bottom - top) * (right - left) == pytest.approx((1 - weight) * 2400, abs=120)
        (top, bottom), (left, right) = cut_box(40, 60, weight, torch.rand(2).tolist())
        assert 0 <= top <= bottom <= 40
        assert 0 <= left <= right <= 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup": -0.1}, "`mixup` must be at least 0, but is -0.1."),
        ({"cutmix": -1.0}, "`cutmix` must be at least 0, but is -1.0."),
        ({}, "`mixup` or `cutmix` must be positive, but both are 0."),
        (
            {"mixup": 1.0, "probability": 2.0},
            "`probability` must be within 0 and 1, but is 2.0.",
        ),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Mix(**options)
