"""What one run remembers, and what its rules are given."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

Arguments = dict[str, Any]  # of an operation, by the names of its schema
Rule = Callable[[Arguments, "Run"], Any]


class Frame:
    """A module whose forward is running.

    Attributes:
        name: of the module in the model.
        leaf: whether it has neither children nor parameters: `nn.Softmax` and its like.
        calls: how many of each kind of call its forward has made so far, its children's included.
        logits: which of its matrix products made the last logits.
    """

    def __init__(self, name: str, leaf: bool) -> None:
        self.name = name
        self.leaf = leaf
        self.calls: Counter[str] = Counter()
        self.logits: int | None = None


class Run:
    """What the run along one axis found.

    Attributes:
        extent: size of the image in pixels along this axis.
        stack: the modules that are running, the innermost last.
        found: one entry a site, in the order of execution.
        unknown: operations without a rule: their results have no place.
        logits: how many matrix products of queries and keys there were.
        width: the number of elements summed over in the last of them: the width of a head.
        attended: how many calls of attention with placed queries each module made.
        placeless: of these modules, those that returned nothing with a place.
        still: modules whose queries are all put to one place, to see whether they leave it.
        paused: true while tensors hold numbers, not places.
    """

    def __init__(self, extent: int, still: frozenset[str] = frozenset()) -> None:
        self.extent = float(extent)
        self.still = still
        self.stack: list[Frame] = []
        self.found: list[Any] = []
        self.unknown: Counter[str] = Counter()
        self.logits = 0
        self.width = 0
        self.attended: Counter[str] = Counter()
        self.placeless: set[str] = set()
        self.paused = False

    def owner(self) -> Frame:
        """The innermost running module that is more than a function."""
        return next((frame for frame in reversed(self.stack) if not frame.leaf), self.stack[0])

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Inside, tensors are ordinary numbers."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before


def is_float(x: object) -> bool:
    """Whether something is a tensor of floating point numbers."""
    return isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())


def words(text: str) -> frozenset[str]:
    """Names, as they are easiest read."""
    return frozenset(text.split())


def floats(arguments: Arguments) -> list[Tensor]:
    """All floating point tensors among the arguments."""
    return [x for x in tree_leaves((arguments["args"], arguments["kwargs"])) if is_float(x)]
