"""What one call of a model is given, on its way to the encodings attached to its modules."""

from contextvars import ContextVar
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from visionpe.attaching.errors import AttachError
from visionpe.encodings.base import require_batch
from visionpe.frame import Frame


class Call(NamedTuple):
    """A call of a model.

    Attributes:
        frame: where its images sit in their originals.
        size: `(h, w)` of its images in pixels; None: it was given something else.
        outer: the call within which it was made.
        caller: of the model whose call it is.
    """

    frame: Frame | None = None
    size: tuple[int, int] | None = None
    outer: Optional["Call"] = None
    caller: object = None


# Each thread, and each task of asyncio, has its own value.
_CALL: ContextVar[Call | None] = ContextVar("visionpe_call", default=None)
_ALONE = Call()  # a part of a model, called by itself


class Caller:
    """Knows the call of one model that is running.

    In the thread's context; while a graph is captured, which cannot write there, in itself.
    """

    def __init__(self) -> None:
        self.captured: Call | None = None
        self.framed = False  # whether the model was ever given a frame

    def begin(self, args: tuple[object, ...], frame: object) -> None:
        """A call of the model begins.

        Raises:
            TypeError: if `frame` is no frame.
            ValueError: if it belongs to another number of images.
        """
        if frame is not None and not isinstance(frame, Frame):
            raise TypeError(f"`frame` must be a visionpe.Frame, but is {type(frame).__name__}.")
        images = args[0] if args else None
        size = None
        if isinstance(images, Tensor) and images.dim() == 4:
            require_batch(frame, images.shape[0])
            size = (images.shape[-2], images.shape[-1])
        if torch.compiler.is_compiling():
            self.captured = Call(frame, size)
            return
        self.framed = self.framed or frame is not None
        _CALL.set(Call(frame, size, _CALL.get(), self))

    def end(self) -> None:
        """The model's call is over, if it has begun."""
        if torch.compiler.is_compiling():
            self.captured = None
            return
        call = _CALL.get()
        if call is not None and call.caller is self:
            _CALL.set(call.outer)

    def current(self) -> Call:
        """The call that is running.

        Raises:
            AttachError: if a layer is computed again in the backward pass, where its frame is
                unknown.
        """
        if torch.compiler.is_compiling():
            return self.captured or _CALL.get() or _ALONE
        call = _CALL.get()
        if call is not None:
            return call
        # As torch.utils.checkpoint does: a number if this thread is in a backward pass.
        if self.framed and torch._C._current_graph_task_id() != -1:
            raise AttachError(
                "A frame cannot reach layers that are computed again in the backward pass. "
                "Turn gradient checkpointing off, or call the model without `frame`."
            )
        return _ALONE
