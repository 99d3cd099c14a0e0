"""Data: what a task learns from, and the loaders that bring it in a reproducible order.

The names below are loaded on first use: a loader of tensors needs neither Lightning nor pictures.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionpe.data.augment import Augment
    from visionpe.data.augments import SampleAugment
    from visionpe.data.batched import BatchAugment
    from visionpe.data.cifar import CIFAR10, CIFAR100
    from visionpe.data.fashion_mnist import FashionMNIST
    from visionpe.data.folder import ImageFolder
    from visionpe.data.image_data import ImageData
    from visionpe.data.images import Images
    from visionpe.data.mixing import Mix
    from visionpe.data.probe_images import ProbeImages
    from visionpe.data.published import PublishedImages
    from visionpe.data.shards import WebShards
    from visionpe.data.torchvision_augment import TorchvisionAugment
    from visionpe.data.views import CentreCrop, ResizedCrop
    from visionpe.data.y_arrow import YArrow

_HOME = {
    "Augment": "augment",
    "BatchAugment": "batched",
    "CIFAR10": "cifar",
    "CIFAR100": "cifar",
    "CentreCrop": "views",
    "FashionMNIST": "fashion_mnist",
    "ImageData": "image_data",
    "ImageFolder": "folder",
    "Images": "images",
    "Mix": "mixing",
    "ProbeImages": "probe_images",
    "PublishedImages": "published",
    "ResizedCrop": "views",
    "SampleAugment": "augments",
    "TorchvisionAugment": "torchvision_augment",
    "WebShards": "shards",
    "YArrow": "y_arrow",
}

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Augment",
    "BatchAugment",
    "CentreCrop",
    "FashionMNIST",
    "ImageData",
    "ImageFolder",
    "Images",
    "Mix",
    "ProbeImages",
    "PublishedImages",
    "ResizedCrop",
    "SampleAugment",
    "TorchvisionAugment",
    "WebShards",
    "YArrow",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'visionpe.data' has no attribute {name!r}")
    value = getattr(import_module(f"visionpe.data.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
