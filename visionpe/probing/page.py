"""A result as one page that needs no network."""

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import visionpe
from visionpe.plots import png
from visionpe.probing.page_findings import best_layer, findings, headline, two
from visionpe.probing.page_words import KINDS, LIMITS, TARGETS, describe
from visionpe.probing.pictures_curves import curves
from visionpe.probing.pictures_maps import companions, controls_mosaic, mosaic
from visionpe.probing.result import Mean, ProbeResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110  # of pictures in the page
_ASIDE = ("command", "model")  # of the meta data: said elsewhere on the page


def to_html(result: ProbeResult, files: Sequence[str] = ()) -> str:
    """One page with its pictures inside, for somebody who never saw the paper.

    Args:
        result: of `visionpe.probe`.
        files: what lies beside the page and is linked to.
    """
    return page_of(result, pictures_of(result), files)


Pictures = dict[str, tuple["Figure", str]]


def pictures_of(result: ProbeResult) -> Pictures:
    """Figure and caption by name."""
    layer = best_layer(result)
    found: Pictures = {
        "curves": (
            curves(result),
            "Scores by layer, from the first to the last. The grey band is the range of the nulls, "
            "which have nothing to be read."
            if len(result.layers) > 1
            else "Scores at the one layer that was probed, with 95 % intervals.",
        ),
        "mosaic": (
            mosaic(result),
            "On the left the map that was asked for, then what was read at each layer, averaged "
            "over the test images. White is 0 and dark blue 1. An even blue means that the rule "
            "could only guess the mean.",
        ),
        "controls": (
            controls_mosaic(result, layer),
            f"The same at one layer, {layer}, for the network and each of its controls.",
        ),
    }
    if result.companions:
        found["companions"] = (
            companions(result),
            "Above, how much each pixel of the image matters to a unit in the middle, and the "
            "width of a square with the same spread. Once that width comes near the image's, every "
            "unit sees a border. Below, where the features change when the image is shifted and "
            "they should only move along: dark cells are changed by what the border lets in or "
            "cuts off. 100 % is the difference of unrelated features; the numbers of border and "
            "inside are root mean squares over their cells.",
        )
    return found


def page_of(result: ProbeResult, pictures: Pictures, files: Sequence[str]) -> str:
    """The template beside this file, filled with figures and links to files."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("visionpe.probing", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = {name: _image(name, *pair) for name, pair in pictures.items()}
    return templates.get_template("page.html").render(
        title=f"How much position is in {result.meta.get('model', 'this network')}?",
        headline=headline(result),
        findings=findings(result),
        notes=result.notes,
        layers=result.layers,
        kinds=_kinds(result),
        limits=LIMITS,
        tables=[_table(result, target) for target in result.targets],
        files=files,
        command=result.meta.get("command", ""),
        facts={
            key.replace("_", " "): _said(value)
            for key, value in result.meta.items()
            if key not in _ASIDE
        },
        version=visionpe.__version__,
        companions=shown.pop("companions", None),
        **shown,
    )


def _kinds(result: ProbeResult) -> list[dict[str, Any]]:
    """The controls that were run, by kind."""
    found = []
    for kind, (title, words) in KINDS.items():
        mine = [describe(name) for name in result.conditions if describe(name).kind == kind]
        if mine:
            found.append({"title": title, "words": words, "conditions": mine})
    return found


def _table(result: ProbeResult, target: str) -> dict[str, Any]:
    """All conditions of one target, a column a layer."""
    rows = []
    for condition in result.conditions:
        means = [result.mean(layer, target, condition) for layer in result.layers]
        drawn = describe(condition)
        rows.append({"label": drawn.label, "kind": drawn.kind, "cells": [*map(_cell, means)]})
    return {
        "title": f"{target}, {TARGETS[target]}" if target in TARGETS else target,
        "rows": rows,
        "selectivity": [two(result.selectivity(layer, target)) for layer in result.layers],
    }


def _cell(mean: Mean) -> dict[str, str]:
    low, high = mean.spearman_interval
    return {
        "score": two(mean.spearman),
        "interval": "" if math.isnan(low) else f"{two(low)} to {two(high)}",
        "mae": two(mean.mae),
        "r2": two(mean.r2),
    }


def _image(name: str, figure: "Figure", caption: str) -> dict[str, Any]:
    inch = 96  # of a browser, in pixels
    width, height = figure.get_size_inches().tolist()
    return {
        "name": name,
        "title": name,
        "caption": caption,
        "image": base64.b64encode(png(figure, dpi=_DPI)).decode(),
        "width": round(inch * width),
        "height": round(inch * height),
    }


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        pair = len(value) == 2 and all(isinstance(item, int) for item in value)
        return (" x " if pair else ", ").join(map(_said, value))
    return str(value)
