"""Y-arrow: which way does the arrow at the foot of the Y point? After LieRE, arXiv 2406.10322.

A canvas of cells holds eight arrows and six letters, one of them a Y, each turned by quarters. The
Y's foot points at a neighbouring cell, and the arrow in it is the answer. What lies where relative
to what decides; where it lies on the canvas does not. The paper's canvas is 9x9 cells of 12 pixels.
Its drawings are not published, these are ours; so is the rule that the Y's other neighbours hold
arrows as well, so that no arrow is the answer for being the only one near.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

from visionpe.data.draws import uniforms
from visionpe.data.image_data import ImageData, Part
from visionpe.data.image_loader import ImageLoader
from visionpe.data.loader import Order
from visionpe.data.normalise import Normalise
from visionpe.data.sources import Batch, Source
from visionpe.data.under_lightning import overfits
from visionpe.frame import Frame

ARROWS, OTHERS = 8, 5  # and the Y
_GLYPHS = (
    (" ## ", "####", " ## ", " ## "),  # an arrow
    ("#  #", "#  #", " ## ", " #  "),  # the Y
    ("#   ", "#   ", "#   ", "####"),
    ("####", "#   ", "### ", "#   "),
    ("#  #", "#  #", "#  #", "####"),
    ("####", "#  #", "####", "#   "),
    ("####", "  # ", " #  ", "####"),
)
_FOOT = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]])  # of a Y turned left 0 to 3 times
_HELD_OUT = {"val": 240610322, "test": 240610323}  # seeds; a run's own begin at 0


def scenes(
    index: Int64[Tensor, " b"], *, cells: int = 9, seed: int = 0, epoch: int = 0
) -> tuple[UInt8[Tensor, "b n n"], Int64[Tensor, " b"]]:
    """What is in each cell, and the answer: 0 to 3, up, left, down, right.

    A cell holds 0 for nothing, or 1 + 4 * glyph + quarter turns to the left; glyph 0 is the arrow,
    1 the Y.

    Args:
        index: numbers of scenes; a scene is a function of `(seed, epoch, index)`.
        cells: of a side, at least 4.

    Raises:
        ValueError: if `cells` is below 4.

    >>> content, answer = scenes(torch.arange(2))
    >>> [int(((cell >= 1) & (cell < 5)).sum()) for cell in content], answer.shape
    ([8, 8], torch.Size([2]))
    """
    if cells < 4:
        raise ValueError(f"`cells` must be at least 4, to hold 14 glyphs, but is {cells}.")
    b, n = len(index), cells
    draws = uniforms(index, 3 + 2 * n * n, seed=seed, epoch=epoch)
    turn = (draws[:, 0] * 4).long()
    foot = _FOOT.to(index.device)[turn]  # b 2
    room = n - foot.abs()
    y = (draws[:, 1:3] * room).long().minimum(room - 1) + (foot < 0)  # rows and columns
    beside = y[:, None] + _FOOT.to(index.device)  # b 4 2
    inside = ((beside >= 0) & (beside < n)).all(-1)
    own, near = y[:, 0] * n + y[:, 1], beside[..., 0] * n + beside[..., 1]
    near = torch.where(inside, near, own[:, None])  # b 4; outside: the Y's own, written over later
    keys = draws[:, 3 : 3 + n * n].scatter(1, near, 2.0).scatter(1, own[:, None], 2.0)
    free = keys.topk(ARROWS + OTHERS - 2, largest=False).indices  # the Y has 2 neighbours at least
    spin = (draws[:, 3 + n * n :] * 4).long()
    more = ARROWS - inside.sum(1, keepdim=True)
    place = torch.arange(free.shape[1], device=index.device)
    letter = place - more  # 0 to 4 in turn: each other letter once
    glyph = torch.where(letter < 0, 0, 2 + letter.clamp(0, OTHERS - 1))
    code = 1 + 4 * glyph + spin.gather(1, free)
    code = torch.where(letter < OTHERS, code, 0)
    content = torch.zeros(b, n * n, dtype=torch.long, device=index.device)
    content.scatter_(1, free, code).scatter_(1, near, 1 + spin.gather(1, near))
    content.scatter_(1, own[:, None], (5 + turn)[:, None])
    answer = spin.gather(1, (own + foot[:, 0] * n + foot[:, 1])[:, None]).squeeze(1)
    return content.view(b, n, n).byte(), answer


def draw(content: UInt8[Tensor, "b n n"], *, cell: int = 12) -> UInt8[Tensor, "b 1 h w"]:
    """Draws scenes, white on black.

    Args:
        content: as of `scenes`.
        cell: pixels of a cell's side, a multiple of 6.

    Raises:
        ValueError: if `cell` is no multiple of 6.
    """
    if cell < 6 or cell % 6:  # glyphs of 4x4 dots and a margin of one
        raise ValueError(f"`cell` must be a multiple of 6 pixels, but is {cell}.")
    rows = [[[255 * (c == "#") for c in row] for row in glyph] for glyph in _GLYPHS]
    upright = F.pad(torch.tensor(rows, dtype=torch.uint8, device=content.device), (1, 1, 1, 1))
    upright = upright.repeat_interleave(cell // 6, 1).repeat_interleave(cell // 6, 2)
    turned = torch.stack([upright.rot90(k, (1, 2)) for k in range(4)], 1).flatten(0, 1)
    table = torch.cat([torch.zeros_like(turned[:1]), turned])  # nothing, then glyph by glyph
    tiles = table[content.int()]  # b n n cell cell
    b, n = content.shape[:2]
    return tiles.transpose(2, 3).reshape(b, 1, n * cell, n * cell)


@final
class YArrow(ImageData):
    """Y-arrow: four classes, generated as it is needed; every epoch has new training images.

    A test may be on a larger canvas, of more cells as large: 14 and 23 of a side are the paper's
    1.56 and 2.56 times the canvas of training.

    Args:
        cells: of a side of the canvas.
        cell: pixels of a cell's side, a multiple of 6.
        test_cells: of a side of the canvas of tests; as `cells`.
        batch_size: images a training batch (and process).
        train_images: of an epoch.
        val_images, test_images: the same for every seed.
        seed: the run's: of the training images.
        eval_batch_size: images a batch of validation and test; as `batch_size`.

    Raises:
        ValueError: if a canvas or a cell is too small.
    """

    num_classes = 4
    channels = 1
    class_names = ("up", "left", "down", "right")
    mean, std = (0.5,), (0.5,)

    def __init__(
        self,
        cells: int = 9,
        cell: int = 12,
        test_cells: int | None = None,
        batch_size: int = 128,
        train_images: int = 51_200,
        val_images: int = 2_000,
        test_images: int = 2_000,
        seed: int = 0,
        eval_batch_size: int | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            augment=None,
            mix=None,
            num_workers=0,
            seed=seed,
        )
        self.cells = cells
        self.cell = cell
        self.test_cells = test_cells or cells
        self.images = {"train": train_images, "val": val_images, "test": test_images}
        for count in (cells, self.test_cells):
            draw(scenes(torch.arange(1), cells=count)[0], cell=cell)  # says what is wrong
        self.image_size = (cells * cell, cells * cell)

    def setup(self, stage: str) -> None:
        """Nothing to read."""

    def read(self, part: Part) -> None:
        """Nothing is kept."""

    def train_dataloader(self) -> ImageLoader:
        """New images each epoch, unless `overfit_batches` is set."""
        fresh = not overfits(self)
        source = Scenes(self.images["train"], self.cells, self.cell, self.seed, fresh=fresh)
        return ImageLoader(source, batch_size=self.batch_size, shuffle=fresh, seed=self.seed)

    def val_dataloader(self) -> ImageLoader:
        """On the canvas of training."""
        return self._held_out("val", self.cells)

    def test_dataloader(self) -> ImageLoader:
        """On the canvas of tests."""
        return self._held_out("test", self.test_cells)

    def predict_dataloader(self) -> ImageLoader:
        """As in the test."""
        return self.test_dataloader()

    def _held_out(self, part: Part, cells: int) -> ImageLoader:
        source = Scenes(self.images[part], cells, self.cell, _HELD_OUT[part], fresh=False)
        return ImageLoader(source, batch_size=self.eval_batch_size, fill=False)


@final
class Scenes(Source):
    """Draws the images of a batch.

    Args:
        images: of an epoch.
        cells, cell: of the canvas.
        seed: with the epoch and the image's number, decides an image.
        fresh: new images each epoch.
    """

    def __init__(
        self, images: int, cells: int, cell: int, seed: int, *, fresh: bool = True
    ) -> None:
        self.images = images
        self.cells = cells
        self.cell = cell
        self.seed = seed
        self.fresh = fresh
        self.normalise = Normalise(YArrow.mean, YArrow.std)

    def __len__(self) -> int:
        return self.images

    def batch(self, order: Order) -> Batch:
        """Images with their answers and frames."""
        epoch = order.epoch if self.fresh else 0
        content, answer = scenes(order.rows, cells=self.cells, seed=self.seed, epoch=epoch)
        images = self.normalise(draw(content, cell=self.cell))
        whole = Frame.identity(*images.shape[-2:])
        frame = Frame(*(part.expand(len(images), *part.shape) for part in whole))
        return images, answer, frame
