"""Rotary encodings against those of timm and rotary-embedding-torch: queries and keys turned."""

from collections.abc import Iterator

import torch
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from timm.layers import (
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    RotaryEmbeddingMixed,
    apply_rot_embed_cat,
)
from torch import Tensor

from benchmarks.encodings_cases import Case, Side
from visionpe import AttentionEncoding, Places, Rotary, RotaryDINOv3, RotaryMixed

HEADS, HEAD_DIM = 6, 64


def cases() -> Iterator[Case]:
    """All of them, at all lattices."""
    for n, b in ((14, 8), (24, 8), (32, 8), (64, 2)):
        yield axial(n, b)
        if n != 24:
            yield mixed(n, b)
            yield dinov3(n, b)


def queries_and_keys(n: int, b: int) -> list[Tensor]:
    """Random ones."""
    return [torch.randn(b, HEADS, n * n, HEAD_DIM, requires_grad=True) for _ in range(2)]


def size_of(n: int, b: int) -> str:
    """As the table has it."""
    return f"{b}x{HEADS} heads, {n}x{n}, d {HEAD_DIM}"


def ours_on(encoding: AttentionEncoding, q: Tensor, k: Tensor, n: int, *leaves: Tensor) -> Side:
    """visionpe's side: angles made at each call."""
    places = Places.of(n, n)
    return Side(lambda: encoding.rotate(q, k, places, places), [q, k, *leaves])


def turned(q: Tensor, k: Tensor, table: Tensor, *, half: bool = False) -> tuple[Tensor, Tensor]:
    """timm's product with a table."""
    return apply_rot_embed_cat(q, table, half=half), apply_rot_embed_cat(k, table, half=half)


def axial(n: int, b: int) -> Case:
    """Frequencies along either axis; "cached" is timm's product alone, its table given."""

    def build() -> dict[str, Side]:
        q, k = queries_and_keys(n, b)
        theirs = RotaryEmbeddingCat(HEAD_DIM, temperature=100.0, in_pixels=False)
        ready = theirs.get_embed([n, n])
        other = RotaryEmbedding(dim=HEAD_DIM // 2, theta=100)

        def built() -> tuple[Tensor, Tensor]:
            return turned(q, k, theirs.get_embed([n, n]))

        def cached() -> tuple[Tensor, Tensor]:
            return turned(q, k, ready)

        def other_built() -> tuple[Tensor, Tensor]:
            freqs = other.get_axial_freqs(n, n).flatten(0, 1)
            return apply_rotary_emb(freqs, q), apply_rotary_emb(freqs, k)

        return {
            "visionpe": ours_on(Rotary(order="yx"), q, k, n),
            "timm": Side(built, [q, k]),
            "timm, cached": Side(cached, [q, k]),
            "rotary-embedding-torch": Side(other_built, [q, k]),
        }

    targets = {"timm": 0.35, "timm, cached": 0.35, "rotary-embedding-torch": 1.0}
    slower: dict[str, float | None] = {"timm": 1.0, "timm, cached": 1.0}
    return Case("Rotary", size_of(n, b), build, targets, forward=slower)


def mixed(n: int, b: int) -> Case:
    """Learned frequencies; timm keeps the grid and makes the table."""

    def build() -> dict[str, Side]:
        q, k = queries_and_keys(n, b)
        ours = RotaryMixed(HEADS, HEAD_DIM)
        theirs = RotaryEmbeddingMixed(HEADS * HEAD_DIM, depth=1, num_heads=HEADS, feat_shape=[n, n])
        theirs.freqs.data.copy_(ours.waves.data.flip(0)[:, None])  # theirs are (x, y)

        def built() -> tuple[Tensor, Tensor]:
            return turned(q, k, theirs.get_embed()[0])

        return {
            "visionpe": ours_on(ours, q, k, n, ours.waves),
            "timm": Side(built, [q, k, theirs.freqs]),
        }

    return Case("RotaryMixed", size_of(n, b), build, {"timm": 1.0}, atol=1e-4)


def dinov3(n: int, b: int) -> Case:
    """On coordinates, in the half layout."""

    def build() -> dict[str, Side]:
        q, k = queries_and_keys(n, b)
        theirs = RotaryEmbeddingDinoV3(HEAD_DIM).eval()
        ready = theirs.get_embed([n, n])

        def built() -> tuple[Tensor, Tensor]:
            return turned(q, k, theirs.get_embed([n, n]), half=True)

        def cached() -> tuple[Tensor, Tensor]:
            return turned(q, k, ready, half=True)

        return {
            "visionpe": ours_on(RotaryDINOv3().eval(), q, k, n),
            "timm": Side(built, [q, k]),
            "timm, cached": Side(cached, [q, k]),
        }

    return Case("RotaryDINOv3", size_of(n, b), build, {"timm": 1.0, "timm, cached": 1.0})
