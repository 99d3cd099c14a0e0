"""Figures: functions of tensors that return `(figure, axes)`; `png` makes a file of a figure."""

from visionpe.plots.codes import alike, code_figure, head_figure, matrix_figure, similarity
from visionpe.plots.errors import Errors, Moved, displacements, error_maps
from visionpe.plots.predicted import Single, Summed, single, summed
from visionpe.plots.progress import Curve, training_curves
from visionpe.plots.split import split, splits
from visionpe.plots.style import png, style

__all__ = [
    "Curve",
    "Errors",
    "Moved",
    "Single",
    "Summed",
    "alike",
    "code_figure",
    "displacements",
    "error_maps",
    "head_figure",
    "matrix_figure",
    "png",
    "similarity",
    "single",
    "split",
    "splits",
    "style",
    "summed",
    "training_curves",
]
