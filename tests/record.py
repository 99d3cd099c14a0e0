"""One record an encoding, from which the suites are generated; `tests/catalogue/` holds them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from torch import nn


class Kind(Enum):
    """What an encoding is called with."""

    MAP = "a map `b c h w`, and a frame"
    POINT = "a map `b c h w` and a frame, or tokens `b n c` and their places"
    ATTENTION = "q, k, v `b heads n d`, and places"
    OTHER = "its own arguments: see `inputs`"


@dataclass(frozen=True)
class Sample:
    """One way to make an encoding, with inputs that fit it.

    Attributes:
        make: makes the module, on the default device, in float32.
        channels: of the map or tokens it acts on (maps and points).
        heads, head_dim: of the queries (attention).
        sizes: `(h, w)` of maps, or of the lattices of queries, that it accepts.
        key_sizes: of keys, where they differ from the queries' (attention).
        scale_free: False for a setting that gives up what the record promises of a resize.
        leaves_unplaced: False for a setting that is asked to act on tokens without a place.
    """

    make: Callable[[], nn.Module]
    channels: int = 8
    heads: int = 2
    head_dim: int = 16
    sizes: tuple[tuple[int, int], ...] = ((5, 7), (8, 4), (1, 6), (6, 1), (1, 1))
    key_sizes: tuple[tuple[int, int], ...] = ((3, 4),)
    scale_free: bool = True
    leaves_unplaced: bool = True


@dataclass(frozen=True)
class Record:
    """What the catalogue promises of a public encoding.

    Attributes:
        encoding: the public class.
        kind: what it is called with.
        source: arXiv id, or DOI; it must stand in the docstring of the class's module.
        samples: constructors of at least two settings, one of them not the default.
        laws: names of tests that state what must hold, `test_file.py::test_name`; at least three
            with `not_laws`.
        not_laws: names of tests that state what must *not* hold; at least one.
        oracles: names of tests against an implementation that is not ours, or against a loop
            straight from the paper's formula; at least one.
        absolute: the code of a pixel is its own in the image, a crop, a tile, a flip and (with
            `scale_free`) after a resize, to 1e-6.
        scale_free: ... after a resize too, at the same point of the image.
        relative: (attention) what is added or rotated depends on differences of places only.
        random: training mode draws numbers (jitter, noise, dropout).
        inputs: for `Kind.OTHER`: makes the arguments of a call, given the sample, `(h, w)`, a
            batch size, a dtype.
        no_grad: parameters that rightly get no gradient in the sample call, with the reason.
        no_export: why it does not export with open sizes; empty: it does.
        no_onnx: why it has no ONNX form; empty: it has.
        exempt: other checks of `visionpe.check` that it rightly does not pass, with the reason;
            each of them must indeed fail.
        aspect: the code along one axis depends on the other axis' length.
    """

    encoding: type[nn.Module]
    kind: Kind
    source: str
    samples: tuple[Sample, ...]
    laws: tuple[str, ...]
    not_laws: tuple[str, ...]
    oracles: tuple[str, ...]
    absolute: bool = False
    scale_free: bool = False
    relative: bool = False
    random: bool = False
    inputs: Callable[[Sample, tuple[int, int], int, torch.dtype], tuple[Any, ...]] | None = None
    no_grad: dict[str, str] = field(default_factory=dict)
    no_export: str = ""
    no_onnx: str = ""
    exempt: dict[str, str] = field(default_factory=dict)
    aspect: bool = False

    @property
    def name(self) -> str:
        """The public name."""
        return self.encoding.__name__
