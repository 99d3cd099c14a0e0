import math
from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from probing.made_up import made_up

from visionpe.plots import png
from visionpe.probing.gathering import _small
from visionpe.probing.page_words import describe
from visionpe.probing.pictures import plot
from visionpe.probing.pictures_curves import curves
from visionpe.probing.pictures_maps import companions, controls_mosaic, mosaic, some
from visionpe.probing.result import ProbeResult


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_a_panel_is_drawn_for_every_target_and_a_curve_for_every_condition_but_nulls() -> None:
    result = made_up(targets=("H", "V", "G"))
    figure = curves(result)
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.axison]
    assert [ax.get_title("left").split(":")[0] for ax in panels] == ["H", "V", "G"]
    drawn = [name for name in result.conditions if describe(name).kind != "null"]
    for ax in panels:
        assert len(ax.lines) == len(drawn) + 1  # and the line at 0


def test_the_curve_is_the_models_scores_with_their_interval() -> None:
    result = made_up(targets=("V",))
    (ax,) = (ax for ax in curves(result).axes if ax.axison)
    model = [mean for mean in result.means if mean.condition == "model"]
    assert any(
        line.get_ydata().tolist() == pytest.approx([mean.spearman for mean in model])  # type: ignore[union-attr]
        for line in ax.lines
    )
    assert len(ax.collections) == 2  # the model's band and that of the nulls


def test_every_control_is_named_in_the_picture() -> None:
    result = made_up(layers=("a", "b"), targets=("H",))
    shown = texts(curves(result))
    for name in result.conditions:
        if describe(name).kind != "null":
            assert describe(name).label in shown
    assert any("nulls" in text for text in shown)


def test_one_layer_is_drawn_as_a_row_a_condition() -> None:
    result = made_up(layers=("features.17",), targets=("H", "G"))
    figure = curves(result, "r2")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [describe(name).label for name in result.conditions]


def test_an_unknown_score_is_refused() -> None:
    with pytest.raises(ValueError, match="`score`") as caught:
        curves(made_up(("a",), ("H",)), "pearson")
    assert str(caught.value) == ("`score` must be one of spearman, r2, mae, but is 'pearson'.")


def test_maps_lie_beside_their_target_which_is_the_finest_there_is() -> None:
    result = made_up(layers=("coarse", "fine"), targets=("H", "V"))
    result = replace(result, maps={"coarse": result.maps["fine"], "fine": result.maps["coarse"]})
    figure = mosaic(result)
    images = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert images[0].shape == tuple(result.maps["fine"]["H"]["target"].shape)  # type: ignore[union-attr]
    assert len(images) == len(result.targets) * 3


def test_the_mosaic_of_controls_has_a_column_for_each() -> None:
    result = made_up(targets=("H",))
    figure = controls_mosaic(result, "layer2")
    images = [ax for ax in figure.axes if ax.images]
    assert len(images) == len(result.conditions) + 1  # the target


def test_of_many_layers_some_are_shown_with_the_first_and_the_last() -> None:
    names = [f"blocks.{i}" for i in range(40)]
    assert some(names)[0] == "blocks.0"
    assert some(names)[-1] == "blocks.39"
    assert len(some(names)) == 6
    assert some(names[:3]) == names[:3]


def test_border_maps_share_their_colours_and_say_where_features_break() -> None:
    result = made_up(layers=("a", "b"), targets=("H",))
    figure = companions(result)
    limits = {ax.images[0].get_clim() for ax in figure.axes[2:4]}
    assert len(limits) == 1
    assert any("border 26 %" in text for text in texts(figure))


def test_a_result_without_companions_has_no_border_maps() -> None:
    with pytest.raises(ValueError, match="`result`") as caught:
        companions(replace(made_up(("a",), ("H",)), companions={}))
    assert str(caught.value) == "`result` must have companions, but has none."


def test_a_border_without_cells_inside_is_drawn_all_the_same() -> None:
    result = made_up(layers=("a",), targets=("H",))
    shallow = result.companions["a"]._replace(interior_error=math.nan)
    figure = companions(replace(result, companions={"a": shallow}))
    assert any("inside -" in text for text in texts(figure))


@pytest.mark.parametrize("layers", [("a",), ("a", "b", "c")])
def test_the_overview_has_both(layers: tuple[str, ...]) -> None:
    result: ProbeResult = made_up(layers=layers, targets=("H",))
    figure = plot(result)
    assert len(figure.subfigs) == 2
    assert png(figure, dpi=40)[:4] == b"\x89PNG"


@pytest.mark.parametrize("size", [(32, 48), (7, 90), (100, 3), (28, 28), (5, 9)])
def test_maps_for_pictures_keep_their_proportions(size: tuple[int, int]) -> None:
    h, w = _small(torch.rand(size)).shape
    assert max(h, w) == min(28, max(size))
    assert abs(h * size[1] - w * size[0]) <= max(size)  # to a cell
