"""Biases of attention against those of timm and torchvision, and against attention without any."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from timm.layers import RelPosBias, RelPosMlp
from timm.models.vision_transformer_sam import get_decomposed_rel_pos_bias
from torch import Tensor
from torchvision.models.swin_transformer import ShiftedWindowAttention

from benchmarks.encodings_cases import Case, Side
from visionpe import (
    AttentionEncoding,
    DecomposedBias,
    IRPEContextual,
    LogCPB,
    Places,
    RelativeBias,
    Shaw,
    attend,
    attention_backend,
)

HEADS, HEAD_DIM = 6, 64


def cases() -> Iterator[Case]:
    """All of them, at all lattices."""
    for n, heads in ((14, HEADS), (32, HEADS), (64, 1)):
        yield table(n, heads)
        yield network(n, heads)
    for n, b, heads in ((14, 8, HEADS), (32, 1, HEADS), (64, 1, 1)):
        yield decomposed(n, b, heads)
    for n, b in ((14, 8), (24, 8), (32, 4)):
        yield core(n, b)
    for n in (14, 24):
        # Both have 49 buckets.
        yield contextual("IRPEContextual", IRPEContextual(HEAD_DIM), n)
        yield contextual("Shaw on keys", Shaw(HEAD_DIM, on_values=False), n)


def bias_of(encoding: AttentionEncoding, q: Tensor, places: Places) -> Tensor:
    """The bias of queries that are keys as well."""
    bias = encoding.bias(q, q, places, places, HEAD_DIM**-0.5)
    assert bias is not None
    return bias


def table(n: int, heads: int) -> Case:
    """Swin's table; timm and torchvision keep the index of all pairs, visionpe makes it."""

    def build() -> dict[str, Side]:
        ours, theirs = RelativeBias(heads, (n, n), std=0.02), RelPosBias((n, n), heads)
        theirs.relative_position_bias_table.data.copy_(ours.table.data.mT)
        window = ShiftedWindowAttention(heads, [n, n], [0, 0], heads)
        window.relative_position_bias_table.data.copy_(ours.table.data.mT)
        q, places = torch.zeros(1, heads, n * n, HEAD_DIM), Places.of(n, n)
        return {
            "visionpe": Side(lambda: bias_of(ours, q, places), [ours.table]),
            "timm": Side(theirs.get_bias, [theirs.relative_position_bias_table]),
            "torchvision": Side(
                window.get_relative_position_bias, [window.relative_position_bias_table]
            ),
        }

    size = f"{heads} heads, {n}x{n}"
    return Case("RelativeBias", size, build, {"timm": 1.0, "torchvision": 1.0}, atol=1e-4)


def network(n: int, heads: int) -> Case:
    """Swin-V2's network of 512 units."""

    def build() -> dict[str, Side]:
        ours = LogCPB(heads, (n, n), baseline=0.0, std=0.02)
        theirs = RelPosMlp((n, n), heads, hidden_dim=512, mode="swin").eval()  # without its dropout
        pairs = [
            (theirs.mlp.fc1.weight, ours.weight),
            (theirs.mlp.fc1.bias, ours.shift),
            (theirs.mlp.fc2.weight, ours.out),
        ]
        for their, our in pairs:
            their.data.copy_(our.data)
        q, places = torch.zeros(1, heads, n * n, HEAD_DIM), Places.of(n, n)
        return {
            "visionpe": Side(lambda: bias_of(ours, q, places), [our for _, our in pairs]),
            "timm": Side(theirs.get_bias, [their for their, _ in pairs]),
        }

    return Case("LogCPB", f"{heads} heads, {n}x{n}", build, {"timm": 1.0}, atol=1e-4)


def decomposed(n: int, b: int, heads: int) -> Case:
    """The bias of MViTv2 and SAM."""

    def build() -> dict[str, Side]:
        ours = DecomposedBias(HEAD_DIM, (n, n), std=0.02)
        rows, columns = (part.detach().clone().requires_grad_() for part in ours.parameters())
        q, places = torch.randn(b, heads, n * n, HEAD_DIM, requires_grad=True), Places.of(n, n)

        def timm() -> Tensor:
            flat = q.flatten(0, 1)
            out: Tensor = get_decomposed_rel_pos_bias(flat, rows, columns, (n, n), (n, n))
            return out.reshape(b, heads, n * n, n * n)

        return {
            "visionpe": Side(lambda: bias_of(ours, q, places), [q, ours.rows, ours.columns]),
            "timm": Side(timm, [q, rows, columns]),
        }

    size = f"{b}x{heads} heads, {n}x{n}, d {HEAD_DIM}"
    return Case("DecomposedBias", size, build, {"timm": 1.0}, atol=1e-4)


def core(n: int, b: int) -> Case:
    """Attention with a learned table, and without."""

    ours = RelativeBias(HEADS, (n, n), std=0.02)

    def build() -> dict[str, Side]:
        theirs = RelPosBias((n, n), HEADS)
        theirs.relative_position_bias_table.data.copy_(ours.table.data.mT)
        q, k, v = (torch.randn(b, HEADS, n * n, HEAD_DIM, requires_grad=True) for _ in range(3))
        places = Places.of(n, n)
        return {
            "visionpe": Side(lambda: attend(q, k, v, [ours], places), [q, k, v, ours.table]),
            "no bias": Side(
                lambda: F.scaled_dot_product_attention(q, k, v), [q, k, v], compared=False
            ),
            "timm": Side(
                lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=theirs.get_bias()),
                [q, k, v, theirs.relative_position_bias_table],
            ),
        }

    def backends(sides: dict[str, Side], mode: str) -> str:
        q, k, v, _ = sides["visionpe"].leaves
        with torch.set_grad_enabled(mode == "train"):
            biased = attention_backend(q, k, v, bias_of(ours, q, Places.of(n, n)))
            return f"{biased}; without a bias {attention_backend(q, k, v)}"

    size = f"{b}x{HEADS} heads, {n}x{n}, d {HEAD_DIM}"
    return Case(
        "attention, RelativeBias",
        size,
        build,
        {"no bias": 1.1, "timm": 1.0},
        atol=1e-4,
        note=backends,
        forward={"no bias": None},
    )


def contextual(name: str, encoding: Shaw | IRPEContextual, n: int, b: int = 8) -> Case:
    """The extra logits of vectors for 49 buckets, against `q k^T` and a vector for each pair."""

    def build() -> dict[str, Side]:
        values = encoding.key_table
        assert values is not None
        torch.nn.init.normal_(values, std=0.02)
        q, k = (torch.randn(b, HEADS, n * n, HEAD_DIM, requires_grad=True) for _ in range(2))
        places = Places.of(n, n)
        y, x = places.positions.long().unbind(-1)
        (index,) = encoding.buckets.index(y[:, None] - y, x[:, None] - x)

        def every_pair() -> Tensor:
            vectors = values[0].index_select(0, index.flatten()).unflatten(0, index.shape)
            return torch.einsum("bhnd,nmd->bhnm", q * HEAD_DIM**-0.5, vectors)

        return {
            "visionpe": Side(lambda: bias_of(encoding, q, places), [q, values]),
            "q k^T": Side(lambda: q @ k.mT, [q, k], compared=False),
            "n x m x d": Side(every_pair, [q, values]),
        }

    size = f"{b}x{HEADS} heads, {n}x{n}, d {HEAD_DIM}"
    return Case(name, size, build, {"q k^T": 0.7, "n x m x d": 1.0}, atol=1e-4)
