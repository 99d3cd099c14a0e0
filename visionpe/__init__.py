"""Position in vision models: encodings as functions of coordinates.

The public names below are loaded on first use, so that `import visionpe` is light and the command
line answers at once; `visionpe.NAME` and `from visionpe import NAME` work as ever.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from visionpe.attaching.errors import AttachError
    from visionpe.attaching.files import save
    from visionpe.attaching.in_convs import CoordConv
    from visionpe.attaching.loading import load
    from visionpe.attaching.plan import Plan
    from visionpe.attaching.state import State, state
    from visionpe.attaching.verbs import attach, detach, disabled, status
    from visionpe.checking.kit import check
    from visionpe.checking.result import CheckResult
    from visionpe.encodings.alibi import Alibi2d, alibi_bias, alibi_slopes
    from visionpe.encodings.attention import AttentionEncoding, attend
    from visionpe.encodings.backend import attention_backend
    from visionpe.encodings.base import MapEncoding, PointEncoding
    from visionpe.encodings.complex_order import AppendComplexOrder, ComplexOrder, complex_order
    from visionpe.encodings.conditional import PEG, peg
    from visionpe.encodings.constant import LearnedConstant
    from visionpe.encodings.contextual import (
        contextual_bias,
        contextual_query_bias,
        contextual_values,
    )
    from visionpe.encodings.convolutional_context import (
        ConvolutionalContext1d,
        ConvolutionalContext2d,
        convolutional_context,
    )
    from visionpe.encodings.coord import AddCoords, coordinates
    from visionpe.encodings.coordconv import CoordConv2d, coord_conv2d
    from visionpe.encodings.coordconv1d import CoordConv1d, coord_conv1d
    from visionpe.encodings.cpb import LogCPB, log_cpb, log_offset
    from visionpe.encodings.decomposed import DecomposedBias, decomposed_bias
    from visionpe.encodings.factorised import Factorised2d, factorised2d, factorised2d_index
    from visionpe.encodings.flow_step import FlowEmbedding, flow_condition
    from visionpe.encodings.fourier import FourierFeatures, fourier_code, fourier_features
    from visionpe.encodings.fourier_axes import LogAxisFeatures, NerfFeatures, axis_fourier_code
    from visionpe.encodings.fourier_input import FourierInput, band_limited
    from visionpe.encodings.fourier_projection import AddFourierFeatures
    from visionpe.encodings.frequencies import (
        gaussian_frequencies,
        log_axis_frequencies,
        octave_frequencies,
    )
    from visionpe.encodings.height import HeightAttention, band_means, height_code
    from visionpe.encodings.hypernetwork import HyperConv2d, HyperScale, per_cell_conv2d
    from visionpe.encodings.irpe import IRPEBias, IRPEContextual, bucket_bias
    from visionpe.encodings.irpe_buckets import (
        CrossBuckets,
        EuclideanBuckets,
        ProductBuckets,
        QuantisedBuckets,
        piecewise_index,
    )
    from visionpe.encodings.learned import (
        Learned2d,
        learned2d_code,
        sample_bicubic,
        sample_bilinear,
    )
    from visionpe.encodings.liere import LieRE, liere_rotations, skew_symmetric
    from visionpe.encodings.offset_buckets import AxialClippedBuckets, Buckets, ClippedBuckets
    from visionpe.encodings.relative import RelativeBias, relative_bias, relative_index
    from visionpe.encodings.relative_resize import (
        resize_relative_axis,
        resize_relative_bias,
        resize_relative_bias_geometric,
    )
    from visionpe.encodings.resample import (
        join_tokens,
        resample_axis_table,
        resample_table,
        resample_table_dinov2,
        resample_table_torchvision,
        split_tokens,
    )
    from visionpe.encodings.rotary import Rotary, axial_waves
    from visionpe.encodings.rotary_dinov3 import RotaryDINOv3, augment_coordinates, dinov3_waves
    from visionpe.encodings.rotary_layout import half_to_interleaved, interleaved_to_half
    from visionpe.encodings.rotary_mixed import RotaryMixed, mixed_waves
    from visionpe.encodings.rotary_simplex import RotarySimplex, simplex_waves
    from visionpe.encodings.rotary_spiral import RotarySpiral, spiral_waves
    from visionpe.encodings.rotary_waves import wave_angles
    from visionpe.encodings.rotate import rotate, rotate_half
    from visionpe.encodings.separable import AxisBias, axis_bias
    from visionpe.encodings.shaw import Shaw
    from visionpe.encodings.sinusoid import sinusoid
    from visionpe.encodings.sinusoidal import AppendSinusoidal2d, Sinusoidal2d, sinusoidal2d_code
    from visionpe.encodings.sinusoidal_line import (
        Sinusoidal1d,
        sinusoidal1d,
        sinusoidal1d_code,
    )
    from visionpe.encodings.sinusoidal_masked import MaskedSinusoidal2d, sinusoidal2d_detr
    from visionpe.encodings.sinusoidal_orders import (
        sinusoidal2d,
        sinusoidal2d_big_vision,
        sinusoidal2d_mae,
        sinusoidal2d_timm,
    )
    from visionpe.encodings.step import StepEmbedding, step_code, step_code_adm
    from visionpe.encodings.t5 import BucketBias, t5_bucket
    from visionpe.encodings.transformer_xl import TransformerXL, transformer_xl_bias
    from visionpe.folding.errors import FoldError
    from visionpe.folding.report import Folding
    from visionpe.folding.verbs import fold, unfold
    from visionpe.frame import Frame
    from visionpe.grids import axis, grid, inside, positions
    from visionpe.inspecting.run import Inventory, inspect
    from visionpe.inspecting.sources import Source
    from visionpe.models.posenet import CellMLP, PosENet
    from visionpe.paddings.swap import PaddingChange, set_padding
    from visionpe.places import Places
    from visionpe.probing.dead_leaves import dead_leaves
    from visionpe.probing.features import record
    from visionpe.probing.field import effective_field
    from visionpe.probing.linear import Ridge
    from visionpe.probing.result import ProbeResult
    from visionpe.probing.shift import shift_error
    from visionpe.probing.suite import probe
    from visionpe.probing.trained import Trained
    from visionpe.removing.errors import RemoveError
    from visionpe.removing.verbs import remove, restore
    from visionpe.tracing.errors import TraceError
    from visionpe.tracing.run import Trace, trace
    from visionpe.tracing.sites import Site

_HOME = {
    "AttachError": "visionpe.attaching.errors",
    "save": "visionpe.attaching.files",
    "CoordConv": "visionpe.attaching.in_convs",
    "load": "visionpe.attaching.loading",
    "Plan": "visionpe.attaching.plan",
    "State": "visionpe.attaching.state",
    "state": "visionpe.attaching.state",
    "attach": "visionpe.attaching.verbs",
    "detach": "visionpe.attaching.verbs",
    "disabled": "visionpe.attaching.verbs",
    "status": "visionpe.attaching.verbs",
    "check": "visionpe.checking.kit",
    "CheckResult": "visionpe.checking.result",
    "Alibi2d": "visionpe.encodings.alibi",
    "alibi_bias": "visionpe.encodings.alibi",
    "alibi_slopes": "visionpe.encodings.alibi",
    "AttentionEncoding": "visionpe.encodings.attention",
    "attend": "visionpe.encodings.attention",
    "attention_backend": "visionpe.encodings.backend",
    "MapEncoding": "visionpe.encodings.base",
    "PointEncoding": "visionpe.encodings.base",
    "AppendComplexOrder": "visionpe.encodings.complex_order",
    "ComplexOrder": "visionpe.encodings.complex_order",
    "complex_order": "visionpe.encodings.complex_order",
    "PEG": "visionpe.encodings.conditional",
    "peg": "visionpe.encodings.conditional",
    "LearnedConstant": "visionpe.encodings.constant",
    "contextual_bias": "visionpe.encodings.contextual",
    "contextual_query_bias": "visionpe.encodings.contextual",
    "contextual_values": "visionpe.encodings.contextual",
    "ConvolutionalContext1d": "visionpe.encodings.convolutional_context",
    "ConvolutionalContext2d": "visionpe.encodings.convolutional_context",
    "convolutional_context": "visionpe.encodings.convolutional_context",
    "AddCoords": "visionpe.encodings.coord",
    "coordinates": "visionpe.encodings.coord",
    "CoordConv2d": "visionpe.encodings.coordconv",
    "coord_conv2d": "visionpe.encodings.coordconv",
    "CoordConv1d": "visionpe.encodings.coordconv1d",
    "coord_conv1d": "visionpe.encodings.coordconv1d",
    "LogCPB": "visionpe.encodings.cpb",
    "log_cpb": "visionpe.encodings.cpb",
    "log_offset": "visionpe.encodings.cpb",
    "DecomposedBias": "visionpe.encodings.decomposed",
    "decomposed_bias": "visionpe.encodings.decomposed",
    "Factorised2d": "visionpe.encodings.factorised",
    "factorised2d": "visionpe.encodings.factorised",
    "factorised2d_index": "visionpe.encodings.factorised",
    "FlowEmbedding": "visionpe.encodings.flow_step",
    "flow_condition": "visionpe.encodings.flow_step",
    "FourierFeatures": "visionpe.encodings.fourier",
    "fourier_code": "visionpe.encodings.fourier",
    "fourier_features": "visionpe.encodings.fourier",
    "LogAxisFeatures": "visionpe.encodings.fourier_axes",
    "NerfFeatures": "visionpe.encodings.fourier_axes",
    "axis_fourier_code": "visionpe.encodings.fourier_axes",
    "FourierInput": "visionpe.encodings.fourier_input",
    "band_limited": "visionpe.encodings.fourier_input",
    "AddFourierFeatures": "visionpe.encodings.fourier_projection",
    "gaussian_frequencies": "visionpe.encodings.frequencies",
    "log_axis_frequencies": "visionpe.encodings.frequencies",
    "octave_frequencies": "visionpe.encodings.frequencies",
    "HeightAttention": "visionpe.encodings.height",
    "band_means": "visionpe.encodings.height",
    "height_code": "visionpe.encodings.height",
    "HyperConv2d": "visionpe.encodings.hypernetwork",
    "HyperScale": "visionpe.encodings.hypernetwork",
    "per_cell_conv2d": "visionpe.encodings.hypernetwork",
    "IRPEBias": "visionpe.encodings.irpe",
    "IRPEContextual": "visionpe.encodings.irpe",
    "bucket_bias": "visionpe.encodings.irpe",
    "CrossBuckets": "visionpe.encodings.irpe_buckets",
    "EuclideanBuckets": "visionpe.encodings.irpe_buckets",
    "ProductBuckets": "visionpe.encodings.irpe_buckets",
    "QuantisedBuckets": "visionpe.encodings.irpe_buckets",
    "piecewise_index": "visionpe.encodings.irpe_buckets",
    "Learned2d": "visionpe.encodings.learned",
    "learned2d_code": "visionpe.encodings.learned",
    "sample_bicubic": "visionpe.encodings.learned",
    "sample_bilinear": "visionpe.encodings.learned",
    "LieRE": "visionpe.encodings.liere",
    "liere_rotations": "visionpe.encodings.liere",
    "skew_symmetric": "visionpe.encodings.liere",
    "AxialClippedBuckets": "visionpe.encodings.offset_buckets",
    "Buckets": "visionpe.encodings.offset_buckets",
    "ClippedBuckets": "visionpe.encodings.offset_buckets",
    "RelativeBias": "visionpe.encodings.relative",
    "relative_bias": "visionpe.encodings.relative",
    "relative_index": "visionpe.encodings.relative",
    "resize_relative_axis": "visionpe.encodings.relative_resize",
    "resize_relative_bias": "visionpe.encodings.relative_resize",
    "resize_relative_bias_geometric": "visionpe.encodings.relative_resize",
    "join_tokens": "visionpe.encodings.resample",
    "resample_axis_table": "visionpe.encodings.resample",
    "resample_table": "visionpe.encodings.resample",
    "resample_table_dinov2": "visionpe.encodings.resample",
    "resample_table_torchvision": "visionpe.encodings.resample",
    "split_tokens": "visionpe.encodings.resample",
    "Rotary": "visionpe.encodings.rotary",
    "axial_waves": "visionpe.encodings.rotary",
    "RotaryDINOv3": "visionpe.encodings.rotary_dinov3",
    "augment_coordinates": "visionpe.encodings.rotary_dinov3",
    "dinov3_waves": "visionpe.encodings.rotary_dinov3",
    "half_to_interleaved": "visionpe.encodings.rotary_layout",
    "interleaved_to_half": "visionpe.encodings.rotary_layout",
    "RotaryMixed": "visionpe.encodings.rotary_mixed",
    "mixed_waves": "visionpe.encodings.rotary_mixed",
    "RotarySimplex": "visionpe.encodings.rotary_simplex",
    "simplex_waves": "visionpe.encodings.rotary_simplex",
    "RotarySpiral": "visionpe.encodings.rotary_spiral",
    "spiral_waves": "visionpe.encodings.rotary_spiral",
    "wave_angles": "visionpe.encodings.rotary_waves",
    "rotate": "visionpe.encodings.rotate",
    "rotate_half": "visionpe.encodings.rotate",
    "AxisBias": "visionpe.encodings.separable",
    "axis_bias": "visionpe.encodings.separable",
    "Shaw": "visionpe.encodings.shaw",
    "sinusoid": "visionpe.encodings.sinusoid",
    "AppendSinusoidal2d": "visionpe.encodings.sinusoidal",
    "Sinusoidal2d": "visionpe.encodings.sinusoidal",
    "sinusoidal2d_code": "visionpe.encodings.sinusoidal",
    "Sinusoidal1d": "visionpe.encodings.sinusoidal_line",
    "sinusoidal1d": "visionpe.encodings.sinusoidal_line",
    "sinusoidal1d_code": "visionpe.encodings.sinusoidal_line",
    "MaskedSinusoidal2d": "visionpe.encodings.sinusoidal_masked",
    "sinusoidal2d_detr": "visionpe.encodings.sinusoidal_masked",
    "sinusoidal2d": "visionpe.encodings.sinusoidal_orders",
    "sinusoidal2d_big_vision": "visionpe.encodings.sinusoidal_orders",
    "sinusoidal2d_mae": "visionpe.encodings.sinusoidal_orders",
    "sinusoidal2d_timm": "visionpe.encodings.sinusoidal_orders",
    "StepEmbedding": "visionpe.encodings.step",
    "step_code": "visionpe.encodings.step",
    "step_code_adm": "visionpe.encodings.step",
    "BucketBias": "visionpe.encodings.t5",
    "t5_bucket": "visionpe.encodings.t5",
    "TransformerXL": "visionpe.encodings.transformer_xl",
    "transformer_xl_bias": "visionpe.encodings.transformer_xl",
    "FoldError": "visionpe.folding.errors",
    "Folding": "visionpe.folding.report",
    "fold": "visionpe.folding.verbs",
    "unfold": "visionpe.folding.verbs",
    "Frame": "visionpe.frame",
    "axis": "visionpe.grids",
    "grid": "visionpe.grids",
    "inside": "visionpe.grids",
    "positions": "visionpe.grids",
    "Inventory": "visionpe.inspecting.run",
    "inspect": "visionpe.inspecting.run",
    "Source": "visionpe.inspecting.sources",
    "CellMLP": "visionpe.models.posenet",
    "PosENet": "visionpe.models.posenet",
    "PaddingChange": "visionpe.paddings.swap",
    "set_padding": "visionpe.paddings.swap",
    "Places": "visionpe.places",
    "dead_leaves": "visionpe.probing.dead_leaves",
    "record": "visionpe.probing.features",
    "effective_field": "visionpe.probing.field",
    "Ridge": "visionpe.probing.linear",
    "ProbeResult": "visionpe.probing.result",
    "shift_error": "visionpe.probing.shift",
    "probe": "visionpe.probing.suite",
    "Trained": "visionpe.probing.trained",
    "RemoveError": "visionpe.removing.errors",
    "remove": "visionpe.removing.verbs",
    "restore": "visionpe.removing.verbs",
    "TraceError": "visionpe.tracing.errors",
    "Trace": "visionpe.tracing.run",
    "trace": "visionpe.tracing.run",
    "Site": "visionpe.tracing.sites",
}

__all__ = [
    "PEG",
    "AddCoords",
    "AddFourierFeatures",
    "Alibi2d",
    "AppendComplexOrder",
    "AppendSinusoidal2d",
    "AttachError",
    "AttentionEncoding",
    "AxialClippedBuckets",
    "AxisBias",
    "BucketBias",
    "Buckets",
    "CellMLP",
    "CheckResult",
    "ClippedBuckets",
    "ComplexOrder",
    "ConvolutionalContext1d",
    "ConvolutionalContext2d",
    "CoordConv",
    "CoordConv1d",
    "CoordConv2d",
    "CrossBuckets",
    "DecomposedBias",
    "EuclideanBuckets",
    "Factorised2d",
    "FlowEmbedding",
    "FoldError",
    "Folding",
    "FourierFeatures",
    "FourierInput",
    "Frame",
    "HeightAttention",
    "HyperConv2d",
    "HyperScale",
    "IRPEBias",
    "IRPEContextual",
    "Inventory",
    "Learned2d",
    "LearnedConstant",
    "LieRE",
    "LogAxisFeatures",
    "LogCPB",
    "MapEncoding",
    "MaskedSinusoidal2d",
    "NerfFeatures",
    "PaddingChange",
    "Places",
    "Plan",
    "PointEncoding",
    "PosENet",
    "ProbeResult",
    "ProductBuckets",
    "QuantisedBuckets",
    "RelativeBias",
    "RemoveError",
    "Ridge",
    "Rotary",
    "RotaryDINOv3",
    "RotaryMixed",
    "RotarySimplex",
    "RotarySpiral",
    "Shaw",
    "Sinusoidal1d",
    "Sinusoidal2d",
    "Site",
    "Source",
    "State",
    "StepEmbedding",
    "Trace",
    "TraceError",
    "Trained",
    "TransformerXL",
    "alibi_bias",
    "alibi_slopes",
    "attach",
    "attend",
    "attention_backend",
    "augment_coordinates",
    "axial_waves",
    "axis",
    "axis_bias",
    "axis_fourier_code",
    "band_limited",
    "band_means",
    "bucket_bias",
    "check",
    "complex_order",
    "contextual_bias",
    "contextual_query_bias",
    "contextual_values",
    "convolutional_context",
    "coord_conv1d",
    "coord_conv2d",
    "coordinates",
    "dead_leaves",
    "decomposed_bias",
    "detach",
    "dinov3_waves",
    "disabled",
    "effective_field",
    "factorised2d",
    "factorised2d_index",
    "flow_condition",
    "fold",
    "fourier_code",
    "fourier_features",
    "gaussian_frequencies",
    "grid",
    "half_to_interleaved",
    "height_code",
    "inside",
    "inspect",
    "interleaved_to_half",
    "join_tokens",
    "learned2d_code",
    "liere_rotations",
    "load",
    "log_axis_frequencies",
    "log_cpb",
    "log_offset",
    "mixed_waves",
    "octave_frequencies",
    "peg",
    "per_cell_conv2d",
    "piecewise_index",
    "positions",
    "probe",
    "record",
    "relative_bias",
    "relative_index",
    "remove",
    "resample_axis_table",
    "resample_table",
    "resample_table_dinov2",
    "resample_table_torchvision",
    "resize_relative_axis",
    "resize_relative_bias",
    "resize_relative_bias_geometric",
    "restore",
    "rotate",
    "rotate_half",
    "sample_bicubic",
    "sample_bilinear",
    "save",
    "set_padding",
    "shift_error",
    "simplex_waves",
    "sinusoid",
    "sinusoidal1d",
    "sinusoidal1d_code",
    "sinusoidal2d",
    "sinusoidal2d_big_vision",
    "sinusoidal2d_code",
    "sinusoidal2d_detr",
    "sinusoidal2d_mae",
    "sinusoidal2d_timm",
    "skew_symmetric",
    "spiral_waves",
    "split_tokens",
    "state",
    "status",
    "step_code",
    "step_code_adm",
    "t5_bucket",
    "trace",
    "transformer_xl_bias",
    "unfold",
    "wave_angles",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'visionpe' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
