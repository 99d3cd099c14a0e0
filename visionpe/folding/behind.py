"""Which batch normalisations stand right behind folded convolutions, found in one run."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from visionpe.attaching.in_convs import InConv
from visionpe.folding.convs import FoldedTerm
from visionpe.folding.norms import FoldedNorm


def norms_behind(
    model: nn.Module, run: Callable[[], object], terms: dict[nn.Module, FoldedTerm]
) -> list[tuple[FoldedTerm, FoldedNorm]]:
    """Pairs of a convolution's term and the one thing that the convolution's result goes to.

    Args:
        model: is folded, and in evaluation mode.
        run: calls it.
        terms: by encoding, the constants that stand for it.
    """
    convs, norms = _folded_convs(model, terms), _norms(model)
    watch = _Watch()
    handles = [conv.register_forward_hook(watch.leave) for conv in convs]
    handles += [norm.register_forward_pre_hook(watch.enter) for norm in norms]
    for other in set(model.modules()) - {*convs, *norms}:
        handles += [
            other.register_forward_pre_hook(watch.enter_other, with_kwargs=True),
            other.register_forward_hook(watch.leave_other),
        ]
    try:
        with watch:
            run()
    finally:
        for handle in handles:
            handle.remove()
    pairs = ((conv, watch.norm_behind(conv)) for conv in convs)
    return [(convs[conv], FoldedNorm(norm, conv)) for conv, norm in pairs if norm is not None]


class _Watch(TorchDispatchMode):
    """Follows the results of convolutions to the operations and modules that see them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has none
        self.results: dict[nn.Module, list[Tensor]] = {}
        self.seen: dict[int, list[str]] = {}  # by id of a result: all are alive
        self.inputs: dict[nn.BatchNorm2d, list[Tensor]] = {}

    def leave(self, conv: nn.Module, args: Any, result: Tensor) -> None:
        """A convolution is done."""
        self.results.setdefault(conv, []).append(result)
        self.seen[id(result)] = []

    def enter(self, norm: nn.BatchNorm2d, args: Any) -> None:
        """A normalisation begins."""
        self.inputs.setdefault(norm, []).extend(args)

    def enter_other(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Another module begins: hooks on it would see what it is given."""
        self._note((args, kwargs), "a module's argument")

    def leave_other(self, module: nn.Module, args: Any, result: Any) -> None:
        """Another module is done: hooks on it would see what it returns."""
        self._note(result, "a module's result")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._note((args, kwargs), str(func))
        return func(*args, **kwargs)

    def _note(self, values: Any, what: str) -> None:
        for leaf in tree_leaves(values):
            if id(leaf) in self.seen:
                self.seen[id(leaf)].append(what)

    def norm_behind(self, conv: nn.Module) -> nn.BatchNorm2d | None:
        """The normalisation that alone sees what it alone is given; None: there is none."""
        results = self.results.get(conv, [])
        if len(results) != 1:
            return None
        seen = self.seen[id(results[0])]
        if len(seen) != 1 or "batch_norm" not in seen[0]:
            return None
        return next((norm for norm, x in self.inputs.items() if _is_one(x, results[0])), None)


def _folded_convs(
    model: nn.Module, terms: dict[nn.Module, FoldedTerm]
) -> dict[nn.Module, FoldedTerm]:
    """The convolutions on which there is one hook, that of a folded term."""
    found = {}
    for module in model.modules():
        hooks = list(module._forward_hooks.values())
        if len(hooks) == 1 and isinstance(hooks[0], InConv):
            constants = terms.get(hooks[0].held.now())
            if constants is not None:
                found[module] = constants
    return found


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Plain normalisations by known numbers: no class of their own, and nothing set on them."""
    return [
        module
        for module in model.modules()
        if type(module) is nn.BatchNorm2d
        and module.running_mean is not None
        and "forward" not in vars(module)
    ]


def _is_one(given: list[Tensor], result: Tensor) -> bool:
    return len(given) == 1 and given[0] is result
