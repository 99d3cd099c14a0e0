import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table, resize_rel_pos_bias_table_simple
from timm.models.vision_transformer_sam import get_rel_pos
from torch import Tensor

from visionpe import (
    Places,
    RelativeBias,
    relative_bias,
    resize_relative_axis,
    resize_relative_bias,
    resize_relative_bias_geometric,
)

Window = tuple[int, int]
Resize = Callable[[Tensor, Window, Window], Tensor]
BOTH = pytest.mark.parametrize(
    "resize", [resize_relative_bias, resize_relative_bias_geometric], ids=["bicubic", "geometric"]
)
SIZES: list[tuple[Window, Window]] = [
    ((7, 7), (12, 12)),
    ((4, 4), (6, 9)),
    ((8, 8), (5, 3)),
    ((3, 3), (3, 8)),
]


def offsets(window: Window) -> int:
    return (2 * window[0] - 1) * (2 * window[1] - 1)


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("extra", [0, 3])
def test_bicubic_is_timms_simple_recipe(old: Window, new: Window, extra: int) -> None:
    table = torch.randn(5, offsets(old) + extra)
    theirs = resize_rel_pos_bias_table_simple(table.mT, new, (offsets(new) + extra, 5))
    assert torch.equal(resize_relative_bias(table, old, new), theirs.mT)


# Their interpolator indexes by a list, and searches a grid that is not contiguous.
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.parametrize(("old", "new"), [*SIZES, ((3, 6), (5, 9)), ((2, 5), (4, 5))])
@pytest.mark.parametrize("extra", [0, 3])
def test_geometric_is_timms_recipe(old: Window, new: Window, extra: int) -> None:
    table = torch.randn(5, offsets(old) + extra)
    shape = (offsets(new) + extra, 5)
    theirs = resize_rel_pos_bias_table(table.mT, new, shape, old_window_size=old)
    ours = resize_relative_bias_geometric(table, old, new)
    torch.testing.assert_close(ours, theirs.mT, rtol=0, atol=1e-4)  # they find q to 1e-6


@pytest.mark.parametrize(("old", "new"), [(7, 12), (12, 7), (5, 5), (1, 4)])
def test_an_axis_is_resized_as_by_sam(old: int, new: int) -> None:
    table = torch.randn(2 * old - 1, 6)
    ours = resize_relative_axis(table, old, new)
    index = torch.arange(new)[:, None] - torch.arange(new) + new - 1
    assert torch.equal(ours[index], get_rel_pos(new, new, table))


@BOTH
@pytest.mark.parametrize(("old", "new"), [((3, 5), (6, 4)), ((1, 4), (3, 4)), ((6, 2), (2, 1))])
def test_they_are_linear_keep_constants_the_centre_and_the_order_of_axes(
    resize: Resize, old: Window, new: Window
) -> None:
    a, b = torch.randn(2, 3, offsets(old), dtype=torch.float64)
    both = resize(2 * a - b, old, new)
    torch.testing.assert_close(
        both, 2 * resize(a, old, new) - resize(b, old, new), rtol=0, atol=1e-10
    )
    flat = resize(torch.full_like(a, 3.0), old, new)
    torch.testing.assert_close(flat, torch.full_like(flat, 3.0), rtol=0, atol=1e-10)
    middle = resize(a, old, new)[:, offsets(new) // 2]
    torch.testing.assert_close(middle, a[:, offsets(old) // 2], rtol=0, atol=1e-10)

    def transpose(table: Tensor, window: Window) -> Tensor:
        image: Tensor = table.unflatten(1, (2 * window[0] - 1, 2 * window[1] - 1))
        return image.mT.flatten(1)

    turned = resize(transpose(a, old), old[::-1], new[::-1])
    torch.testing.assert_close(turned, transpose(resize(a, old, new), new), rtol=0, atol=1e-10)


@BOTH
def test_the_same_window_gives_the_same_table_and_another_of_equal_area_does_not(
    resize: Resize,
) -> None:
    table = torch.randn(2, offsets((3, 8)))
    assert torch.equal(resize(table, (3, 8), (3, 8)), table)
    turned = resize(table, (3, 8), (8, 3))  # as many offsets, in another shape
    assert turned.shape == table.shape
    assert not torch.allclose(turned, table, atol=1e-2)


@BOTH
def test_tokens_without_a_place_keep_their_numbers_bit_for_bit(resize: Resize) -> None:
    table = torch.randn(2, offsets((3, 5)) + 3, dtype=torch.bfloat16)
    resized = resize(table, (3, 5), (6, 4))
    assert resized.dtype == torch.bfloat16
    assert torch.equal(resized[:, -3:], table[:, -3:])
    layer = RelativeBias(2, (6, 4), prefix_bias=True)
    layer.load_state_dict({"table": resized})


def test_the_recipes_differ() -> None:
    table = torch.randn(2, offsets((4, 6)))
    one, other = (
        resize((table), (4, 6), (9, 8))
        for resize in (resize_relative_bias, resize_relative_bias_geometric)
    )
    assert (one - other).abs().max() > 0.1


def test_a_resized_smooth_bias_is_the_bias_seen_at_another_scale() -> None:
    def smooth(window: Window) -> Tensor:  # of the offset in widths of the window
        dy, dx = (
            torch.arange(1 - n, n, dtype=torch.float64) / (n - 0.5) for n in window
        )  # the outer edges of the image of offsets are at +-1
        return torch.outer(torch.cos(dy), torch.sin(2 * dx)).flatten()[None]

    resized = resize_relative_bias(smooth((8, 10)), (8, 10), (16, 14))
    places = Places.of(16, 14)
    bias, wanted = (
        relative_bias(table, places, places, (16, 14)) for table in (resized, smooth((16, 14)))
    )
    assert (bias - wanted).abs().max() < 0.03  # of up to 1, at the image's border
    assert F.mse_loss(bias, wanted) < 1e-4


TABLE = (
    "`table` must hold 45 numbers a head for window (3, 5), or 48 with those of tokens without "
    "a place, but holds 49."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resize_relative_bias(torch.zeros(1, 49), (3, 5), (4, 4)), TABLE),
        (lambda: resize_relative_bias_geometric(torch.zeros(1, 49), (3, 5), (4, 4)), TABLE),
        (
            lambda: resize_relative_bias(torch.zeros(1, 49), (4, 4), (0, 4)),
            "`window` must be (h, w), at least 1 cell each, but is (0, 4).",
        ),
        (
            lambda: resize_relative_axis(torch.zeros(6, 2), 3, 4),
            "`table` must hold 5 offsets for a window of 3, but holds 6.",
        ),
        (
            lambda: resize_relative_axis(torch.zeros(5, 2), 3, 0),
            "`new` must be at least 1, but is 0.",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        make()
