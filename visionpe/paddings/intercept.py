"""The function mode in which a module's own forward runs, so that no forward is copied."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from visionpe.paddings.modes import Mode, Reach, pad_map
from visionpe.paddings.windows import Windows

Operation = Callable[["Swapped", Any, Any, dict[str, Any]], Any]


class Swapped(TorchFunctionMode):
    """Pads with something else wherever an operation pads a map.

    Args:
        mode: what with.
        operations: what to do instead, for each that pads.
    """

    def __init__(self, mode: Mode, operations: Mapping[Any, Operation]) -> None:
        super().__init__()
        self.operations = operations
        self.mode = mode
        self.padded: tuple[Tensor, Tensor, Reach, Reach] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function, or what it is with other pads."""
        operation = self.operations.get(func)
        if operation is None:
            return func(*args, **(kwargs or {}))
        return operation(self, func, args, kwargs or {})

    def slide(
        self, x: Tensor, rows: Windows, columns: Windows, run: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Windows over a map; `run` slides them over a map as it is, without pads.

        Without padding ("none") only windows that lie in the map are evaluated, and the others
        take what the nearest of these gives. A map that holds no whole window is repeated at its
        edges until it does, in the middle.
        """
        if self.mode != "none":
            return run(pad_map(x, rows.reach, columns.reach, self.mode))
        (top, above, below), fill_rows = rows.whole(x.shape[-2])
        (left, before, behind), fill_columns = columns.whole(x.shape[-1])
        x = x[..., top:, left:]
        if any((*fill_rows, *fill_columns)):
            x = pad_map(x, fill_rows, fill_columns, "none")
        inside = run(x)
        return pad_map(inside, (above, below), (before, behind), "none")
