"""What each operation does to places: the table, and the rules for single elements.

An operation that only moves elements about (a view, a roll, a window, a concatenation) has no
rule: it runs on places as it does on numbers.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from visionpe.tracing import rules_product, rules_space
from visionpe.tracing.codes import is_pairs, nowhere, same, thin
from visionpe.tracing.moves import collapse
from visionpe.tracing.state import Arguments, Rule, Run, floats, is_float, words

_ALIKE = 0.05  # pixels: shifts that differ by no more are one


def rule_of(
    name: str, func: Any, args: Any, kwargs: dict[str, Any]
) -> Rule | Literal["unknown"] | None:
    """The rule for an operation; None: it runs as it is."""
    base = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    if base in FACTORIES:
        return factory
    if base == "_to_copy":
        return cast
    if not any(is_float(x) for x in tree_leaves((args, kwargs))):
        return None
    if base in RULES:
        return RULES[base]
    if func.is_view or base in MOVERS or base in QUESTIONS:
        return None
    return merge if _elementwise(func, base) else "unknown"


def _elementwise(func: Any, base: str) -> bool:
    """By torch's own word, which some operations in place lack (`mish_`; in torch 2.10, many)."""
    copying = getattr(getattr(torch.ops.aten, base, None), func._overloadname, func)
    return torch.Tag.pointwise in func.tags or torch.Tag.pointwise in copying.tags


def merge(arguments: Arguments, run: Run) -> Tensor:
    """Element by element: the place of the first operand that has one.

    Logits before anything else, then operands of full size before smaller ones, which are gates.
    The sum of two maps that are shifted against each other lies between them.
    """
    operands = [x for x in floats(arguments) if x.dim() or len(floats(arguments)) == 1]
    if not operands:
        return nowhere(())
    shape = torch.broadcast_shapes(
        *(x.shape for x in tree_leaves(arguments["args"]) if isinstance(x, Tensor))
    )
    if len(operands) == 1:
        return copied(operands[0]).expand(shape)
    operands.sort(key=lambda x: (not is_pairs(x), x.shape != shape))
    if is_pairs(operands[0]):
        return operands[0].expand(shape)
    parts = thin(*operands)
    out = parts[0]
    if len(parts) == 2 and "add" in arguments["func"]._schema.name:
        out = _between(*parts)
    for part in parts[1:]:
        lost = out.isnan()
        if not lost.any():
            break
        out = torch.where(lost, part, out)
    return out.expand(shape)


def _between(a: Tensor, b: Tensor) -> Tensor:
    """The middle of two maps that are shifted against each other, as branches of a net are."""
    shift = b - a
    known = shift[~shift.isnan()]
    if not known.numel() or float(known.max() - known.min()) > _ALIKE or not known[0]:
        return a
    return a + known[0] / 2


def keep(arguments: Arguments, run: Run) -> Tensor:
    """The place of the first argument."""
    x: Tensor = next(x for x in arguments["args"] if isinstance(x, Tensor))
    return copied(x)


def copied(x: Tensor) -> Tensor:
    """A copy, so that a later write to one is none to the other; what was repeated is repeated."""
    return thin(x)[0].clone(memory_format=torch.contiguous_format).expand(x.shape)


def norm(arguments: Arguments, run: Run) -> tuple[Tensor, ...]:
    """Norms and dropout: the place of the first argument; what else they give has none."""
    extra = len(arguments["func"]._schema.returns) - 1
    return (keep(arguments, run), *(nowhere((1,)) for _ in range(extra)))


def factory(arguments: Arguments, run: Run) -> Any:
    """What is made, not computed from the image, has no place. Nothing random is drawn."""
    func, args = arguments["func"], arguments["args"]
    if func._schema.is_mutable:
        return nowhere(args[0].shape) if is_float(args[0]) else func(*args, **arguments["kwargs"])
    if func._schema.name.split("::")[1].startswith(("rand", "normal", "bernoulli")):
        sizes = arguments.get("size")
        return nowhere(args[0].shape if sizes is None else sizes).clone()
    kwargs = {**arguments["kwargs"]}
    if "device" in kwargs:
        kwargs["device"] = None
    result = func(*args, **kwargs)
    # Memory of its own: it may be written to.
    return torch.full(result.shape, torch.nan, dtype=torch.float64) if is_float(result) else result


def cast(arguments: Arguments, run: Run) -> Tensor:
    """To another type or device: places stay float64, on the processor."""
    x: Tensor = arguments["self"]
    dtype = arguments["dtype"] or x.dtype
    if not dtype.is_floating_point:
        whole = nowhere(x.shape).nan_to_num() if is_float(x) else x
        return whole.to(dtype, copy=True)
    return copied(x) if is_float(x) else nowhere(x.shape).clone()


