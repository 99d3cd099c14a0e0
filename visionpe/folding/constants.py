"""Numbers that stand for what an encoding does while a model is folded."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from visionpe.folding.errors import FoldError


class Constants(nn.Module, ABC):
    """Tensors, or None for what does nothing, by the sizes that they were made for.

    They move with the model, from device to device and to channels last, but are never cast: what
    is made of them has the dtype of the input. They are no part of the model's state.

    Attributes:
        encoding: what they stand for.
        sizes: what they were made for: "3 x 5 cells".
    """

    what: str  # they are, in a person's words

    def __init__(self, encoding: nn.Module) -> None:
        super().__init__()
        self.encoding = type(encoding).__name__
        self.sizes: list[str] = []

    @abstractmethod
    def bake(self, own: Callable[..., Any], *args: Any, **options: Any) -> str | None:
        """Keeps what a method does in a call, or says why it cannot be kept.

        Args:
            own: the encoding's method.
            args, options: of the call.
        """

    @abstractmethod
    def act(self, *args: Any, **options: Any) -> Any:
        """What the method does, from the constants."""

    def keep(self, size: str, **parts: Tensor | None) -> str | None:
        """Keeps constants for a size; refuses others than it has."""
        if size in self.sizes:
            same = map(_same, self.find(size, *parts), parts.values())
            return None if all(same) else f"it runs on different places with {size}"
        self.sizes.append(size)
        for name, value in parts.items():
            kept = None if value is None else value.detach().clone()
            self.register_buffer(_key(size, name), kept, persistent=False)
        return None

    def find(self, size: str, *names: str) -> list[Tensor | None]:
        """What was kept.

        Raises:
            FoldError: if nothing was kept for this size.
        """
        if size not in self.sizes:
            raise FoldError(
                f"{self.encoding} is folded for {' and '.join(self.sizes)}, but is given {size}. "
                "Call the model with images of the size that it is folded for, or "
                "visionpe.unfold(model) first."
            )
        return [self._buffers[_key(size, name)] for name in names]

    def numbers(self) -> int:
        """How many numbers are kept."""
        return sum(buffer.numel() for buffer in self.buffers())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def moved(tensor: Tensor) -> Tensor:
            new = fn(tensor)
            return new if new.dtype == tensor.dtype else tensor.to(new.device)

        return super()._apply(moved, recurse)  # type: ignore[no-untyped-call] # torch has none


def require_no_frame(constants: Constants, frame: object) -> None:
    """Refuses a frame: constants are those of whole images.

    Raises:
        FoldError: if there is one.
    """
    if frame is not None:
        raise FoldError(
            f"{constants.encoding} is folded for whole images, but is given a frame. Call "
            "visionpe.unfold(model) first."
        )


def once(x: Tensor, axis: int = 0) -> Tensor:
    """With one entry along an axis where all are the same.

    >>> import torch
    >>> once(torch.ones(3, 2)).shape, once(torch.arange(3)).shape
    (torch.Size([1, 2]), torch.Size([3]))
    """
    first = x.narrow(axis, 0, 1)
    return first if bool((x == first).all()) else x


def for_batch(x: Tensor, batch: int) -> Tensor:
    """A constant for each window, for so many windows of all samples: windows vary fastest."""
    return x if x.shape[0] in (1, batch) else x.repeat(batch // x.shape[0], *[1] * (x.dim() - 1))


def _key(size: str, name: str) -> str:
    return f"{name}_{size}".replace(" ", "_")


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and bool((a == b).all())
