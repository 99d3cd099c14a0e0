from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import resample_abs_pos_embed
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from visionpe import (
    join_tokens,
    resample_axis_table,
    resample_table,
    resample_table_dinov2,
    resample_table_torchvision,
    split_tokens,
)

Recipe = Callable[[Tensor, int, int], Tensor]
RECIPES = [resample_table, resample_table_dinov2, resample_table_torchvision]
PAIRS = [
    ((14, 14), (9, 21)),
    ((2, 8), (4, 4)),
    ((7, 12), (12, 7)),
    ((5, 3), (1, 1)),
    ((1, 6), (4, 9)),
]


@pytest.mark.parametrize(
    ("recipe", "antialias"), [(resample_table, True), (resample_table_dinov2, False)]
)
@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_timm_resamples_tokens_to_the_same_numbers(
    recipe: Recipe, antialias: bool, old: tuple[int, int], new: tuple[int, int], prefix: int
) -> None:
    tokens = torch.randn(1, prefix + old[0] * old[1], 6)
    theirs = resample_abs_pos_embed(
        tokens, list(new), list(old), num_prefix_tokens=prefix, antialias=antialias
    )
    first, table = split_tokens(tokens, *old, prefix=prefix)
    ours = join_tokens(first, recipe(table, *new))
    assert torch.equal(ours[:, :prefix], tokens[:, :prefix])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [10, 5, 14, 23])
def test_torchvision_interpolates_embeddings_to_the_same_numbers(side: int) -> None:
    tokens = torch.randn(1, 1 + 7 * 7, 6)
    state = {"encoder.pos_embedding": tokens.clone()}
    theirs = interpolate_embeddings(16 * side, 16, state)["encoder.pos_embedding"]
    first, table = split_tokens(tokens, 7, 7, prefix=1)
    ours = join_tokens(first, resample_table_torchvision(table, side, side))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_the_recipes_differ_by_a_fifth_of_the_table() -> None:
    table = torch.randn(8, 37, 37)
    reference = resample_table_dinov2(table, 16, 16)
    for other in (resample_table(table, 16, 16), resample_table_torchvision(table, 16, 16)):
        assert (other - reference).norm() > 0.1 * reference.norm()


@pytest.mark.parametrize("recipe", RECIPES)
@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    h=st.integers(1, 40), w=st.integers(1, 40), rows=st.integers(1, 40), columns=st.integers(1, 40)
)
def test_every_size_goes_to_every_size_and_its_own_is_untouched(
    recipe: Recipe, h: int, w: int, rows: int, columns: int
) -> None:
    table = torch.randn(3, rows, columns)
    assert recipe(table, h, w).shape == (3, h, w)
    assert torch.equal(recipe(table, rows, columns), table)
    constant = torch.full((3, rows, columns), 0.7)
    torch.testing.assert_close(
        recipe(constant, h, w), torch.full((3, h, w), 0.7), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_is_linear_and_commutes_with_transposition_and_flips(recipe: Recipe) -> None:
    first, second = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    both = recipe(2 * first - 3 * second, 4, 11)
    torch.testing.assert_close(
        both, 2 * recipe(first, 4, 11) - 3 * recipe(second, 4, 11), rtol=0, atol=1e-10
    )
    torch.testing.assert_close(recipe(first.mT, 11, 4).mT, recipe(first, 4, 11), rtol=0, atol=1e-10)
    torch.testing.assert_close(
        recipe(first.flip(-1), 4, 11).flip(-1), recipe(first, 4, 11), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_as_many_cells_of_another_shape_are_resampled(recipe: Recipe) -> None:
    table = torch.randn(3, 2, 8)
    new = recipe(table, 4, 4)
    assert new.shape == (3, 4, 4)
    assert not torch.equal(new.flatten(1), table.flatten(1))
    assert not torch.equal(new.mean(-1), table.mean(-1).repeat_interleave(2, -1))


@pytest.mark.parametrize(
    ("patch", "old", "images"),
    [(14, 37, (546, 602, 1092, 1204, 1610, 1722)), (16, 14, (976, 1840, 1952))],
)
@pytest.mark.parametrize("recipe", RECIPES)
def test_sizes_that_a_rounded_scale_factor_misses_are_met(
    recipe: Recipe, patch: int, old: int, images: tuple[int, ...]
) -> None:
    table = torch.randn(1, old, old)
    for image in images:
        side = image // patch
        assert recipe(table, side, side + 3).shape == (1, side, side + 3)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_it_computes_in_float32_or_better_and_returns_the_tables_dtype(
    recipe: Recipe, dtype: torch.dtype
) -> None:
    table = torch.randn(2, 3, 9, 7).to(dtype)
    new = recipe(table, 5, 12)
    assert new.dtype == dtype
    wanted = recipe(table.double(), 5, 12)
    tolerance = 1e-12 if dtype == torch.float64 else torch.finfo(dtype).eps * wanted.abs().max()
    assert (new.double() - wanted).abs().max() <= tolerance
    one = recipe(table[1], 5, 12)
    torch.testing.assert_close(new[1], one, rtol=0, atol=1e-2)


def test_an_axis_is_resampled_linearly() -> None:
    table = torch.randn(2, 3, 7)
    wanted = F.interpolate(table, 4, mode="linear", align_corners=False)
    assert torch.equal(resample_axis_table(table, 4), wanted)
    assert torch.equal(resample_axis_table(table[0], 4), wanted[0])
    assert torch.equal(resample_axis_table(table, 7), table)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(h=st.integers(1, 9), w=st.integers(1, 9), prefix=st.integers(0, 5))
def test_splitting_then_joining_is_nothing(h: int, w: int, prefix: int) -> None:
    tokens = torch.randn(2, prefix + h * w, 3)
    first, table = split_tokens(tokens, h, w, prefix=prefix)
    assert torch.equal(join_tokens(first, table), tokens)
    assert torch.equal(table[1, :, h - 1, 0], tokens[1, prefix + (h - 1) * w])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: resample_table(torch.zeros(1, 2, 3), 0, 4),
            "`h` must be at least 1 cell, but is 0.",
        ),
        (
            lambda: resample_table_dinov2(torch.zeros(1, 2, 3), 4, -1),
            "`w` must be at least 1 cell, but is -1.",
        ),
        (
            lambda: resample_axis_table(torch.zeros(1, 2), 0),
            "`n` must be at least 1 cell, but is 0.",
        ),
        (
            lambda: split_tokens(torch.zeros(17, 2), 4, 4, prefix=0),
            "`tokens` must hold prefix + h * w = 0 + 4 * 4 = 16 tokens, but hold 17. "
            "Give the table's own grid and prefix.",
        ),
        (
            lambda: split_tokens(torch.zeros(15, 2), 4, 4, prefix=-1),
            "`prefix` must be at least 0 tokens, but is -1.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert str(caught.value) == message


def test_tokens_without_a_grid_are_refused(unchecked: None) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        resample_table(torch.zeros(16, 2), 4, 4)
    assert str(caught.value) == (
        "`table` must be `*b d rows columns`, but has shape (16, 2). "
        "A table of tokens is put on its grid by `split_tokens`."
    )
