"""Where everything in somebody else's model sits."""

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from visionpe.tracing.calls import Attended, Calls
from visionpe.tracing.codes import REACH, is_nowhere, is_pairs, nowhere
from visionpe.tracing.errors import TraceError
from visionpe.tracing.following import Following
from visionpe.tracing.making import (
    Output,
    attention_site,
    conv_site,
    output_site,
    squashed,
)
from visionpe.tracing.refusals import explained, require_plain
from visionpe.tracing.rules_product import Convolved
from visionpe.tracing.sites import Site
from visionpe.tracing.state import Frame, Run, is_float
from visionpe.tracing.table import table
from visionpe.tracing.untouched import untouched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@final
@dataclass(frozen=True, repr=False, eq=False)
class Trace:
    """The sites of a model at one size of input; `print` shows them as a table.

    Attributes:
        model: the class of the model.
        h, w: the size of the input in pixels.
        sites: all sites, in the order of execution.
        unknown: operations that `trace` does not know, with their number; what they return was
            taken to have no place.
    """

    model: str
    h: int
    w: int
    sites: list[Site]
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def attention(self) -> list[Site]:
        """The calls of attention whose keys have places."""
        return [site for site in self.sites if site.kind == "attention"]

    @property
    def convs(self) -> list[Site]:
        """What the convolutions take, as far as it has places."""
        return [site for site in self.sites if site.kind == "conv"]

    @property
    def outputs(self) -> list[Site]:
        """What the modules return: maps and tokens."""
        return [site for site in self.sites if site.kind in ("map", "tokens")]

    def at(self, module: str) -> list[Site]:
        """The sites of one module.

        Raises:
            KeyError: if it has none.
        """
        found = [site for site in self.sites if site.module == module]
        if not found:
            raise KeyError(f"`module` must be one of the traced modules, but is {module!r}.")
        return found

    def plot(self, site: Site | None = None) -> tuple["Figure", "Axes"]:
        """A site's places over the image: `(figure, axes)`; by default the first attention's.

        Args:
            site: one of `sites`.
        """
        from visionpe.tracing.picture import picture

        return picture(self, site)

    def __str__(self) -> str:
        """The table."""
        return table(self)

    def __repr__(self) -> str:
        """What was traced, and how much of each kind was found."""
        return (
            f"<Trace of {self.model} at {self.h} x {self.w}: {len(self.attention)} attention, "
            f"{len(self.convs)} conv, {len(self.outputs)} outputs>"
        )


def trace(model: nn.Module, h: int, w: int, *, channels: int = 3) -> Trace:
    """Finds where every activation, query and key of a model sits, for an input of `h x w` pixels.

    Runs the model on the processor, on the rows and on the columns of the image's pixels in place
    of colours, without its arithmetic, in evaluation mode; once more if it pools by attention. The
    model may be on any device, the meta device included, and is left as it was.

    Args:
        model: takes a batch of images `b c h w`.
        h, w: size of the images in pixels.
        channels: of the images.

    Raises:
        TypeError: if `model` is no module.
        ValueError: if `model` is wrapped or compiled, refuses images of this size, or has nothing
            that sits at places; if `h`, `w` or `channels` is out of range.
        TraceError: if the model can be run, but not followed.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU())
    >>> trace(net, 8, 12).at("1")[0].lattice
    Lattice(h=2, w=3, spacing=(4.0, 4.0), offset=(2.0, 2.0))
    """
    require_plain(model)
    for name, value in (("h", h), ("w", w), ("channels", channels)):
        if not 1 <= value < REACH / 2:
            raise ValueError(f"`{name}` must be 1 to {REACH / 2 - 1:.0f}, but is {value}.")
    rows, columns = (_follow(model, channels, (h, w), axis) for axis in range(2))
    pools = frozenset(m for m in rows.placeless if rows.attended[m] == 1)
    if pools:
        unused = _follow(model, channels, (h, w), 0, still=pools).placeless & pools
        rows, columns = (_without_queries(run, unused) for run in (rows, columns))
    sites = _pair_up(rows, columns, (h, w))
    if not sites:
        raise ValueError(
            f"`model` must have activations at places of an image {channels} x {h} x {w}, "
            f"but {type(model).__name__} has none. Does it take images, `b c h w`?"
        )
    return Trace(type(model).__name__, h, w, sites, dict(rows.unknown))


def _follow(
    model: nn.Module,
    channels: int,
    size: tuple[int, int],
    axis: int,
    still: frozenset[str] = frozenset(),
) -> Run:
    """One run, along rows (0) or columns (1)."""
    run = Run(size[axis], still)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # which hides operations
        line = torch.arange(size[axis], dtype=torch.float64) + 0.5
        image = (line[:, None] if axis == 0 else line).expand(1, channels, *size).clone()
        stack.enter_context(untouched(model))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name, module in model.named_modules():
            leaf = not any(True for _ in module.children()) and not any(
                True for _ in module.parameters(recurse=False)
            )
            module.register_forward_pre_hook(_enter(run, name, leaf))
            module.register_forward_hook(_leave(run, name))
        stack.enter_context(torch.no_grad())
        try:
            with Following(run), Calls(run):
                model(image)
        except Exception as error:
            where = ".".join(["model", *filter(None, [run.stack[-1].name if run.stack else ""])])
            failure: tuple[Exception, str] | None = (error, where)
        else:
            failure = None
    if failure is not None:
        raise explained(model, channels, size, *failure) from failure[0]
    return run


def _enter(run: Run, name: str, leaf: bool) -> Callable[[nn.Module, Any], None]:
    def hook(module: nn.Module, args: Any) -> None:
        run.stack.append(Frame(name, leaf))

    return hook


def _leave(run: Run, name: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        run.stack.pop()
        first = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, Tensor) and is_float(first) and first.dim() in (3, 4):
            with run.pause():
                # The logits of attention are no activations.
                places = nowhere(first.shape) if is_pairs(first) else first
                run.found.append(squashed(name, places))
        if run.attended[name]:
            with run.pause():
                # None: an object of somebody's own, which may hold places.
                returned = [x for x in tree_leaves(output) if is_float(x)]
                if returned and all(x.dtype != torch.float64 or is_nowhere(x) for x in returned):
                    run.placeless.add(name)

    return hook


def _without_queries(run: Run, unused: set[str]) -> Run:
    """The run, the queries with places of these modules left out: nobody takes their results.

    Attention pooling computes what each place looks for, and keeps the class token's alone.
    """
    run.found = [
        f._replace(queries=None) if isinstance(f, Attended) and f.module in unused else f
        for f in run.found
    ]
    return run


def _pair_up(rows: Run, columns: Run, extent: tuple[int, int]) -> list[Site]:
    """The findings of the two runs, which are the same but for the places."""
    if [(type(f), f.module) for f in rows.found] != [(type(f), f.module) for f in columns.found]:
        raise TraceError(
            "The model must do the same to rows and columns, but it takes another way for each. "
            "Its forward depends on the values of the image."
        )
    sites: list[Site | None] = []
    for y, x in zip(rows.found, columns.found, strict=True):
        if isinstance(y, Attended):
            sites.append(attention_site(y, x, extent))
        elif isinstance(y, Convolved):
            sites.append(conv_site(y, x, extent))
        elif isinstance(y, Output):
            sites.append(output_site(y, x, extent))
    return [site for site in sites if site is not None]
