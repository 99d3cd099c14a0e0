"""Matrix products of queries and keys, and what is done to logits before their softmax."""

from typing import Any, NamedTuple

from torch import Tensor

from visionpe.attaching.heads import Heads

_TIMES = {"mul", "__mul__", "__rmul__", "mul_", "__imul__", "multiply"}
_OVER = {
    "div",
    "__truediv__",
    "__div__",
    "div_",
    "__itruediv__",
    "__idiv__",
    "divide",
    "true_divide",
}
_KEEP = {
    "add",
    "add_",
    "__add__",
    "__radd__",
    "__iadd__",
    "sub",
    "__sub__",
    "masked_fill",
    "masked_fill_",
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "unsqueeze",
    "squeeze",
    "permute",
    "transpose",
    "contiguous",
    "float",
    "half",
    "to",
    "type",
    "type_as",
    "clone",
    "clamp",
}
FOLLOWED = _TIMES | _OVER | _KEEP  # functions through which logits are followed


def factor(name: str, args: tuple[Any, ...], logits: Tensor, heads: Heads) -> float | Tensor:
    """What a function multiplies logits by: a number, or one for each head, `heads 1 1`.

    1 where it does not, or by one for each pair, as a mask does.
    """
    other: Any = next((each for each in args if each is not logits), 1.0)
    if name in _KEEP or (name in _OVER and args[0] is not logits):
        return 1.0
    if isinstance(other, Tensor):
        if other.numel() == 1:
            other = other.reshape(())
        elif heads.axis == -3 and other.numel() == heads.count == other.shape[-3:].numel():
            other = other.reshape(heads.count, 1, 1)
        else:
            return 1.0
    scale: float | Tensor = 1.0 / other if name in _OVER else other
    return scale


class Operands(NamedTuple):
    """The two factors of a product, among the arguments of its function."""

    a: Tensor
    b: Tensor
    args: tuple[Any, ...]
    at: tuple[int, int]

    @staticmethod
    def of(name: str, args: tuple[Any, ...]) -> "Operands | None":
        """The queries and the keys, transposed; None: they cannot be told."""
        if name == "einsum":
            equation = args[0] if isinstance(args[0], str) else ""
            left, _, result = equation.replace(" ", "").partition("->")
            terms = left.split(",")
            # Both with the width last, or the keys transposed already.
            if len(args) != 3 or len(terms) != 2 or len(result) < 2:
                return None
            a, b, n, m = *terms, result[-2], result[-1]
            if a[-2:-1] != n or b[:-2] != a[:-2] or a[:-2] != result[:-2]:
                return None
            if b[-2:] == m + a[-1]:
                return Operands(args[1], args[2].mT, args, (1, -2))
            return Operands(args[1], args[2], args, (1, 2)) if b[-2:] == a[-1] + m else None
        at = {"__rmatmul__": (1, 0), "baddbmm": (1, 2)}.get(name, (0, 1))
        if len(args) <= max(at):
            return None
        return Operands(args[at[0]], args[at[1]], args, at)

    def back(self, a: Tensor, b: Tensor) -> list[Any]:
        """The arguments, with other factors."""
        args = list(self.args)
        args[self.at[0]], args[abs(self.at[1])] = a, b.mT if self.at[1] < 0 else b
        return args
