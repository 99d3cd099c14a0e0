"""For each option of each public encoding another value than its default: none may do nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import visionpe
from visionpe import EuclideanBuckets


@dataclass(frozen=True)
class Options:
    """How to make an encoding, and what to change.

    Attributes:
        base: arguments without a default.
        other: by option, another value than its default.
        beside: by option, arguments that both sides have besides, for it to mean anything.
        size: `(h, w)` of the call.
        channels: of the map, if not as many as the record's first sample has.
    """

    base: Mapping[str, Any]
    other: Mapping[str, Any]
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    size: tuple[int, int] = (5, 7)
    channels: int | None = None


_CONVOLUTION = Options(
    {"in_channels": 8, "out_channels": 8, "kernel_size": 3},
    {
        "stride": 2,
        "padding": 1,
        "dilation": 2,
        "groups": 2,
        "bias": False,
        "padding_mode": "circular",
        "device": "meta",
        "dtype": torch.float64,
        "radius": True,
        "align_corners": True,
        "zero_init": False,
    },
    beside={"padding_mode": {"padding": 1}},
)
_TURNS = {"theta": 30.0, "cells": (9, 7), "layout": "half"}
_WAVES = {"temperature": 30.0, "cells": (9, 7)}

OPTIONS: dict[type[nn.Module], Options] = {
    visionpe.RelativeBias: Options(
        {"heads": 2, "window": (5, 7)}, {"prefix_bias": True, "std": 0.02}
    ),
    visionpe.LogCPB: Options(
        {"heads": 2, "window": (5, 7)}, {"hidden": 16, "baseline": 0.0, "std": 0.02}
    ),
    visionpe.AxisBias: Options({"heads": 2, "window": (5, 7)}, {"std": 0.02}),
    visionpe.BucketBias: Options(
        {"heads": 2}, {"buckets": 16, "max_distance": 20, "std": 0.02}, size=(2, 30)
    ),
    visionpe.Alibi2d: Options({"heads": 2}, {"learned": True}),
    visionpe.DecomposedBias: Options({"head_dim": 16, "window": (5, 7)}, {"std": 0.02}),
    visionpe.Shaw: Options(
        {"head_dim": 16},
        {"heads": 2, "buckets": EuclideanBuckets(), "on_values": False, "std": 0.02},
    ),
    visionpe.TransformerXL: Options(
        {"heads": 2, "head_dim": 16}, {"width": 8, "temperature": 30.0, "std": 0.02}
    ),
    visionpe.IRPEBias: Options({"heads": 2}, {"buckets": EuclideanBuckets()}),
    visionpe.IRPEContextual: Options(
        {"head_dim": 16},
        {
            "heads": 2,
            "buckets": EuclideanBuckets(),
            "on_queries": True,
            "on_keys": False,
            "on_values": True,
        },
        beside={"on_keys": {"on_queries": True}},
    ),
    visionpe.AddCoords: Options({}, {"radius": True, "align_corners": True}),
    visionpe.CoordConv2d: _CONVOLUTION,
    visionpe.CoordConv1d: _CONVOLUTION,
    visionpe.Sinusoidal2d: Options({}, _WAVES),
    visionpe.AppendSinusoidal2d: Options({"width": 8}, _WAVES),
    visionpe.Sinusoidal1d: Options({}, {"temperature": 30.0, "cells": 9}),
    visionpe.MaskedSinusoidal2d: Options({}, {"temperature": 30.0, "offset": -0.5}),
    visionpe.Learned2d: Options(
        {"channels": 8, "cells": (3, 4)}, {"bicubic": False, "init_std": 0.02}
    ),
    visionpe.Factorised2d: Options(
        {"channels": 8, "cells": (8, 8)}, {"fractional": False, "init_std": 0.02}
    ),
    visionpe.FourierFeatures: Options({"bands": 4}, {"sigma": 2.0, "trainable": True, "seed": 1}),
    visionpe.AddFourierFeatures: Options(
        {"channels": 8, "bands": 4}, {"sigma": 2.0, "trainable": True, "seed": 1, "init_std": 0.02}
    ),
    visionpe.NerfFeatures: Options({"octaves": 3}, {}),
    visionpe.LogAxisFeatures: Options({"bands": 4}, {"octaves": 3.0}),
    visionpe.PEG: Options(
        {"channels": 8},
        {"kernel_size": 5, "padding_mode": "reflect", "bias": False, "zero_init": False},
    ),
    visionpe.ConvolutionalContext2d: Options(
        {"channels": 16},
        {
            "kernel_size": 3,
            "groups": 4,
            "padding_mode": "replicate",
            "weight_norm": True,
            "zero_init": False,
        },
        channels=16,
    ),
    visionpe.ConvolutionalContext1d: Options(
        {"channels": 16},
        {
            "kernel_size": 3,
            "groups": 4,
            "padding_mode": "replicate",
            "weight_norm": True,
            "zero_init": False,
        },
        channels=16,
    ),
    visionpe.HeightAttention: Options(
        {"channels": 8},
        {
            "lower_channels": 6,
            "reduction": 2,
            "bands": 3,
            "rows": 7,
            "dropout": 0.5,
            "jitter": 2.0,
            "position": False,
            "identity": True,
        },
    ),
    visionpe.HyperScale: Options({"channels": 8}, {"hidden": 5, "zero_init": False}),
    visionpe.HyperConv2d: Options(
        {"channels": 8}, {"kernel_size": 5, "groups": 2, "hidden": 5, "zero_init": False}
    ),
    visionpe.ComplexOrder: Options({"channels": 8}, {**_WAVES, "zero_init": False}),
    visionpe.AppendComplexOrder: Options({"width": 8}, {**_WAVES, "zero_init": False}),
    visionpe.Rotary: Options({}, {**_TURNS, "order": "yx"}),
    visionpe.RotaryMixed: Options({"heads": 2, "head_dim": 16}, _TURNS),
    visionpe.RotaryDINOv3: Options(
        {},
        {
            "base": 30.0,
            "normalize": "max",
            "shift": 0.5,
            "jitter": 1.5,
            "rescale": 2.0,
            "layout": "interleaved",
        },
    ),
    visionpe.RotarySimplex: Options({}, _TURNS),
    visionpe.RotarySpiral: Options({}, {**_TURNS, "directions": 4}),
    visionpe.LieRE: Options(
        {"heads": 2, "head_dim": 16}, {"block": 4, "init": "uniform", "unit": (3, 5)}
    ),
    visionpe.LearnedConstant: Options({}, {"channels": 3, "h": 5, "w": 6, "init": "randn"}),
    visionpe.FourierInput: Options(
        {},
        {"channels": 3, "h": 5, "w": 6, "sampling_rate": 8.0, "bandwidth": 1.0, "latent": 4},
    ),
    visionpe.StepEmbedding: Options({"width": 8}, {"out": 5, "adm": True, "max_period": 30.0}),
    visionpe.FlowEmbedding: Options({"flows": 4, "channels": 8}, {"width": 5, "zero_init": False}),
}
