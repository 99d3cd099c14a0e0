"""One run of a model in which its encodings say what they do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from visionpe.attaching.in_convs import CoordTerm
from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding, PointEncoding
from visionpe.encodings.coordconv import CoordConv2d
from visionpe.folding.attention import FoldedBias, FoldedTurns, Values
from visionpe.folding.constants import Constants
from visionpe.folding.convs import FoldedConv, FoldedTerm
from visionpe.folding.guard import Stand
from visionpe.folding.maps import FoldedMap, FoldedTokens


class Kind(NamedTuple):
    """A method of a class of encodings, and the constants that may stand for it."""

    encoding: type[nn.Module]
    method: str
    constants: Callable[[Any], Constants]

    def of(self, module: nn.Module) -> bool:
        """Whether a module has a method of this kind, one that does something."""
        if not isinstance(module, self.encoding) or self.method in vars(module):
            return False
        base = vars(AttentionEncoding).get(self.method)
        return base is None or getattr(type(module), self.method) is not base


KINDS = [
    Kind(CoordTerm, "forward", FoldedTerm),
    Kind(CoordConv2d, "forward", FoldedConv),
    Kind(MapEncoding, "forward", FoldedMap),
    Kind(PointEncoding, "tokens", FoldedTokens),
    Kind(AttentionEncoding, "bias", FoldedBias),
    Kind(AttentionEncoding, "rotate", FoldedTurns),
    Kind(AttentionEncoding, "values", Values),
]


class Listener:
    """Stands before a method of an encoding, and makes constants of each call.

    Attributes:
        module: the encoding's name in the model.
        stand: which method of which encoding.
        constants: of what it did so far.
        why: they cannot stand for it; None: they can.
        calls: how many there were.
    """

    def __init__(self, module: str, encoding: nn.Module, kind: Kind) -> None:
        self.module = module
        self.stand = Stand(encoding, kind.method)
        self.constants = kind.constants(encoding)
        self.own = getattr(encoding, kind.method)
        self.why: str | None = None
        self.calls = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The method's result."""
        self.calls += 1
        if self.why is None:
            self.why = self.constants.bake(self.own, *args, **options)
        return self.own(*args, **options)


@contextmanager
def listening(model: nn.Module) -> Iterator[list[Listener]]:
    """Inside, every encoding in the model makes constants of each of its calls."""
    listeners = [
        Listener(name, module, kind)
        for name, module in model.named_modules()
        for kind in KINDS
        if kind.of(module)
    ]
    for listener in listeners:
        setattr(listener.stand.encoding, listener.stand.method, listener)
    try:
        yield listeners
    finally:
        for listener in listeners:
            delattr(listener.stand.encoding, listener.stand.method)
