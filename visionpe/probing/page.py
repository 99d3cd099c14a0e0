"""A result as one page that needs no network, and as a folder of files."""

import base64
import csv
import io
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import visionpe
from visionpe.errors import RunFolderError
from visionpe.plots import png
from visionpe.probing.page_findings import best_layer, findings, headline, two
from visionpe.probing.page_words import KINDS, LIMITS, TARGETS, describe
from visionpe.probing.pictures_curves import curves
from visionpe.probing.pictures_maps import companions, controls_mosaic, mosaic
from visionpe.probing.result import Mean, ProbeResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "index.html"
_DPI = 110  # of pictures in the page; those in files are finer
_FINE = 200
_ASIDE = ("command", "model")  # of the meta data: said elsewhere on the page


def to_html(result: ProbeResult, files: Sequence[str] = ()) -> str:
    """One page with its pictures inside, for somebody who never saw the paper.

    Args:
        result: of `visionpe.probe`.
        files: what lies beside the page and is linked to.
    """
    return _page(result, _pictures(result), files)


def save(result: ProbeResult, folder: str | Path) -> list[Path]:
    """Writes `result.json`, the scores as CSV, pictures as PNG and the page, all at once.

    The folder appears when all of it is written, or not at all.

    Args:
        result: of `visionpe.probe`.
        folder: a new one, or an empty one.

    Returns:
        The files, the page first.

    Raises:
        RunFolderError: if the folder holds files, is a file, or cannot be made.
    """
    folder = Path(folder)
    check_folder(folder)
    pictures = _pictures(result)
    files = {
        "result.json": json.dumps(_plain(result.to_dict()), indent=1, allow_nan=False).encode(),
        "scores.csv": _csv([_flat(mean) for mean in result.means]),
        "seeds.csv": _csv([_flat(row) for row in result.rows]),
        **{f"{name}.png": png(figure, dpi=_FINE) for name, (figure, _) in pictures.items()},
    }
    files = {PAGE: _page(result, pictures, sorted(files)).encode(), **files}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = folder.with_name(f".{folder.name}-{os.getpid()}")
        beside.mkdir()
        try:
            for name, content in files.items():
                (beside / name).write_bytes(content)
            os.replace(beside, folder)  # takes the place of an empty folder, and of no other
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise RunFolderError(
            f"The result cannot be written to {folder}: {error.strerror or error}. Choose another "
            "folder."
        ) from error
    return [folder / name for name in files]


def check_folder(folder: Path) -> None:
    """Makes sure that nothing would be lost by writing a result into a folder.

    Raises:
        RunFolderError: if it is a file or holds files.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"`folder` must be a folder, but {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()):
        raise RunFolderError(
            f"`folder` must be a new or an empty folder, but {folder} holds files. Choose another, "
            "or remove it first."
        )


Pictures = dict[str, tuple["Figure", str]]


def _pictures(result: ProbeResult) -> Pictures:
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
            "cuts off.",
        )
    return found


def _page(result: ProbeResult, pictures: Pictures, files: Sequence[str]) -> str:
    """The template beside this file, filled."""
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
        "interval": f"{two(low)} to {two(high)}",
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


def _flat(record: Any) -> dict[str, Any]:
    """A row with each interval as two columns."""
    flat: dict[str, Any] = {}
    for key, value in vars(record).items():
        if isinstance(value, tuple):
            flat[f"{key}_low"], flat[f"{key}_high"] = value
        else:
            flat[key] = value
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in flat.items()}


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _plain(value: Any) -> Any:
    """What JSON can hold: no number becomes null, and what is unknown becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        pair = len(value) == 2 and all(isinstance(item, int) for item in value)
        return (" x " if pair else ", ").join(map(_said, value))
    return str(value)
