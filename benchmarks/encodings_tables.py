"""Learned tables of 16 x 16 at another size, against those of timm and torchvision."""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.naflexvit import NaFlexEmbeds
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from benchmarks.encodings_cases import Case, Side
from benchmarks.encodings_maps import BATCHES, WIDTH, map_of
from visionpe import (
    Factorised2d,
    Learned2d,
    Places,
    join_tokens,
    resample_table,
    resample_table_torchvision,
    split_tokens,
)


def cases() -> Iterator[Case]:
    """All of them, at all lattices."""
    for n, b in BATCHES.items():
        yield resampling(n)
        yield checkpoints(n)
        yield learned(n, b)
        yield factorised(n, b)


def resampling(n: int) -> Case:
    """timm's recipe."""

    def build() -> dict[str, Side]:
        table = torch.randn(WIDTH, 16, 16, requires_grad=True)
        tokens = table.detach().flatten(1).mT[None].contiguous().requires_grad_()

        def timm() -> Tensor:
            out: Tensor = resample_abs_pos_embed(tokens, [n, n], [16, 16], num_prefix_tokens=0)
            return out

        return {
            "visionpe": Side(lambda: resample_table(table, n, n), [table]),
            "timm": Side(timm, [tokens], map_of(n)),
        }

    size = f"16x16 to {n}x{n}x{WIDTH}"
    return Case("resample_table", size, build, {"timm": 1.0})


def checkpoints(n: int) -> Case:
    """torchvision's recipe, on a table of tokens as checkpoints hold it."""

    def build() -> dict[str, Side]:
        tokens = torch.randn(1, 1 + 16 * 16, WIDTH)

        def ours() -> Tensor:
            first, table = split_tokens(tokens, 16, 16, prefix=1)
            return join_tokens(first, resample_table_torchvision(table, n, n))

        def theirs() -> Tensor:
            state = OrderedDict({"encoder.pos_embedding": tokens})
            out: Tensor = interpolate_embeddings(16 * n, 16, state)["encoder.pos_embedding"]
            return out

        return {"visionpe": Side(ours), "torchvision": Side(theirs)}

    size = f"16x16 to {n}x{n}x{WIDTH}"
    return Case("resample_table_torchvision", size, build, {"torchvision": 1.0}, ("forward",), 1e-4)


def learned(n: int, b: int) -> Case:
    """A table added to tokens; timm's without antialiasing."""

    def build() -> dict[str, Side]:
        ours, places = Learned2d(WIDTH, (16, 16), init_std=0.02), Places.of(n, n)
        x = torch.randn(b, n * n, WIDTH)
        tokens = ours.table.detach().flatten(1).mT[None].contiguous().requires_grad_()

        def timm() -> Tensor:
            code = resample_abs_pos_embed(
                tokens, [n, n], [16, 16], num_prefix_tokens=0, antialias=False
            )
            out: Tensor = x + code
            return out

        return {
            "visionpe": Side(lambda: ours.tokens(x, places), [ours.table]),
            "timm": Side(timm, [tokens]),
        }

    size = f"16x16 to {n}x{n}x{WIDTH}"
    return Case("Learned2d on tokens", f"{b}x{size}", build, {"timm": 1.0})


def factorised(n: int, b: int) -> Case:
    """Tables of rows and columns added to tokens."""

    def build() -> dict[str, Side]:
        ours, places = Factorised2d(WIDTH, (16, 16), init_std=0.02), Places.of(n, n)
        x = torch.randn(b, n * n, WIDTH)
        embed = NaFlexEmbeds(
            embed_dim=WIDTH,
            class_token=False,
            pos_embed="factorized",
            pos_embed_grid_size=(16, 16),
        )
        embed.pos_embed_y.data.copy_(ours.rows.data.mT)
        embed.pos_embed_x.data.copy_(ours.columns.data.mT)
        leaves = [embed.pos_embed_y, embed.pos_embed_x]
        written = x.clone()

        def on_a_copy() -> Tensor:
            out = x.clone()
            embed._apply_factorized_pos_embed(out, [n, n])
            return out

        def in_place() -> Tensor:
            out = written.detach()  # the same numbers at the first call; later they have grown
            embed._apply_factorized_pos_embed(out, [n, n])
            return out

        return {
            "visionpe": Side(lambda: ours.tokens(x, places), [ours.rows, ours.columns]),
            "timm, on a copy": Side(on_a_copy, leaves),
            "timm, in place": Side(in_place, leaves, compiles=False),  # the gradient is lost
        }

    size = f"16x16 to {n}x{n}x{WIDTH}"
    return Case("Factorised2d on tokens", f"{b}x{size}", build, {"timm, on a copy": 1.0})
