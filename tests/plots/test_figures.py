import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from visionpe import plots
from visionpe.plots import canvas
from visionpe.plots.codes import code_figure, head_figure
from visionpe.plots.split import TEST, TRAIN
from visionpe.plots.style import FAINT

H, W = 12, 20


@pytest.fixture
def points() -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(2, H), torch.arange(3, W)).float()


def test_neither_the_package_nor_a_figure_loads_pyplot() -> None:
    program = """
import sys, torch
from visionpe import plots
assert "matplotlib" not in sys.modules
plots.png(plots.split(torch.ones(1, 2), torch.tensor([True]), name="a", h=3, w=4)[0])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_figure_leaves_the_settings_of_others_alone(points: torch.Tensor) -> None:
    before = dict(rcParams)
    plots.png(plots.split(points, points[:, 0] > 5, name="rows", h=H, w=W)[0])
    assert dict(rcParams) == before


def test_the_same_drawing_gives_the_same_png(points: torch.Tensor) -> None:
    tests = {"rows": points[:, 0] > 5, "columns": points[:, 1] > 9}
    first, second = (plots.png(plots.splits(points, tests, H, W)[0], dpi=50) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_values_come_to_the_cell_of_their_point(points: torch.Tensor) -> None:
    values = torch.rand(len(points))
    on = canvas.on_canvas(points, values, H, W)
    y, x = points.long().T.numpy()
    np.testing.assert_array_equal(on[y, x], values.numpy())
    assert np.isnan(on).sum() == H * W - len(points)


def test_an_outline_has_an_edge_wherever_inside_meets_outside() -> None:
    region = np.random.default_rng(0).random((H, W)) < 0.4
    ax = Figure().subplots()
    canvas.outline(ax, region)
    lines = next(item for item in ax.collections if isinstance(item, LineCollection))
    found = {tuple(map(tuple, line)) for line in lines.get_segments()}
    sides = ((-1, 0), (1, 0), (0, -1), (0, 1))
    expected = set()
    for y, x in np.argwhere(region):
        for dy, dx in sides:
            b, a = y + dy, x + dx
            if not (0 <= b < H and 0 <= a < W and region[b, a]):
                ends = (
                    ((x + dx / 2, y - 0.5), (x + dx / 2, y + 0.5))
                    if dx
                    else ((x - 0.5, y + dy / 2), (x + 0.5, y + dy / 2))
                )
                expected.add(ends)
    assert found == expected


def test_a_split_is_drawn_on_the_axes_that_are_given(points: torch.Tensor) -> None:
    given = Figure()
    ax = given.subplots()
    figure, drawn = plots.split(points, points[:, 1] > 9, name="columns", h=H, w=W, ax=ax)
    assert figure is given
    assert drawn is ax
    assert ax.get_title(loc="left") + ax.get_title() == "columns: 70 train, 100 test"


@pytest.mark.parametrize(("held", "colour"), [(True, TEST), (False, TRAIN)])
def test_a_split_of_one_part_has_its_colour(points: torch.Tensor, held: bool, colour: str) -> None:
    _, ax = plots.split(points, torch.full((len(points),), held), name="all", h=H, w=W)
    (image,) = ax.images
    shown = image.to_rgba(image.get_array())  # type: ignore[arg-type] # it has one
    y, x = points[0].int().tolist()
    assert to_hex(shown[y, x]) == to_hex(colour)


def test_y_points_down_and_axes_are_labelled_in_cells(points: torch.Tensor) -> None:
    _, ax = plots.split(points, points[:, 1] > 9, name="columns", h=H, w=W)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x, cells", "y, cells")
    assert ax.get_ylim() == (H - 0.5, -0.5)
    assert ax.get_xlim() == (-0.5, W - 0.5)


def test_compared_maps_share_one_scale() -> None:
    rows = {name: plots.Summed(*torch.rand(4, H, W)) for name in ("a", "b")}
    _, axes = plots.summed(rows)
    assert axes.shape == (2, 4)
    images = [ax.images[0] for ax in axes.flat]
    assert len({id(image.norm) for image in images}) == 1
    for row, line in zip(rows.values(), axes, strict=True):
        for part, ax in zip(row[:4], line, strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), part.numpy())


def test_no_probability_is_white() -> None:
    _, axes = plots.summed({"a": plots.Summed(*torch.zeros(4, H, W))})
    image = axes[0, 0].images[0]
    assert to_hex(image.cmap(image.norm(0.0))) == "#ffffff"


def test_single_maps_ring_their_targets() -> None:
    targets = torch.tensor([[3.0, 15.0], [7.0, 4.0]])
    _, axes = plots.single({"a": plots.Single(torch.rand(2, H, W), targets)})
    rings = [ax.patches[0] for ax in axes[0]]
    assert [ring.center for ring in rings] == [(15.0, 3.0), (4.0, 7.0)]


def test_rows_of_single_maps_may_differ_in_number() -> None:
    rows = {
        "two": plots.Single(torch.rand(2, H, W), torch.tensor([[3.0, 4.0], [5.0, 9.0]])),
        "one": plots.Single(torch.rand(1, H, W), torch.tensor([[3.0, 4.0]])),
    }
    _, axes = plots.single(rows)
    assert [[ax.get_visible() for ax in line] for line in axes] == [[True, True], [True, False]]
    assert axes[1, 0].get_title(loc="left") == "target: y 3, x 4"


def test_codes_that_learn_are_drawn() -> None:
    code = torch.randn(3, 5, 7, requires_grad=True)
    figure, axes = code_figure(code, ["0", "1"])
    assert len(axes[0]) == 3
    assert isinstance(figure, Figure)
    head_figure(torch.randn(1, 2, 5, 7, requires_grad=True), [(1, 2)], title="logits")


def test_single_squares_are_framed() -> None:
    targets = torch.tensor([[5.0, 15.0]])
    _, axes = plots.single({"a": plots.Single(torch.rand(1, H, W), targets)}, reach=4)
    assert axes[0, 0].patches[0].get_bbox().extents.tolist() == [10.5, 0.5, 19.5, 9.5]


def _errors(points: torch.Tensor, test: torch.Tensor) -> Any:
    row = plots.Errors(points, torch.zeros(len(points)), test)
    _, axes = plots.error_maps({"a": row}, h=H, w=W)
    return axes


def test_a_right_answer_is_white_and_no_point_is_grey(points: torch.Tensor) -> None:
    image = _errors(points, points[:, 0] > 5)[0, 0].images[0]
    colours: Any = image.to_rgba(image.get_array())
    assert tuple(colours[2, 3]) == to_rgba("white")
    assert tuple(colours[0, 0]) == pytest.approx(to_rgba(FAINT))


def test_one_region_is_outlined_and_scattered_points_are_not(points: torch.Tensor) -> None:
    assert _errors(points, points[:, 0] > 5)[0, 0].collections
    assert not _errors(points, points.sum(1) % 2 == 0)[0, 0].collections


def test_an_arrow_leads_from_the_truth_to_the_answer(points: torch.Tensor) -> None:
    places = points + torch.randn_like(points)
    test = points[:, 1] > 9
    _, axes = plots.displacements({"a": plots.Moved(points, places, test)}, H, W)
    arrows = [item for item in axes[0, 0].collections if isinstance(item, Quiver)]
    for arrow, part in zip(arrows, (~test, test), strict=True):
        shown = part & (points % 4 == 2).all(1)
        dy, dx = (places - points)[shown].T.numpy()
        np.testing.assert_allclose(np.asarray(arrow.U, dtype=float), dx)
        np.testing.assert_allclose(np.asarray(arrow.V, dtype=float), dy)


def test_a_run_has_one_colour_with_train_dashed_and_test_solid() -> None:
    curves = {
        "a": plots.Curve([1.0, 2.0], [10.0, 90.0], [5.0, 80.0]),
        "none": plots.Curve([], [], []),
        "b": plots.Curve([1.0, 3.0], [20.0, 30.0], [10.0, 20.0]),
    }
    _, ax = plots.training_curves(curves)
    lines = ax.get_lines()
    assert [line.get_linestyle() for line in lines] == ["--", "-", "--", "-"]
    colours = [line.get_color() for line in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "train", "test"]


@pytest.mark.parametrize(("last", "scale"), [(7.0, "linear"), (70.0, "log")])
def test_time_is_logarithmic_where_runs_differ_much(last: float, scale: str) -> None:
    _, ax = plots.training_curves({"a": plots.Curve([1.0, last], [1.0, 2.0], [1.0, 2.0])})
    assert ax.get_xscale() == scale
