import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import coordinates

from visionpe import Frame, Places, axis, grid, inside, positions
from visionpe.attaching.ground import framed
from visionpe.grids import cell_counts

sizes = st.integers(1, 64)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(h=sizes, w=sizes, align=st.booleans())
def test_the_grid_is_the_formula(h: int, w: int, align: bool) -> None:
    expected = coordinates(h, w, align_corners=align)
    torch.testing.assert_close(
        grid(h, w, align_corners=align).double(), expected, rtol=0, atol=1e-7
    )
    framed = grid(h, w, Frame.identity(h, w), align_corners=align)
    assert torch.equal(framed, grid(h, w, align_corners=align))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(n=st.integers(1, 4096), align=st.booleans())
def test_an_axis_is_antisymmetric_to_the_last_bit(n: int, align: bool) -> None:
    line = axis(n, align_corners=align)
    assert torch.equal(line, -line.flip(0))
    assert line.isfinite().all()
    if n % 2:
        assert line[n // 2] == 0
    if align and n > 1:
        assert line[0] == -1
        assert line[-1] == 1


@pytest.mark.parametrize("align", [False, True])
def test_a_single_cell_is_at_the_centre_not_nan(align: bool) -> None:
    assert torch.equal(grid(1, 1, align_corners=align), torch.zeros(2, 1, 1))
    assert torch.equal(grid(1, 5, Frame.identity(1, 5), align_corners=align)[0], torch.zeros(1, 5))


def test_rows_hold_y_and_columns_x() -> None:
    y, x = grid(3, 5)
    assert torch.equal(y, y[:, :1].expand(3, 5))
    assert torch.equal(x, x[:1].expand(3, 5))
    assert y[0, 0] < y[2, 0]
    assert x[0, 0] < x[0, 4]


def test_aligned_corners_belong_to_the_whole_image_not_to_the_crop() -> None:
    frame = Frame.identity(10, 14).crop(2, 3, h=6, w=8)
    whole = grid(10, 14, align_corners=True)
    assert torch.equal(grid(6, 8, frame, align_corners=True), whole[:, 2:8, 3:11])


def test_positions_count_cells_of_the_whole_image() -> None:
    frame = Frame.identity(10, 14).crop(2, 3, h=6, w=8)
    assert torch.equal(positions(6, 8, frame)[0, :, 0], torch.arange(2.0, 8.0))
    assert torch.equal(positions(6, 8, frame)[1, 0], torch.arange(3.0, 11.0))
    flipped = Frame.identity(4, 6).hflip()
    assert torch.equal(positions(4, 6, flipped)[1, 0], torch.arange(6.0).flip(0))
    # a map of half the resolution counts half as many cells
    assert torch.equal(positions(5, 7, Frame.identity(10, 14))[0, :, 0], torch.arange(5.0))


def test_positions_in_given_cells_do_not_depend_on_the_scale() -> None:
    frame = Frame.identity(32, 48)
    zoomed = frame.crop(8, 12, h=16, w=24).resize(32, 48)
    coarse = positions(32, 48, frame, cells=(8, 12))[:, 8:24, 12:36]
    fine = positions(32, 48, zoomed, cells=(8, 12))
    pooled = torch.nn.functional.avg_pool2d(fine, 2)  # four fine cells to one
    torch.testing.assert_close(pooled, coarse, rtol=0, atol=1e-5)


def test_coordinates_stay_exact_where_half_precision_cannot_count() -> None:
    line = axis(4096)
    assert line.unique().numel() == 4096
    assert line.bfloat16().unique().numel() < 2048  # what building it in bfloat16 would lose


def test_float64_is_kept() -> None:
    frame = Frame.identity(7, 9)
    assert grid(7, 9, dtype=torch.float64).dtype == torch.float64
    torch.testing.assert_close(
        grid(7, 9, frame, dtype=torch.float64), coordinates(7, 9), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(
    ("h", "w", "message"),
    [
        (0, 3, "`h` must be at least 1 cell, but is 0."),
        (3, -1, "`w` must be at least 1 cell, but is -1."),
    ],
)
def test_sizes_below_one_are_refused(h: int, w: int, message: str) -> None:
    makers: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: positions(h, w),
        lambda: positions(h, w, Frame.identity(3, 3)),
        lambda: grid(h, w, Frame.identity(3, 3)),
        lambda: inside(h, w, Frame.identity(3, 3)),
    )
    for make in makers:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
            make()
        assert str(caught.value) == message
    with pytest.raises(ValueError, match=r"`n` must be at least 1 cell"):
        axis(0)
    with pytest.raises(ValueError, match=r"^`cells` must be at least 1 cell, but is 0.$"):
        positions(3, 4, cells=(0, 4))


@pytest.mark.usefixtures("unchecked")
def test_the_grid_compiles_and_exports_with_open_sizes() -> None:
    class Coordinates(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return grid(*x.shape[-2:], align_corners=True) + positions(*x.shape[-2:])

    size = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    program = torch.export.export(Coordinates(), (torch.zeros(1, 1, 5, 7),), dynamic_shapes=(size,))
    x = torch.zeros(1, 1, 11, 6)
    assert torch.equal(program.module()(x), Coordinates()(x))


def test_dinov3_and_detr_coordinates_are_functions_of_the_grid() -> None:
    h, w = 6, 9
    size = torch.tensor([h, w]).view(2, 1, 1)
    index = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    dinov3 = 2 * ((index + 0.5) / size) - 1
    torch.testing.assert_close(grid(h, w), dinov3, rtol=0, atol=1e-6)
    ones = torch.ones(h, w)
    counts = torch.stack([ones.cumsum(0), ones.cumsum(1)])  # DETR counts valid cells from 1
    detr = counts / counts[:, -1:, -1:] * 2 * torch.pi
    ours = 2 * torch.pi * (positions(h, w) + 1) / size
    torch.testing.assert_close(ours, detr, rtol=0, atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_positions_of_a_turned_view_are_turned_where_cells_are_not_square(turns: int) -> None:
    squeezed = Frame.identity(480, 640).resize(224, 224)
    wanted = torch.rot90(positions(14, 14, squeezed), turns, (-2, -1))
    turned = positions(14, 14, squeezed.rotate(90 * turns))
    torch.testing.assert_close(turned, wanted, rtol=0, atol=1e-5)
    aligned = grid(14, 14, squeezed.rotate(90 * turns), align_corners=True)
    whole = torch.rot90(grid(14, 14, align_corners=True), turns, (-2, -1))
    torch.testing.assert_close(aligned, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("degrees", [30.0, -75.0])
def test_a_view_turned_by_any_angle_counts_the_images_cells(degrees: float) -> None:
    squeezed = Frame.identity(480, 640).resize(224, 224)
    turned = squeezed.rotate(degrees)
    torch.testing.assert_close(cell_counts(14, 14, turned), cell_counts(14, 14, squeezed))
    # A cell of the turned view is where its centre, turned back, is in the view before.
    centres = (positions(14, 14) + 0.5).flatten(1) * 16  # pixels of the view
    affine = Frame.identity(224, 224).rotate(degrees).affine
    back = affine[:, :2] @ centres + affine[:, 2:]
    wanted = (back / 16 - 0.5).unflatten(1, (14, 14))
    torch.testing.assert_close(positions(14, 14, turned), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("degrees", [0.0, 90.0, 30.0])
def test_attention_has_the_positions_that_maps_have(degrees: float) -> None:
    frame = Frame.identity(480, 640).resize(224, 224).rotate(degrees).crop(8, 16, h=112, w=168)
    points = positions(7, 12).flatten(1).mT[None]  # of the view's own cells: 1 n 2
    moved, extent = framed(points, torch.tensor([7.0, 12.0]), frame)
    torch.testing.assert_close(moved[0], positions(7, 12, frame).flatten(1).mT)
    torch.testing.assert_close(extent, cell_counts(7, 12, frame))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_to_once(dtype: torch.dtype) -> None:
    frame = Frame.identity(1000, 1200).crop(700, 801, h=9, w=12)
    makers: tuple[Callable[[torch.dtype], torch.Tensor], ...] = (
        lambda kind: axis(1001, dtype=kind),
        lambda kind: grid(3, 4, frame, dtype=kind),
        lambda kind: grid(3, 4, frame, align_corners=True, dtype=kind),
        lambda kind: positions(3, 4, frame, dtype=kind),
        lambda kind: positions(3, 4, frame, cells=(300, 500), dtype=kind),
        lambda kind: positions(1, 700, cells=(1, 300), dtype=kind),
        lambda kind: cell_counts(3, 4, frame, dtype=kind),
        lambda kind: Places.of(3, 4, frame, dtype=kind).positions,
    )
    for make in makers:
        assert torch.equal(make(dtype), make(torch.float32).to(dtype))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("cells", [(8,), (8, 8, 8)])
def test_cells_are_one_number_an_axis(cells: tuple[int, int]) -> None:
    says = "`cells` must be two numbers, one for y and one for x, but is "
    makers: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: positions(2, 3, cells=cells),
        lambda: positions(2, 3, Frame.identity(2, 3), cells=cells),
        lambda: cell_counts(2, 3, cells=cells),
    )
    for make in makers:
        with pytest.raises(ValueError, match=re.escape(f"{says}{cells}.")):
            make()
