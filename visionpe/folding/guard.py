"""What a folded model refuses: other sizes, frames, and new parameters for what is folded."""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from visionpe.attaching.folded import Folded
from visionpe.folding.constants import Constants
from visionpe.folding.errors import FoldError
from visionpe.folding.norms import FoldedNorm
from visionpe.frame import Frame


class Stand(NamedTuple):
    """A method of an encoding, for which constants stand; or of what adds its map behind it."""

    encoding: nn.Module
    method: str

    def put(self, constants: Constants | FoldedNorm) -> None:
        """Sets the constants above the class's method."""
        self.encoding._modules[self.child] = constants
        setattr(self.encoding, self.method, constants.act)

    def take(self) -> None:
        """Leaves the encoding as it was."""
        delattr(self.encoding, self.method)
        del self.encoding._modules[self.child]

    @property
    def child(self) -> str:
        """The name of the constants among the encoding's children."""
        return f"folded_{self.method}"


class Guard(Folded):
    """The hooks of a folded model.

    Attributes:
        stands: for which methods of which encodings there are constants.
        norms: normalisations that add a map on their way.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int], stands: list[Stand]) -> None:
        super().__init__(size)
        self.stands = stands
        self.norms: list[Stand] = []
        encodings = {id(stand.encoding): stand.encoding for stand in stands}
        # First of all: `visionpe.attach` takes the frame from the arguments.
        self.handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self.before, with_kwargs=True, prepend=True),
            *(
                module.register_load_state_dict_pre_hook(self.loading)
                for module in {id(model): model, **encodings}.values()
            ),
        ]

    def close(self) -> None:
        """Leaves the model as it was."""
        for handle in self.handles:
            handle.remove()
        for stand in [*self.norms, *self.stands]:
            stand.take()

    def before(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Looks at what the model is given.

        Raises:
            FoldError: if it is a frame, or images of another size.
        """
        h, w = self.size
        given = [*args, *kwargs.values()]
        name = type(module).__name__
        if any(isinstance(value, Frame) for value in given):
            raise FoldError(
                f"`frame` must not be given: {name} is folded for whole images of {h} x {w} "
                "pixels. Call visionpe.unfold(model) first."
            )
        images = next((value for value in given if isinstance(value, Tensor)), None)
        if images is None or images.dim() != 4:
            return
        if tuple(images.shape[-2:]) != self.size:
            raise FoldError(
                f"`images` must be {h} x {w} pixels, for which {name} is folded, but are "
                f"{images.shape[-2]} x {images.shape[-1]}. Call visionpe.unfold(model), and fold "
                "for their size."
            )

    def loading(self, module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Looks at a state before any of it is loaded.

        Raises:
            FoldError: if it holds parameters of what is folded.
        """
        encodings = {id(stand.encoding) for stand in self.stands}
        names = [name for name, part in module.named_modules() if id(part) in encodings]
        starts = tuple(f"{prefix}{name}." if name else prefix for name in names)
        key = next((key for key in state if key.startswith(starts)), None)
        if key is not None:
            raise FoldError(
                f"`{key}` must not be loaded while its encoding is folded: it would have no "
                "effect. Call visionpe.unfold(model), load, and fold again."
            )
