"""What `CoordConv1d` does to a row and to its parts; its formula is in `test_coordconv.py`."""

from typing import Any

import pytest
import torch

from visionpe import CoordConv1d, Frame


def layer(**options: Any) -> CoordConv1d:
    return CoordConv1d(3, 4, 3, zero_init=False, **options).double()


@pytest.mark.parametrize("radius", [False, True])
@pytest.mark.parametrize("align_corners", [False, True])
def test_a_pixel_sees_the_same_coordinate_in_the_row_a_crop_and_a_flip(
    radius: bool, align_corners: bool
) -> None:
    conv = layer(radius=radius, align_corners=align_corners)
    x = torch.randn(1, 3, 31, dtype=torch.float64)
    whole = conv(x)
    frame = Frame.identity(1, 31).crop(0, 7, h=1, w=12)
    crop = conv(x[..., 7:19], frame)
    torch.testing.assert_close(crop, whole[..., 7:17], rtol=0, atol=1e-6)
    assert (conv(x[..., 7:19]) - crop).abs().max() > 1e-2  # without the frame, it does not
    with torch.no_grad():
        for weight in (conv.weight, conv.coord_weight):
            weight.copy_(weight + weight.flip(-1))
    mirrored = conv(x.flip(-1), Frame.identity(1, 31).hflip()).flip(-1)
    torch.testing.assert_close(mirrored, conv(x), rtol=0, atol=1e-6)


def test_shifts_do_not_commute_with_it_and_do_with_the_plain_convolution() -> None:
    conv = CoordConv1d(3, 4, 3, padding=1, padding_mode="circular", zero_init=False).double()
    x = torch.randn(1, 3, 11, dtype=torch.float64)
    assert (conv(x.roll(2, -1)) - conv(x).roll(2, -1)).abs().max() > 1e-2
    with torch.no_grad():
        conv.coord_weight.zero_()
    torch.testing.assert_close(conv(x.roll(2, -1)), conv(x).roll(2, -1))
