"""What one call of a model is given, on its way to the encodings attached to its modules."""

from contextvars import ContextVar
from typing import Any, NamedTuple, Optional
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

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
        first: the number of the first node of its graph, as autograd counts them in a thread.
        made: coordinates that one of its layers has made, for those with as many cells; None: of a
            graph that is captured, or no call of a whole model.
    """

    frame: Frame | None = None
    size: tuple[int, int] | None = None
    outer: Optional["Call"] = None
    caller: object = None
    first: int = 0
    made: dict[object, Tensor] | None = None


# Each thread, and each task of asyncio, has its own value.
_CALL: ContextVar[Call | None] = ContextVar("visionpe_call", default=None)
_ALONE = Call()  # a part of a model, called by itself


class Recorded:
    """A call whose graph is alive: nodes `call.first` to `end` of it."""

    def __init__(self, call: Call, end: int) -> None:
        self.call = call
        self.end = end


class Caller:
    """Knows the call of one model that is running.

    In the thread's context; while a graph is captured, which cannot write there, in itself. Layers
    that are computed again in the backward pass (checkpointing) find their call by the number of
    the node of the graph that asks for them.
    """

    def __init__(self) -> None:
        self.captured: Call | None = None
        self.framed = False  # whether the model was ever given a frame
        self.recorded: WeakSet[Recorded] = WeakSet()  # the graphs hold them

    def __reduce__(self) -> Any:
        """A copied model has not been called."""
        return Caller, ()

    def begin(self, args: tuple[object, ...], frame: object) -> None:
        """A call of the model begins.

        Args:
            args: of the model, those by keyword too; its images are the first tensor.
            frame: of the images.

        Raises:
            TypeError: if `frame` is no frame.
            ValueError: if it belongs to another number of images.
        """
        if frame is not None and not isinstance(frame, Frame):
            raise TypeError(f"`frame` must be a visionpe.Frame, but is {type(frame).__name__}.")
        images = next((x for x in args if isinstance(x, Tensor)), None)
        size = None
        if images is not None and images.dim() == 4:
            require_batch(frame, images.shape[0])
            size = (images.shape[-2], images.shape[-1])
        if torch.compiler.is_compiling():
            self.captured = Call(frame, size)
            return
        self.framed = self.framed or frame is not None
        first = torch._C._autograd._get_sequence_nr()
        _CALL.set(Call(frame, size, _CALL.get(), self, first, {}))

    def end(self, output: object) -> None:
        """The model's call is over, if it has begun.

        Args:
            output: of the model; None, if it failed.
        """
        if torch.compiler.is_compiling():
            self.captured = None
            return
        call = _CALL.get()
        if call is None or call.caller is not self:
            return
        _CALL.set(call.outer)
        nodes = [x.grad_fn for x in tree_leaves(output) if isinstance(x, Tensor) and x.grad_fn]
        if nodes:
            recorded = Recorded(call, torch._C._autograd._get_sequence_nr())
            self.recorded.add(recorded)
            for node in nodes:
                metadata: Any = node.metadata
                metadata["visionpe", id(self)] = recorded  # dies with the graph

    def current(self) -> Call:
        """The call that is running, or whose layers are computed again in the backward pass.

        Raises:
            AttachError: if that call cannot be told.
        """
        if torch.compiler.is_compiling():
            return self.captured or _CALL.get() or _ALONE
        call = _CALL.get()
        if call is not None:
            return call
        # As torch.utils.checkpoint does: a number if this thread is in a backward pass.
        if torch._C._current_graph_task_id() == -1:
            return _ALONE
        number = torch._C._current_autograd_node()._sequence_nr()
        calls = [one.call for one in self.recorded if one.call.first <= number < one.end]
        if len(calls) == 1:
            return calls[0]
        if self.framed:
            raise AttachError(
                "A frame cannot reach layers that are computed again in this backward pass: "
                f"{len(calls)} calls of the model may have made them. Keep the model's output "
                "until then and call it from one thread, turn gradient checkpointing off, or call "
                "the model without `frame`."
            )
        return _ALONE
