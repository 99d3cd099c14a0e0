"""What was found, as a person wants it: one site for each map, convolution and attention."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, final

from visionpe.places import Places
from visionpe.tracing.calls import Call
from visionpe.tracing.lattices import Lattice

Kind = Literal["map", "tokens", "conv", "attention"]


class Scattered(NamedTuple):
    """Cells of a map in another order than row by row.

    Attributes:
        lattice: of the cells.
        order: which cell, counted row by row, each placed token is.
    """

    lattice: Lattice
    order: tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Site:
    """A tensor of the model whose elements sit at places in the image.

    Attributes:
        module: its name in the model.
        kind: "map" or "tokens": what the module returns; "conv": what a convolution takes;
            "attention": queries and keys.
        shape: of that tensor; of attention: all dimensions of the queries but the width.
        layout: "NCHW", "NHWC", "NLC" or "NCL"; None: another, or of attention.
        lattice: of its placed elements, all windows together (of the queries; of the keys where
            queries have no place); None: they are no lattice.
        scattered: of tokens that are all cells of a map, each once, in another order; `lattice` is
            then None.
        prefix, suffix: tokens without a place before and behind the others.
        windows: how many there are; 1: no windows.
        window: rows and columns of one of them, if they are a lattice.
        call: how attention is computed: "sdpa" (`scaled_dot_product_attention`), "softmax" (a
            matrix product, a softmax) or "mha" (`F.multi_head_attention_forward`).
        number: the how-manieth such call in one forward of the module, from 0.
        product: of "softmax": the how-manieth matrix product of that forward makes the logits.
        heads, head_dim: of attention; None where they cannot be told.
        head_axis: the dimension of `shape` that counts heads, from behind and with the width
            (-3: `b heads n d`); None: they are folded into another, or there is one.
        queries: `windows n 2`; None: they have no place (class attention, pooling).
        keys: `windows m 2`, in cells of the queries' lattice as well, so that they compare.
        key_lattice: of the keys.
        kernel, stride: of a convolution.
        transposed: whether it is a transposed one.
    """

    module: str
    kind: Kind
    shape: tuple[int, ...]
    layout: str | None = None
    lattice: Lattice | None = None
    scattered: Scattered | None = None
    prefix: int = 0
    suffix: int = 0
    windows: int = 1
    window: tuple[int, int] | None = None
    call: Call | None = None
    number: int = 0
    product: int | None = None
    heads: int | None = None
    head_dim: int | None = None
    head_axis: int | None = None
    queries: Places | None = None
    keys: Places | None = None
    key_lattice: Lattice | None = None
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    transposed: bool = False

    @property
    def cells(self) -> Lattice | None:
        """The lattice of its elements, in whatever order they are."""
        return self.scattered.lattice if self.scattered else self.lattice
