"""Albumentations pipelines that say where each augmented image sits in the original.

The geometry moves a map of coordinates in the same call as the image, and the affine map is read
off it: no table of transforms. The map travels as a mask and is resampled linearly, whatever the
image is: cubic, Lanczos and area weights shift a ramp by up to 0.05 pixels, nearest ones by one.
The only file that imports albumentations (2.0.8, the last release under the MIT licence).
"""

import copy
import math
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Shaped
from torch import Tensor
from typing_extensions import override

from visionpe.data.augments import SampleAugment
from visionpe.data.loader import stable_seed
from visionpe.errors import GeometryError
from visionpe.frame import Frame

_KEY = "visionpe_map"  # the map's name among the targets of a pipeline
_COVERED = -1.0  # the map's third channel; unlike 0, 1 and 255, no one's colour for a border
_SAMPLE = 4096  # pixels that the map is read off
_TOLERANCE = 0.05  # pixels: OpenCV 4 rounds rotated points to 1/32, OpenCV 5 does not


class Augment(SampleAugment):
    """Augments an image `h w c`, uint8 or float32, and returns it with its `Frame`.

    Random numbers come from torch's generator, which differs between worker processes and epochs
    (each worker would get a copy of albumentations' own); the `seed` of a `Compose` gives others,
    and no series of its own. The pipelines are copied, and called for images only: no boxes, masks
    or keypoints.

    Args:
        geometry: an albumentations transform or `Compose` that moves pixels by an affine map:
            crops, flips, resizes, pads, rotations, and dropouts, which move none.
        photometry: one that changes values only; applied after `geometry`, to the image alone.

    Raises:
        ValueError: if a transform belongs into the other of the two. When called: if `image` is
            no such array.
        GeometryError: if a transform of `geometry` is of a kind that is not affine. When called: if
            the geometry is not, or shows too few pixels to tell.

    >>> import albumentations as A
    >>> image, frame = Augment(A.HorizontalFlip(p=1))(np.zeros((2, 4, 3), np.uint8))
    >>> frame.affine.tolist()  # row y was row y, and column x was column 4 - x
    [[1.0, 0.0, 0.0], [0.0, -1.0, 4.0]]
    """

    def __init__(self, geometry: Any, photometry: Any = None) -> None:
        self.geometry = _pipeline("geometry", geometry)
        self.photometry = None if photometry is None else _pipeline("photometry", photometry)

    def __call__(self, image: Shaped[np.ndarray, "h w c"]) -> tuple[Any, Frame]:
        """The augmented image, an array unless `photometry` makes it a tensor, and its frame."""
        is_array = isinstance(image, np.ndarray)
        if not is_array or image.ndim != 3 or 0 in image.shape or image.dtype not in ("u1", "f4"):
            found = f"{image.dtype} of shape {image.shape}" if is_array else type(image).__name__
            raise ValueError(
                "`image` must be an array `h w c` of uint8 or float32 with a pixel at least, but "
                f"is {found}."
            )
        h, w = image.shape[:2]
        before = np.full((h, w, 3), _COVERED, np.float32)
        before[..., 0] = (np.arange(h) + 0.5 - h / 2)[:, None]  # from the centre: half the rounding
        before[..., 1] = np.arange(w) + 0.5 - w / 2
        _seed(self.geometry)
        moved = self.geometry(image=image, **{_KEY: before})
        result = moved["image"]
        try:
            affine = _fit(moved[_KEY])
        except ValueError as error:
            names = ", ".join(type(part).__name__ for part in _parts(self.geometry))
            raise GeometryError(f"`geometry` must {error}; it is made of {names}.") from None
        affine[:, 2] += (h / 2, w / 2)
        # What rounding has left of a whole number, less than 1e-5 pixels anywhere in the view.
        whole, reach = np.rint(affine), np.array([*result.shape[:2], 1.0])
        affine = np.where(np.abs(affine - whole) * reach < 1e-5, whole, affine) + 0.0  # no -0.0
        parts = (affine, np.array(result.shape[:2]), np.array([h, w]))
        frame = Frame(*(torch.from_numpy(part).float() for part in parts))
        if self.photometry is not None:
            _seed(self.photometry)
            result = self.photometry(image=result)["image"]
        return result, frame

    @override
    def apply(self, image: Shaped[Tensor, "c h w"]) -> tuple[Shaped[Tensor, "c i j"], Frame]:
        """The same of a tensor."""
        result, frame = self(np.array(image.permute(1, 2, 0).numpy(), order="C"))  # a copy
        if isinstance(result, np.ndarray):
            result = torch.from_numpy(np.ascontiguousarray(result)).permute(2, 0, 1)
        return result, frame

    def __repr__(self) -> str:
        return f"Augment({self.geometry!r}, {self.photometry!r})"


