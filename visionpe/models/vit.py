"""A plain vision transformer, arXiv 2010.11929, whose position encoding is an argument.

Pre-norm blocks, class token, registers (arXiv 2309.16588): small, readable, and without any
position of its own, so that what it knows of place is what it was given.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from visionpe.encodings.attention import AttentionEncoding
from visionpe.encodings.base import MapEncoding, PointEncoding, require_batch, require_tokens
from visionpe.frame import Frame
from visionpe.models.transformer import Block
from visionpe.places import Places

Encoding = MapEncoding | AttentionEncoding
Maker = Callable[[], Encoding]


class ViT(nn.Module):
    """A vision transformer for images of any size that its patches divide.

    Args:
        patch: `(h, w)` of a patch in pixels.
        channels: of the images.
        width: of the tokens.
        depth: how many blocks.
        heads: of each attention; they divide `width`.
        mlp_ratio: hidden width of a block's MLP, in widths.
        classes: how many logits; None: the pooled features.
        class_token: put a learned token before the patches.
        registers: how many more learned tokens to put behind it.
        pool: "class" for the class token, or "mean" over the patches.
        encodings: one or several, or functions without arguments that make one. A `MapEncoding`
            acts on the patches once, before the blocks; an `AttentionEncoding` in every block.
        share: all blocks use the one attention encoding given; otherwise each has one of its own:
            a copy, random start included, or what the function given makes for it. A class token
            has no place: if it alone is pooled, biases and values of the last block change nothing.

    Raises:
        TypeError: if one of `encodings` is no encoding.
        ValueError: if a number is too small, `heads` do not divide `width`, there is no class token
            to pool, or an encoding changes the number of channels or is made for other heads.

    >>> ViT((4, 4), width=8, depth=1, heads=2)(torch.zeros(2, 3, 12, 20)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        patch: tuple[int, int] = (16, 16),
        *,
        channels: int = 3,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        classes: int | None = 10,
        class_token: bool = True,
        registers: int = 0,
        pool: Literal["class", "mean"] = "class",
        encodings: Encoding | Maker | Sequence[Encoding | Maker] | None = None,
        share: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise ValueError(f"`width` must be a multiple of `heads`, {heads}, but is {width}.")
        if min(*patch, channels, depth) < 1 or registers < 0:
            raise ValueError(
                "`patch`, `channels` and `depth` must be at least 1 and `registers` 0, "
                f"but are {tuple(patch)}, {channels}, {depth} and {registers}."
            )
        if pool not in ("class", "mean") or (pool == "class" and not class_token):
            raise ValueError(
                "`pool` must be 'mean', or 'class' with a class token, "
                f"but is {pool!r} with `class_token={class_token}`."
            )
        if encodings is None or isinstance(encodings, Sequence):
            several = list(encodings or ())
        else:
            several = [encodings]
        given = [(one if isinstance(one, nn.Module) else one(), one) for one in several]
        self.on_map = nn.ModuleList(e for e, _ in given if isinstance(e, MapEncoding))
        for encoding, _ in given:
            _require_fit(encoding, width, heads)
        inner = [(e, one) for e, one in given if isinstance(e, AttentionEncoding)]
        first = nn.ModuleList(e if share or e is not one else deepcopy(e) for e, one in inner)
        self.in_attention = nn.ModuleList([first])
        for _ in range(0 if share else depth - 1):
            self.in_attention.append(nn.ModuleList(_another(one) for _, one in inner))
        self.prefix, self.pool = class_token + registers, pool
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.tokens = nn.Parameter(torch.empty(1, self.prefix, width)) if self.prefix else None
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Identity() if classes is None else nn.Linear(width, classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draws the dense layers and the tokens as ViTs' start, with a deviation of .02."""
        for layer in (self.head, *self.blocks.modules()):
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        if self.tokens is not None:
            nn.init.trunc_normal_(self.tokens, std=0.02)

    def forward(
        self, images: Float[Tensor, "b c h w"], frame: Frame | None = None
    ) -> Float[Tensor, "b d"]:
        """The logits (or features) of images, which sit in their originals where `frame` says.

        Raises:
            ValueError: if the patches do not divide the images.
        """
        require_batch(frame, images.shape[0])
        h, w, patch = *images.shape[-2:], self.embed.stride
        if not torch.compiler.is_compiling() and (h % patch[0] or w % patch[1]):
            raise ValueError(f"`images` must be multiples of {patch} pixels, but are {(h, w)}.")
        x = self.embed(images)  # b 3 h w -> b c n m
        for encoding in self.on_map:
            x = encoding(x, frame)
        (n, m), dtype = x.shape[-2:], torch.promote_types(x.dtype, torch.float32)
        places = Places.of(n, m, frame, device=x.device, dtype=dtype)
        return self._pooled(x.flatten(2).mT, places, None)

    def forward_patches(
        self,
        patches: Float[Tensor, "b n d"],
        places: Places,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b e"]:
        """The logits (or features) of packed patches (NaFlex), any number, each flattened `c h w`.

        Args:
            places: where the patches sit, without prefix and suffix.
            mask: True where there is a patch; without it, everywhere.

        Raises:
            ValueError: if `places` do not match, or an encoding needs a whole map.
        """
        require_tokens("patches", patches, places)
        if places.prefix or places.suffix:
            raise ValueError(
                "`places` must be those of the patches alone, but has "
                f"{places.prefix} before and {places.suffix} behind them."
            )
        x = F.linear(patches, self.embed.weight.flatten(1), self.embed.bias)
        for encoding in self.on_map:
            if not isinstance(encoding, PointEncoding):
                raise ValueError(
                    f"`encodings` must act on single tokens to take patches, but "
                    f"{type(encoding).__name__} needs a whole map. Give images."
                )
            x = encoding.tokens(x, places)
        return self._pooled(x, places, mask)

    def _pooled(self, x: Tensor, places: Places, mask: Tensor | None) -> Tensor:
        x = self.encode(x, places, mask)
        if self.pool == "class":
            x = x[:, 0]
        elif mask is None:
            x = x[:, self.prefix :].mean(1)
        else:
            keep = mask[..., None].to(x.dtype)
            x = (x[:, self.prefix :] * keep).sum(1) / keep.sum(1).clamp(min=1)
        result: Tensor = self.head(x)
        return result

    def encode(
        self, x: Float[Tensor, "b n c"], places: Places, mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b m c"]:
        """All tokens after the last norm: class token, registers, then the `n` embedded ones."""
        places = places._replace(prefix=self.prefix)
        if self.tokens is not None:
            x = torch.cat([self.tokens.to(x.dtype).expand(x.shape[0], -1, -1), x], 1)
        if mask is not None:
            mask = F.pad(mask, (self.prefix, 0), value=True)[:, None, None]  # b n -> b 1 1 m
        for i, block in enumerate(self.blocks):
            inner = self.in_attention[i % len(self.in_attention)]
            x = block(x, places, [*inner], mask)  # type: ignore[misc] # a ModuleList iterates
        result: Tensor = self.norm(x)
        return result


def _another(given: Encoding | Maker) -> nn.Module:
    """A copy of the encoding, or what the function makes."""
    return deepcopy(given) if isinstance(given, nn.Module) else given()


def _require_fit(encoding: object, width: int, heads: int) -> None:
    name = type(encoding).__name__
    if not isinstance(encoding, MapEncoding | AttentionEncoding):
        raise TypeError(f"`encodings` must be map or attention encodings, but one is a {name}.")
    if isinstance(encoding, MapEncoding):
        if encoding.out_channels(width) != width:
            raise ValueError(
                f"`encodings` must keep the {width} channels of the tokens, but {name} makes them "
                f"{encoding.out_channels(width)}. Use one that adds or scales."
            )
    elif encoding.heads not in (None, heads) or encoding.head_dim not in (None, width // heads):
        raise ValueError(
            f"`encodings` must be made for {heads} heads of width {width // heads}, but {name} is "
            f"made for {encoding.heads} of {encoding.head_dim}."
        )