def clone(arguments: Arguments, run: Run) -> Tensor:
    """`copied`."""
    return copied(arguments["self"])


def turn(arguments: Arguments, run: Run) -> Tensor:
    """Rolls and flips of what is not repeated."""
    x, *rest = arguments["args"]
    turned: Tensor = arguments["func"](thin(x)[0], *rest, **arguments["kwargs"])
    return turned.expand(x.shape)


def lift(arguments: Arguments, run: Run) -> Tensor:
    """A constant written in the forward."""
    x: Tensor = arguments["self"]
    return nowhere(x.shape) if is_float(x) else x


def reduce(arguments: Arguments, run: Run) -> Any:
    """Sums, means and extremes: `collapse` over the dimensions; of everything, no place."""
    x: Tensor = arguments["self"]
    dims = arguments.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(x.dim()))
    dims = sorted(d % max(x.dim(), 1) for d in dims)
    if is_pairs(x):
        x = rules_product.kept(x, dims[-1])
    for dim in dims:
        x = collapse(x, dim, run.extent)
    if not arguments.get("keepdim"):
        x = x.reshape([n for d, n in enumerate(x.shape) if d not in dims])
    returns = [str(value.type) for value in arguments["func"]._schema.returns]
    if len(returns) == 1:
        return x
    # Extremes come with indices.
    index = "indices" in [value.name for value in arguments["func"]._schema.returns]
    return x, torch.zeros(x.shape, dtype=torch.long) if index else x.clone()


def cat(arguments: Arguments, run: Run) -> Tensor:
    """A concatenation in which what all parts repeat stays repeated."""
    parts: list[Tensor] = [t for t in arguments["tensors"] if t.dim() > 1 or t.numel()]
    dim = arguments["dim"] % parts[0].dim()
    shape = list(torch.cat([t.to("meta") for t in parts], dim).shape)
    if dim == 1 and parts[0].dim() == 4 and all(t.stride(1) == 0 or t.shape[1] == 1 for t in parts):
        first = thin(parts[0].narrow(1, 0, 1))[0]
        if all(same(first, t.narrow(1, 0, 1)) for t in parts[1:]):
            return parts[0].narrow(1, 0, 1).expand(shape)  # channels at the same places
    for d in range(len(shape)):
        if d != dim and shape[d] > 1 and all(t.stride(d) == 0 for t in parts):
            parts = [t.narrow(d, 0, 1) for t in parts]
    return torch.cat(parts, dim).expand(shape)


FACTORIES = words("""
    arange linspace logspace zeros ones full empty eye rand randn randint randperm normal
    zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
    new_empty empty_strided new_empty_strided scalar_tensor fill zero uniform bernoulli random
    exponential log_normal geometric cauchy
""")
MOVERS = words("""
    copy _unsafe_view _reshape_alias stack index index_select gather repeat rot90
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle index_put _index_put
    _unsafe_index scatter slice_scatter select_scatter masked_select repeat_interleave tril triu
    sort topk argsort set resize unsafe_split unsafe_chunk index_copy index_fill nonzero item
    _local_scalar_dense is_same_size equal split_with_sizes_copy split_copy unbind_copy
    diag_embed sym_size sym_stride sym_numel is_nonzero numel _assert_async
""")
QUESTIONS = words("""
    eq ne lt gt le ge isnan isinf isfinite isclose any all argmax argmin signbit count_nonzero
    logical_not logical_and logical_or logical_xor bitwise_not bitwise_and bitwise_or
""")  # their answers are no places
RULES: dict[str, Rule] = {
    **dict.fromkeys(words("rsub floor_divide fmod remainder _prelu_kernel"), merge),
    **dict.fromkeys(words("masked_fill cumsum _softmax _log_softmax hardswish hardsigmoid"), keep),
    **dict.fromkeys(
        words(
            "native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit "
            "_native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update "
            "cudnn_batch_norm _fused_rms_norm native_dropout log_sigmoid_forward"
        ),
        norm,
    ),
    **dict.fromkeys(
        words(
            "sum mean nanmean nansum prod amax amin max min median var std var_mean std_mean "
            "logsumexp norm linalg_vector_norm"
        ),
        reduce,
    ),
    "clone": clone,
    "roll": turn,
    "flip": turn,
    "cat": cat,
    "lift_fresh": lift,
    "lift_fresh_copy": lift,
    **rules_product.RULES,
    **rules_space.RULES,
}