def _pipeline(name: str, transform: Any) -> Any:
    """A copy of an albumentations transform as a `Compose`, after a look at each of its parts."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network
    import albumentations as A

    if not isinstance(transform, (A.BasicTransform, A.BaseCompose)):
        raise ValueError(
            f"`{name}` must be an albumentations transform or Compose, but is "
            f"{type(transform).__name__}."
        )
    transform = copy.deepcopy(transform)
    pipeline = transform if isinstance(transform, A.Compose) else A.Compose([transform])
    other = "geometry" if name == "photometry" else "photometry"
    for part in _parts(pipeline):
        colours = isinstance(part, (A.ImageOnlyTransform, A.Morphological, A.ToTensorV2))
        if colours != (name == "photometry") and not isinstance(part, A.NoOp):  # Lambda is a NoOp
            kind = "changes values" if colours else "moves or drops pixels"
            raise ValueError(
                f"`{name}` must hold no {type(part).__name__}, which {kind}; put it into `{other}`."
            )
    if name == "geometry":
        _require_affine(pipeline)
        pipeline.add_targets({_KEY: "mask"})
        pipeline.set_mask_interpolation(1)  # cv2.INTER_LINEAR
    return pipeline


def _require_affine(pipeline: Any) -> None:
    """Refuses kinds that are not affine however little they move: a map read off would be near."""
    import albumentations as A
    from albumentations.augmentations.geometric.distortion import BaseDistortion

    curved = (BaseDistortion, A.GridElasticDeform, A.Perspective, A.RandomGridShuffle)
    for part in _parts(pipeline):
        if isinstance(part, curved):
            raise GeometryError(
                "`geometry` must move pixels by an affine map, but "
                f"{type(part).__name__} does not: take it out."
            )


def _parts(pipeline: Any) -> Iterator[Any]:
    """The transforms of a pipeline without what holds them."""
    from albumentations import BaseCompose

    for part in pipeline.transforms:
        if isinstance(part, BaseCompose):
            yield from _parts(part)
        else:
            yield part


def _seed(pipeline: Any) -> None:
    """Sets the state by torch's generator, and by the pipeline's own seed if it has one."""
    seed = int(torch.randint(2**63 - 1, ()))
    if pipeline.seed is not None:
        seed = stable_seed(int(pipeline.seed), seed)
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))


def _fit(moved: Float32[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "2 3"]:
    """The affine map whose values at pixel centres `moved` holds, by least squares."""
    index = np.flatnonzero(_inner(moved))
    if len(index) > _SAMPLE:  # at random, as regular steps may fall into one column
        index = index[np.random.default_rng(0).integers(len(index), size=_SAMPLE)]
    p = np.stack(np.divmod(index, moved.shape[1]), -1) + 0.5
    q = moved.reshape(-1, 3)[index, :2].astype(np.float64)
    p_mean, q_mean = p.mean(0), q.mean(0)
    p, q = p - p_mean, q - q_mean
    linear = np.linalg.solve(p.T @ p, p.T @ q).T
    # Pixels of the original or of the view, whichever are larger.
    error = np.abs(p @ linear.T - q).max() / max(1.0, *np.linalg.norm(linear, axis=0))
    if error > _TOLERANCE:
        raise ValueError(
            f"be an affine map within {_TOLERANCE} pixels, but is off by {error:.2g}: take out "
            "perspective, elastic and grid distortions, borders that reflect, and enlarging again "
            "after reducing"
        )
    return np.column_stack([linear, q_mean - linear @ p_mean])


def _inner(moved: Float32[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """The covered pixels that no resampler clamped: enlarging repeats half a pixel at each edge."""
    import cv2

    covered = np.abs(moved[..., 2] - _COVERED) < 1e-4
    zoom = []  # pixels of the view for one of the original, downwards and to the right
    for lines, there in ((moved, covered), (moved.swapaxes(0, 1), covered.T)):
        dy, dx = (np.diff(lines[..., i], axis=0)[there[1:] & there[:-1]] for i in (0, 1))
        longest = np.sqrt((dy * dy + dx * dx).max(initial=0))  # clamped pixels make shorter steps
        zoom.append(1 / max(float(longest), 1e-9))
    filled = np.pad(covered.astype(np.uint8), 1)  # an edge of the view is one to cv2 as well
    for margin in (1.5, 0.5, 0):  # in pixels of the original; 0 only where nothing is enlarged
        if max(zoom) > (1e8 if margin else 1 + 1e-3):
            break
        down, right = (math.ceil(margin * z - 1e-3) for z in zoom)
        window = np.ones((2 * down + 1, 2 * right + 1), np.uint8)
        inner = cv2.erode(filled, window)[1:-1, 1:-1].astype(bool)
        if inner.any(0).sum() > 1 and inner.any(1).sum() > 1:
            return inner
    raise ValueError(
        "show 2 rows and 2 columns of the image, or 3 where it enlarges them, but shows too little "
        "to tell a scale"
    )
