"""A small transformer that fills in hidden patches, and knows places from an encoding alone."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionpe import AttentionEncoding, MapEncoding, Places
from visionpe.models.transformer import Block

H, W, PATCH = 9, 12, 4
WIDTH, HEADS = 64, 4
HEAD_DIM = WIDTH // HEADS
CENTRE, CORNER = (4, 6), (1, 1)
CELLS = (H, W)
Encoding = MapEncoding | AttentionEncoding


class Filling(nn.Module):
    """Fills in hidden patches; `encoding` is all it knows of place."""

    def __init__(self, encoding: Encoding | None) -> None:
        super().__init__()
        self.encoding = encoding
        out = encoding.out_channels(WIDTH) if isinstance(encoding, MapEncoding) else WIDTH
        self.mix: nn.Module = nn.Identity() if out == WIDTH else nn.Linear(out, WIDTH)
        self.embed = nn.Linear(PATCH * PATCH, WIDTH)
        self.hidden = nn.Parameter(torch.zeros(WIDTH))
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS, 2) for _ in range(2))
        self.out = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, PATCH * PATCH))

    def forward(self, patches: Tensor, hide: Tensor) -> Tensor:
        """The patches `b n p`, of which those where `hide` is True are not looked at."""
        x = torch.where(hide[..., None], self.hidden, self.embed(patches))
        inner = []
        if isinstance(self.encoding, MapEncoding):
            x = self.mix(self.encoding(x.mT.unflatten(2, CELLS)).flatten(2).mT)
        elif self.encoding is not None:
            inner = [self.encoding]
        places = Places.of(H, W)
        for block in self.blocks:
            x = block(x, places, inner)
        result: Tensor = self.out(x)
        return result


def fields(n: int) -> Tensor:
    """Patches `n 108 16` of smooth random fields, of variance 1."""
    coarse = torch.randn(n, 1, H // 2 + 3, W // 2 + 3)
    maps = F.interpolate(coarse, scale_factor=2 * PATCH, mode="bicubic")
    maps = maps[..., 8 : 8 + H * PATCH, 8 : 8 + W * PATCH]
    return F.unfold(maps / maps.std(), PATCH, stride=PATCH).mT


def train(encoding: Encoding | None, steps: int) -> tuple[Filling, float]:
    """The trained net, and the share of the variance that it explains in hidden patches."""
    net = Filling(encoding)
    own = [] if encoding is None else [p for p in encoding.parameters() if not p.any()]
    others = [p for p in net.parameters() if all(p is not q for q in own)]
    rates = [4e-3, 4e-2] if own else [4e-3]  # what starts at zero moves slowly otherwise
    groups = [{"params": others}, {"params": own}][: len(rates)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
    for _ in range(steps):
        loss = hidden_loss(net, 16)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        return net, 1 - float(hidden_loss(net, 256))


def hidden_loss(net: Filling, n: int) -> Tensor:
    """The mean squared error in the hidden patches of new fields."""
    patches = fields(n)
    hide = torch.rand(patches.shape[:2]) < 0.5
    error: Tensor = net(patches, hide) - patches
    return error[hide].square().mean()


def queries(net: Filling) -> tuple[Tensor, Tensor]:
    """Queries and keys of the first block for new fields, `b heads n d` each."""
    patches = fields(32)
    block = net.blocks[0]
    assert isinstance(block, Block)
    qkv = block.attn.qkv(block.norm1(net.embed(patches)))
    q, k, _ = qkv.unflatten(-1, (3, HEADS, HEAD_DIM)).permute(2, 0, 3, 1, 4)
    return q, k


def heads_of(net: Filling) -> Tensor:
    """What queries at two cells get from each key, `2 heads h w`: biases as they are.

    For encodings that look at the contents, the mean over fields; for rotations, the mean over
    fields of the scaled logits, less their mean.
    """
    encoding = net.encoding
    assert isinstance(encoding, AttentionEncoding)
    q, k = queries(net)
    places = Places.of(H, W)
    scale = HEAD_DIM**-0.5
    turned_q, turned_k = encoding.rotate(q, k, places, places)
    total = scale * (turned_q @ turned_k.mT - q @ k.mT)
    bias = encoding.bias(q, k, places, places, scale)
    total = (total if bias is None else total + bias).mean(0)  # b heads n n -> heads n n
    maps = total.unflatten(2, (H, W)).unflatten(1, (H, W))  # heads h w h w
    result: Tensor = torch.stack([maps[:, y, x] for y, x in (CENTRE, CORNER)])
    return result
