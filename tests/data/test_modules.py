"""What all data modules of images promise, on tiny data sets in their real formats."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import trees
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

import visionpe.data
from visionpe import Frame
from visionpe.data import (
    CIFAR10,
    CIFAR100,
    BatchAugment,
    CentreCrop,
    FashionMNIST,
    ImageFolder,
    Images,
    Mix,
    ResizedCrop,
    TorchvisionAugment,
)
from visionpe.data.folder import pictures
from visionpe.data.image_data import ImageData
from visionpe.data.image_loader import ImageLoader
from visionpe.data.pictures import read_picture
from visionpe.data.shards import WebShards
from visionpe.errors import DataError

Make = Callable[..., ImageData]
NAMES = ("cifar10", "cifar100", "fashion_mnist", "folder", "images")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Make:
    """A maker of one of the data modules."""
    name = request.param
    if name in ("cifar10", "cifar100"):
        classes = int(name[5:])
        root = str(trees.cifar(tmp_path, monkeypatch, classes=classes))
        return lambda **options: (CIFAR10 if classes == 10 else CIFAR100)(root, **options)
    if name == "fashion_mnist":
        root = str(trees.fashion_mnist(tmp_path))
        return lambda **options: FashionMNIST(root, **options)
    if name == "folder":
        root = str(trees.image_folder(tmp_path))
        return lambda **options: ImageFolder(root, (24, 32), **options)
    images = torch.from_numpy(trees.pixels(40, 3, 24, 32))
    part = TensorDataset(images, torch.arange(40) % 5)
    return lambda **options: Images(
        5, train=part, val=part, test=part, image_size=(24, 32), **options
    )


@pytest.mark.parametrize("make", NAMES, indirect=True)
@pytest.mark.parametrize("workers", [0, 1])
def test_every_batch_is_image_target_and_frame(make: Make, workers: int) -> None:
    data = make(batch_size=8, num_workers=workers)
    size = (data.channels, *data.image_size)
    assert len(data.class_names) == data.num_classes
    assert len(data.mean) == len(data.std) == data.channels
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    loaders = (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader())
    for loader in (data.train_dataloader(), *loaders):
        count = 0
        assert isinstance(loader, ImageLoader)
        for batch in loader:
            assert type(batch) is tuple
            images, targets, frame = batch
            b = len(images)
            count += b
            assert images.shape == (b, *size)
            assert images.dtype == torch.float32
            assert targets.shape == (b,)
            assert targets.dtype == torch.int64
            assert 0 <= targets.min() <= targets.max() < data.num_classes
            assert isinstance(frame, Frame)
            assert frame.affine.shape == (b, 2, 3)
            assert frame.view.tolist() == [list(data.image_size)] * b
            assert frame.extent.shape == (b, 2)
        assert count == len(loader.source)


@pytest.mark.parametrize("make", NAMES, indirect=True)
def test_the_seed_decides_order_and_augmentation_of_training_alone(make: Make) -> None:
    def batches(seed: int, part: str) -> Any:
        data = make(batch_size=40, seed=seed)
        data.augment = TorchvisionAugment([v2.Resize(data.image_size), v2.RandomRotation(20)])
        data.setup("fit")
        return first(getattr(data, f"{part}_dataloader")())

    (a, _, fa), (b, _, fb), (c, _, fc) = (batches(seed, "train") for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert torch.equal(fa.affine, fb.affine)
    assert not torch.equal(a, c)
    assert not torch.equal(fa.affine, fc.affine)
    assert torch.equal(batches(0, "val")[0], batches(1, "val")[0])


@pytest.mark.parametrize("make", ["cifar10", "fashion_mnist"], indirect=True)
def test_training_and_validation_images_do_not_meet(make: Make) -> None:
    data = make(batch_size=100, val_fraction=0.25)
    data.setup("fit")
    train, val = (
        first(loader)[0].flatten(1) for loader in (data.train_dataloader(), data.val_dataloader())
    )
    assert (len(train), len(val)) == (30, 10)
    assert len(torch.cat([train, val]).unique(dim=0)) == 40
    data = make(val_fraction=0.0)
    data.setup("fit")
    assert data.val_dataloader() == []
    assert length(data.train_dataloader()) == 40
    message = f"{type(data).__name__} has no val part, which `validate` needs."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        data.setup("validate")


@pytest.mark.parametrize("make", ["cifar10", "folder"], indirect=True)
def test_mixed_training_batches_have_shares_of_classes(make: Make) -> None:
    data = make(batch_size=8, mix=Mix(mixup=0.5, cutmix=1.0))
    data.setup("fit")
    _, shares, _ = next(iter(data.train_dataloader()))
    assert shares.shape == (8, data.num_classes)
    torch.testing.assert_close(shares.sum(-1), torch.ones(8))
    assert first(data.val_dataloader())[1].dtype == torch.int64


@pytest.mark.parametrize("make", NAMES, indirect=True)
def test_wrong_numbers_are_refused(make: Make) -> None:
    for options, message in [
        ({"batch_size": 0}, "`batch_size` must be at least 1 image, but is 0."),
        ({"eval_batch_size": -1}, "`eval_batch_size` must be at least 1 image, but is -1."),
        ({"num_workers": -1}, "`num_workers` must be at least 0, but is -1."),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            make(**options)
    if "val_fraction" in type(make()).__init__.__annotations__:
        message = "`val_fraction` must be in [0, 1), but is 1.0."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            make(val_fraction=1.0)


@pytest.mark.parametrize("make", ["cifar10", "fashion_mnist"], indirect=True)
def test_images_in_memory_may_lie_on_a_device_of_this_machine(make: Make) -> None:
    assert make(device="cpu", num_workers=2).device == "cpu"
    message = r"^`device` must be one of this machine, but is 'nowhere': .+\.$"
    with pytest.raises(ValueError, match=message):
        make(device="nowhere")
    message = r"^`num_workers` must be 0 for images that lie on 'meta', but is 1\.$"
    with pytest.raises(ValueError, match=message):
        make(device="meta", num_workers=1)


@pytest.mark.parametrize("make", ["folder", "images"], indirect=True)
def test_batches_of_files_cannot_be_augmented_as_tensors(make: Make) -> None:
    data = make()
    data.augment = BatchAugment()
    data.setup("fit")
    message = (
        "`augment` must work sample by sample for images that do not lie in memory, but is "
        "BatchAugment: take ResizedCrop, TorchvisionAugment or Augment."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        data.train_dataloader()


def first(loader: Any) -> Any:
    """The first batch."""
    return next(iter(loader))


def length(loader: Any) -> int:
    """Samples of an epoch."""
    return len(loader.source)


class Recorder(L.LightningModule):
    """Learns nothing, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, _, frame = batch
        assert isinstance(frame, Frame)
        self.seen.append(images.sum() + frame.affine.sum())
        return self.weight * 1

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("mean", batch[0].mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Keep(L.Callback):
    """Writes a checkpoint after the seventh batch."""

    at = 7

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.at:
            trainer.save_checkpoint(self.path)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning's, under torch 2.15
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")
@pytest.mark.parametrize("make", ["cifar10", "folder"], indirect=True)
def test_a_run_resumed_in_mid_epoch_sees_the_rest_as_it_would_have(
    make: Make, tmp_path: Path
) -> None:
    def data() -> ImageData:
        made = make(batch_size=4, seed=3)
        made.augment = BatchAugment() if isinstance(made, CIFAR10) else ResizedCrop((24, 32))
        return made

    whole, resumed = Recorder(), Recorder()
    keep = Keep(tmp_path / "half.ckpt")
    trainer(tmp_path, max_epochs=3, callbacks=[keep]).fit(whole, datamodule=data())
    trainer(tmp_path, max_epochs=3).fit(
        resumed, datamodule=data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    assert len(whole.seen) % 3 == 0
    assert keep.at % (len(whole.seen) // 3) > 0  # in mid-epoch
    assert torch.equal(torch.stack(resumed.seen), torch.stack(whole.seen[keep.at :]))


def test_names_are_loaded_on_first_use() -> None:
    assert sorted(visionpe.data.__all__) == sorted(visionpe.data._HOME)
    for name in visionpe.data.__all__:
        assert getattr(visionpe.data, name).__name__ == name
    assert "CIFAR10" in dir(visionpe.data)
    with pytest.raises(AttributeError, match=r"^module 'visionpe\.data' has no attribute"):
        _ = visionpe.data.CIFAR


# Folders.


def test_a_folder_of_classes_is_parted(tmp_path: Path) -> None:
    data = ImageFolder(str(trees.image_folder(tmp_path, parts=())), (8, 8), val_fraction=0.5)
    data.setup("fit")
    assert data.class_names == ("cat", "dog", "owl")
    train, val = data.train_dataloader(), data.val_dataloader()
    assert length(train) == length(val) == 9
    with pytest.raises(DataError, match=r"^ImageFolder has no test part, which `test` needs\.$"):
        data.setup("test")


def test_validation_without_a_folder_is_held_out_of_training(tmp_path: Path) -> None:
    data = ImageFolder(str(trees.image_folder(tmp_path, parts=("train", "test"))), (8, 8))
    data.setup("fit")
    data.setup("test")
    assert length(data.train_dataloader()) == 16
    assert length(data.test_dataloader()) == 18


def test_validation_images_are_the_window_in_the_middle(tmp_path: Path) -> None:
    data = ImageFolder(str(trees.image_folder(tmp_path, size=(40, 56))), (20, 20))
    data.setup("validate")
    _, _, frame = first(data.val_dataloader())
    expected = CentreCrop((20, 20)).apply(torch.zeros(3, 40, 56))[1]
    assert torch.equal(frame.affine[0], expected.affine)


def test_hidden_files_and_other_endings_are_left_out(tmp_path: Path) -> None:
    root = trees.image_folder(tmp_path, parts=())
    (root / "cat" / "notes.txt").write_text("no picture")
    (root / "cat" / ".0.jpg").write_text("no picture")
    (root / ".cache").mkdir()
    data = ImageFolder(str(root), (8, 8), val_fraction=0)
    data.setup("fit")
    assert length(data.train_dataloader()) == 18
    assert len(list(data.train_dataloader())) == 1


def test_hidden_folders_are_left_out_and_others_belong_to_their_class(tmp_path: Path) -> None:
    root = trees.image_folder(tmp_path / "data", parts=())
    notebook, deeper = root / "cat" / ".ipynb_checkpoints", root / "cat" / "black" / "old"
    elsewhere = tmp_path / "elsewhere"
    for folder in (notebook, deeper, elsewhere):
        folder.mkdir(parents=True)
        shutil.copy(root / "cat" / "0.jpg", folder / "0.jpg")
    (root / "dog" / "more").symlink_to(elsewhere)
    (root / "dog" / "self").symlink_to(root / "dog")  # without end, if one follows
    (root / "dog" / "one.jpg").symlink_to(elsewhere / "0.jpg")
    data = ImageFolder(str(root), (8, 8), val_fraction=0)
    data.setup("fit")
    paths = [path.relative_to(root) for path, _ in pictures(root, data.class_names)]
    assert len(paths) == length(data.train_dataloader()) == 18 + 3
    assert {Path("cat/black/old/0.jpg"), Path("dog/more/0.jpg"), Path("dog/one.jpg")} < {*paths}


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    root = trees.image_folder(tmp_path, parts=())
    link = root / "dog" / "lost.jpg"
    link.symlink_to(tmp_path / "gone.jpg")
    message = (
        f"{link} must lead to a file or folder, but {tmp_path / 'gone.jpg'} is not there. "
        "Bring that back, or remove the link."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        ImageFolder(str(root)).setup("fit")


def test_names_of_parts_may_have_capitals(tmp_path: Path) -> None:
    root = trees.image_folder(tmp_path, parts=("Train", "VAL"))
    data = ImageFolder(str(root), (8, 8))
    assert data.class_names == ("cat", "dog", "owl")
    assert {part: folder.name for part, folder in data.folders.items()} == {
        "train": "Train",
        "val": "VAL",
    }


def test_pictures_are_grey_or_coloured(tmp_path: Path) -> None:
    message = r"^`channels` of pictures must be 3 for colours or 1 for grey, but is 4\.$"
    with pytest.raises(ValueError, match=message):
        ImageFolder(str(trees.image_folder(tmp_path)), channels=4)
    with pytest.raises(ValueError, match=message):
        WebShards("gone.tar", channels=4)
    with pytest.raises(ValueError, match=message):
        read_picture(tmp_path / "gone.png", channels=4)


def test_names_may_be_in_any_script(tmp_path: Path) -> None:
    root = trees.image_folder(tmp_path, parts=(), classes=("кіт", "собака", "a b"))
    data = ImageFolder(str(root), (8, 8))
    data.setup("fit")
    assert data.class_names == ("a b", "кіт", "собака")
    assert len(list(data.train_dataloader())) == 1


def test_a_damaged_picture_stops_with_its_name(tmp_path: Path) -> None:
    root = trees.image_folder(tmp_path, parts=())
    path = root / "dog" / "2.jpg"
    path.write_bytes(path.read_bytes()[:400])
    for workers in (0, 1):
        data = ImageFolder(str(root), (8, 8), val_fraction=0, num_workers=workers)
        data.setup("fit")
        with pytest.raises(DataError, match=rf"^{re.escape(str(path))} is damaged: .+\.$"):
            list(data.train_dataloader())


def folder(tmp_path: Path, **options: Any) -> Path:
    return trees.image_folder(tmp_path / "data", **options)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: root / "gone", "`root` must be a folder of pictures, but {} is none."),
        (
            lambda root: (
                trees.image_folder(root / "a", parts=(), classes=()) or (root / "e").mkdir()
            ),
            "{} must hold a folder of pictures for each class, but holds none.",
        ),
        (
            lambda root: trees.image_folder(root, parts=("val", "test")),
            "{} has a val and a test part, but no folder `train`.",
        ),
        (
            lambda root: trees.image_folder(root, parts=("train", "val", "valid")),
            "{} must have one folder of the val part, but has val and valid.",
        ),
        (
            lambda root: (
                trees.image_folder(root, parts=("train",), classes=("cat", "dog")),
                trees.image_folder(root, parts=("val",), classes=("cat", "owl", "rat")),
            ),
            "{}/val must have the 2 classes of {}/train, but has 3: lacks dog and adds owl, rat.",
        ),
        (
            lambda root: (
                trees.image_folder(root, parts=("train",)),
                trees.image_folder(root, parts=("test",), classes=("cat", "dog")),
            ),
            "{}/test must have the 3 classes of {}/train, but has 2: lacks owl.",
        ),
    ],
    ids=["missing", "empty", "no train", "two vals", "other classes", "fewer classes"],
)
def test_folders_at_odds_are_refused_at_once(
    spoil: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    made = spoil(tmp_path)
    root = made if isinstance(made, Path) and made.name == "gone" else tmp_path
    root = tmp_path / "e" if (tmp_path / "e").exists() else root
    with pytest.raises(DataError, match=f"^{re.escape(message.replace('{}', str(root)))}$"):
        ImageFolder(str(root))


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    root = trees.image_folder(tmp_path, parts=())
    (root / "empty").mkdir()
    data = ImageFolder(str(root))
    message = (
        f"{root / 'empty'} must hold pictures (.jpg, .jpeg, .png, .ppm, .pgm, .bmp, .gif, .tif, "
        ".tiff, .webp), but holds none. Add some, or remove the folder."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        data.setup("fit")


def test_statistics_must_fit_the_channels(tmp_path: Path) -> None:
    root = str(trees.image_folder(tmp_path, parts=()))
    message = "`mean` must be a number for each of the 3 channels, but is (0.5,)."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ImageFolder(root, mean=(0.5,))
    assert ImageFolder(root, channels=1).mean == (0.449,)


# Any data set.


class Named(TensorDataset):
    """A data set that names its classes, as torchvision's do."""

    classes = ("a", "b", "c")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"num_classes": 0}, ValueError, "`num_classes` must be at least 1, but is 0."),
        (
            {"num_classes": 2, "class_names": ("a",)},
            ValueError,
            "`class_names` must be 2 names, but are 1.",
        ),
        (
            {"num_classes": 4, "val": Named(torch.zeros(1))},
            DataError,
            "`num_classes` must be that of `val`, which names 3 classes, but is 4.",
        ),
        (
            {"num_classes": 4, "train": torch.utils.data.Dataset()},
            DataError,
            "`train` must be a data set with a length or an IterableDataset, but Dataset is "
            "neither.",
        ),
    ],
)
def test_data_sets_at_odds_are_refused_at_once(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        Images(**options)


def test_data_sets_that_name_their_classes_must_agree() -> None:
    train, val = Named(torch.zeros(1)), Named(torch.zeros(1))
    assert Images(3, train=train, val=val).class_names == ("a", "b", "c")
    val.classes = ("b", "a", "c")
    message = "`val` must name the same classes as `train`, but its class 0 is 'b', there 'a'."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        Images(3, train=train, val=val)


def test_a_root_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    trees.image_folder(tmp_path / "pictures")
    assert ImageFolder("~/pictures", (24, 32)).num_classes > 1


def test_an_empty_part_is_refused() -> None:
    data = Images(2, train=TensorDataset(torch.zeros(0, 3, 4, 4), torch.zeros(0)))
    data.setup("fit")
    with pytest.raises(DataError, match=r"^The train part of Images is empty\.$"):
        data.train_dataloader()
    with pytest.raises(DataError, match=r"^Images has no test part, which `test` needs\.$"):
        data.setup("test")
