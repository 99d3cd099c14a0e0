"""A source of position, and what it costs."""

from dataclasses import dataclass, field
from typing import Any, Literal, final

from torch import Tensor

Kind = Literal[
    "absolute",
    "sinusoidal",
    "relative",
    "relative_mlp",
    "decomposed",
    "rotary",
    "convolution",
    "padding",
]
_TO_PAIRS = ("relative", "relative_mlp", "decomposed")
_ANGLE = 4  # bytes: angles are float32


@final
@dataclass(frozen=True)
class Source:
    """Where a model gets position from.

    Attributes:
        kind: "absolute", a learned table added to tokens or a map; "sinusoidal", one that does not
            learn, or is computed; "relative", a table of offsets; "relative_mlp", a network of
            offsets; "decomposed", a table of rows and one of columns; "rotary"; "convolution", one
            that stands for position (PEG); "padding".
        module: its name in the model.
        attribute: of the module; several are joined by ", "; None: it is computed.
        shape: of the first attribute.
        grid: rows and columns that it was made for: of the map, or of a window; None: any, or they
            cannot be told.
        prefix: tokens without a place that it counts too.
        heads: of a bias.
        width: channels of a table, features that are rotated of each head, or the kernel's size.
        parameters: how many numbers it holds, learned ones.
        trainable: whether all of these are.
        mode: of padding.
        count: of padding: how many modules; of rotations: how many different ones it makes, of
            heads and blocks.
        tokens: that it acts on, the queries of a bias: at the traced size, or at its own grid.
        keys: of a bias: how many each query meets; None: as many as there are queries.
        values: the first attribute itself.
    """

    kind: Kind
    module: str
    attribute: str | None = None
    shape: tuple[int, ...] = ()
    grid: tuple[int, int] | None = None
    prefix: int = 0
    heads: int | None = None
    width: int | None = None
    parameters: int = 0
    trainable: bool = False
    mode: str | None = None
    count: int = 1
    tokens: int | None = None
    keys: int | None = None
    itemsize: int = 4
    values: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> str:
        """Of the attribute, or of the module: as `model.get_parameter` takes it."""
        return ".".join(filter(None, (self.module, self.attribute)))

    def memory(self, tokens: int | None = None) -> int | None:
        """Bytes that a forward needs for it at so many tokens, of one image or window.

        A table: its rows. A bias: `heads n m`, for `m` keys, as it is added to the logits.
        Rotations: sine and cosine of each rotated feature. Convolutions and padding: nothing that
        stays.

        Args:
            tokens: by default those that it acts on; None if it cannot be told. There are then as
                many more keys, or fewer, as there are tokens.

        >>> Source("relative", "attn", heads=2, grid=(2, 2), tokens=4).memory()
        128
        """
        n = tokens or self.tokens
        if self.kind in ("convolution", "padding"):
            return 0
        if n is None:
            return None
        if self.kind in _TO_PAIRS:
            if self.heads is None:
                return None
            keys = n if self.keys is None else n * self.keys // (self.tokens or self.keys)
            return self.heads * n * keys * self.itemsize
        if self.width is None:
            return None
        if self.kind == "rotary":
            return 2 * n * self.width * self.count * _ANGLE
        return n * self.width * self.itemsize

    def to_dict(self) -> dict[str, Any]:
        """Everything but the values, as JSON takes it."""
        kept = {k: v for k, v in vars(self).items() if k not in ("values", "itemsize")}
        return {**kept, "shape": list(self.shape), "memory": self.memory()}
