import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Visionpe
from PIL import Image
from torch import nn

from visionpe.cli.probed import find_model
from visionpe.data.photographs import find_photographs, grey, random_crops
from visionpe.errors import ConfigError, DataError

SMALL = ("--size", "32", "40", "--targets", "H", "--seeds", "1", "--batch-size", "32")


@pytest.fixture
def photographs(folder: Path) -> Path:
    """Four of them, of two sizes and three kinds."""
    here = folder / "photographs"
    (here / "below").mkdir(parents=True)
    noise = torch.randint(256, (60, 90, 4), dtype=torch.uint8).numpy()
    Image.fromarray(noise[:, :, :3]).save(here / "a.JPG")
    Image.fromarray(noise).save(here / "b.png")
    Image.fromarray(noise[:50, :44, 0]).save(here / "below" / "c.png")
    Image.fromarray(noise[..., 0]).convert("P").save(here / "d.gif")
    (here / "notes.txt").write_text("no image")
    return here


def net() -> nn.Module:
    """What `--model test_probing:net` would name."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())


@pytest.fixture
def factory(folder: Path) -> str:
    (folder / "mine.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())\n"
        "def broken():\n"
        "    return 3\n"
    )
    return "mine:net"


def test_a_folder_of_photographs_is_probed_and_the_page_written(
    visionpe: Visionpe, photographs: Path, factory: str
) -> None:
    words = ("--images", str(photographs), "--crops", "12", "--layers", "1", "--out", "out")
    code, printed = visionpe("probe", factory, *SMALL, *words)
    assert code == 0, printed
    assert "shuffled" in printed  # never a score without its null
    assert Path(printed.splitlines()[-1]) == Path("out/index.html")
    page = Path("out/index.html").read_text()
    assert f"12 random crops of 4 photographs in {photographs}" in page
    assert f"visionpe probe {factory}" in page


def test_without_images_leaves_are_generated_and_said_so(visionpe: Visionpe, factory: str) -> None:
    code, printed = visionpe("probe", factory, *SMALL, "--layers", "0")
    assert code == 0, printed
    assert "No images were given. These were generated" in printed


def test_the_same_command_gives_the_same_table(
    visionpe: Visionpe, photographs: Path, factory: str
) -> None:
    words = (factory, *SMALL, "--images", str(photographs), "--crops", "8", "--layers", "0")
    printed = []
    for _ in range(2):
        torch.manual_seed(0)  # of the weights
        printed.append(visionpe("probe", *words))
    assert printed[0][0] == 0, printed[0][1]
    assert printed[0] == printed[1]


def test_weights_are_loaded_without_running_them(
    visionpe: Visionpe, factory: str, folder: Path
) -> None:
    torch.save({"0.weight": torch.zeros(6, 3, 3, 3), "0.bias": torch.zeros(6)}, folder / "zero.pth")
    found = find_model(factory, weights="zero.pth")
    assert not any(p.any() for p in found.model.parameters())
    torch.save(net(), folder / "whole.pth")
    code, printed = visionpe("probe", factory, *SMALL, "--weights", "whole.pth")
    assert code == 2
    assert "holds more than tensors and plain data" in printed
    assert len(printed.splitlines()) == 1


def test_names_of_timm_and_torchvision_are_found_with_their_sizes() -> None:
    timm = find_model("test_resnet")
    assert timm.size == (160, 160)
    assert timm.mean == (0.5, 0.5, 0.5)
    assert not timm.model.training
    torchvision = find_model("torchvision:squeezenet1_1", size=(64, 96))
    assert torchvision.size == (64, 96)
    assert type(torchvision.model).__name__ == "SqueezeNet"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("resnet51", "Did you mean resnet"),
        ("mine:nett", "MODEL must name what is in mine, but it has no 'nett'. Did you mean `net`?"),
        ("nowhere:net", "MODEL must name a module that can be imported, but nowhere cannot"),
        ("mine:broken", "MODEL must make a module, but mine:broken makes a int."),
        ("torchvision:resnet19", "there is no 'torchvision:resnet19'"),
        ("gone.ckpt", "The checkpoint gone.ckpt does not exist."),
    ],
)
def test_models_that_are_not_there_are_a_line(
    visionpe: Visionpe, factory: str, model: str, said: str
) -> None:
    code, printed = visionpe("probe", model, *SMALL)
    assert code == 2
    assert said in printed
    assert len(printed.splitlines()) == 1
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--layers", "conv9"), "`layers`"),
        (("--targets", "HH"), "`targets` must be among 'H', 'V'"),
        (("--seeds", "0"), "argument --seeds: must be a number from 1 on, but is 0."),
        (("--crops", "many"), "argument --crops: must be a number from 1 on, but is many."),
        (("--size", "32"), "argument --size: expected 2 arguments."),
        (("--layer", "0"), "unrecognized arguments: --layer 0."),
        (("--images", "gone"), "The folder of images gone does not exist."),
        (
            ("--pretrained",),
            "`--pretrained` is of models of timm and torchvision, not of mine:net.",
        ),
    ],
)
def test_wrong_words_are_a_line(
    visionpe: Visionpe, factory: str, words: tuple[str, ...], said: str
) -> None:
    code, printed = visionpe("probe", factory, *SMALL, *words)
    assert code == 2
    assert said in printed
    assert len(printed.strip().splitlines()) == 1


def test_a_folder_with_files_is_refused_before_anything_is_computed(
    visionpe: Visionpe, folder: Path
) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("mine")
    code, printed = visionpe("probe", "there-is-no-such-model", "--out", "out")
    assert code == 2
    assert printed == (
        "visionpe: `folder` must be a new or an empty folder, but out holds files. Choose another, "
        "or remove it first.\n"
    )


def test_ctrl_c_writes_nothing(
    visionpe: Visionpe, factory: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("visionpe.probing.suite.probe", stop)
    code, printed = visionpe("probe", factory, *SMALL, "--out", "out")
    assert code == 130
    assert printed == "interrupted; nothing was written\n"
    assert not (folder / "out").exists()


def test_crops_are_the_same_each_time_and_of_all_photographs(photographs: Path) -> None:
    files = find_photographs(photographs)
    assert [file.name for file in files] == ["a.JPG", "b.png", "c.png", "d.gif"]
    crops = random_crops(files, 9, 32, 40)
    assert crops.shape == (9, 3, 32, 40)
    assert torch.equal(crops, random_crops(files, 9, 32, 40))
    assert torch.equal(crops[:5], random_crops(files, 5, 32, 40))
    assert not torch.equal(crops, random_crops(files, 9, 32, 40, seed=1))
    assert torch.equal(crops[2, 0], crops[2, 1])  # grey stays grey
    assert not torch.equal(crops[0], crops[4])  # of one photograph, another place


def test_a_crop_of_the_whole_is_the_photograph(folder: Path) -> None:
    values = torch.randint(256, (8, 12, 3), dtype=torch.uint8)
    Image.fromarray(values.numpy()).save(folder / "whole.png")
    crop = random_crops([folder / "whole.png"], 1, 8, 12)[0]
    assert torch.equal(crop, values.permute(2, 0, 1))


def test_unreadable_images_are_a_line_with_their_name(folder: Path) -> None:
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(DataError) as caught:
        random_crops([folder / "cut.jpg"], 1, 8, 8)
    assert str(caught.value) == (
        f"{folder / 'cut.jpg'} cannot be read as an image: remove or replace it."
    )
    Image.new("RGB", (20, 6)).save(folder / "flat.png")
    with pytest.raises(DataError) as caught:
        random_crops([folder / "flat.png"], 1, 8, 8)
    assert str(caught.value) == (
        f"{folder / 'flat.png'} is too small: 6 x 20 pixels, where 8 x 8 are needed. Remove it, or "
        "ask for a smaller size."
    )
    Image.new("I;16", (20, 20)).save(folder / "deep.png")
    with pytest.raises(DataError) as caught:
        random_crops([folder / "deep.png"], 1, 8, 8)
    assert str(caught.value) == (
        f"{folder / 'deep.png'} has 'I;16' pixels of more than 8 bits. Convert it to 8 bits a "
        "channel."
    )
    with pytest.raises(DataError) as caught:
        find_photographs(folder / "flat.png")
    assert str(caught.value) == f"The folder of images {folder / 'flat.png'} is a file."


def test_bombs_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 40)).save(folder / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb\.png claims more pixels than are safe to read"):
        random_crops([folder / "bomb.png"], 1, 8, 8)


def test_a_run_of_another_task_is_refused(visionpe: Visionpe, tiny: str) -> None:
    assert visionpe("fit", "--config", tiny, "--run.name", "tiny")[0] == 0
    with pytest.raises(
        ConfigError, match=r"must be of the task Classification, but is of tiny\.Tiny"
    ):
        find_model("runs/tiny/latest")


def test_a_classification_run_is_probed(folder: Path) -> None:
    """The network that the run trained, found by its folder or by its checkpoint."""
    from visionpe.tasks.classification import Classification

    task = Classification("test_resnet", num_classes=5, channels=3, image_size=(32, 40))
    arguments = {"backbone": "test_resnet", "num_classes": 5, "channels": 3, "image_size": [32, 40]}
    kept = {"class_path": "visionpe.tasks.classification.Classification", "init_args": arguments}
    torch.save({"state_dict": task.state_dict(), "visionpe": {"model": kept}}, folder / "a.ckpt")
    found = find_model("a.ckpt")
    assert found.size == (32, 40)
    for ours, theirs in zip(found.model.parameters(), task.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_crops_of_one_photograph_are_not_in_fit_and_test(
    visionpe: Visionpe, photographs: Path, factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("visionpe.probing.suite.probe", _keep(given))
    words = ("--images", str(photographs), "--crops", "6", "--layers", "1")
    assert visionpe("probe", factory, *SMALL, *words)[0] == 2
    assert given["groups"].tolist() == [0, 1, 2, 3, 0, 1]


def _keep(given: dict[str, Any]) -> Callable[..., None]:
    """In the place of `probe`: keeps what it was given."""

    def probe(model: nn.Module, images: Any, **options: Any) -> None:
        given.update(options, images=images)
        raise ValueError("kept")

    return probe


def a_run(folder: Path, channels: int, data: dict[str, Any] | None) -> None:
    from visionpe.tasks.classification import Classification

    arguments: dict[str, Any] = {
        "backbone": "test_resnet", "num_classes": 5, "channels": channels, "image_size": [32, 40],
    }  # fmt: skip
    task = Classification(**{**arguments, "image_size": (32, 40)})
    kept = {"class_path": "visionpe.tasks.classification.Classification", "init_args": arguments}
    content = {"model": kept} | ({"data": data} if data else {})
    torch.save({"state_dict": task.state_dict(), "visionpe": content}, folder / "a.ckpt")


@pytest.mark.parametrize(
    ("channels", "data", "mean", "std"),
    [
        (1, {"class_path": "visionpe.data.FashionMNIST"}, (0.286,), (0.353,)),
        (1, {"class_path": "visionpe.data.ImageFolder", "init_args": {}}, (0.449,), (0.226,)),
        (
            3,
            {
                "class_path": "visionpe.data.ImageFolder",
                "init_args": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
            },
            (0.1, 0.2, 0.3),
            (0.4, 0.5, 0.6),
        ),
        (1, None, (0.449,), (0.226,)),
    ],
    ids=["of the class", "grey", "given", "unknown"],
)
def test_photographs_for_a_run_are_normalised_as_its_data_were(
    visionpe: Visionpe,
    photographs: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    channels: int,
    data: dict[str, Any] | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    a_run(folder, channels, data)
    given: dict[str, Any] = {}
    monkeypatch.setattr("visionpe.probing.suite.probe", _keep(given))
    visionpe("probe", "a.ckpt", "--images", str(photographs), "--crops", "4", *SMALL)
    batch = next(iter(given["images"]))
    assert batch.shape[1] == channels
    crops = random_crops(find_photographs(photographs), 4, 32, 40)
    crops = grey(crops) if channels == 1 else crops
    wanted = (crops / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    torch.testing.assert_close(batch, wanted, atol=1e-5, rtol=1e-5)


def test_a_run_of_one_channel_is_probed_and_its_page_says_the_normalisation(
    visionpe: Visionpe, photographs: Path, folder: Path
) -> None:
    a_run(folder, 1, {"class_path": "visionpe.data.FashionMNIST"})
    words = ("--images", str(photographs), "--crops", "24", "--layers", "conv1.0", "--out", "out")
    code, printed = visionpe("probe", "a.ckpt", *SMALL, *words)
    assert code == 0, printed
    meta = json.loads(Path("out/result.json").read_text())["meta"]
    assert (meta["mean"], meta["std"]) == ([0.286], [0.353])


def test_models_of_other_channels_get_no_photographs(
    visionpe: Visionpe, photographs: Path, folder: Path
) -> None:
    (folder / "four.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(4, 6, 3))\n"
    )
    code, printed = visionpe("probe", "four:net", *SMALL, "--images", str(photographs))
    assert code == 2
    assert printed == (
        "visionpe: `--images` must be for a model of 1 or 3 channels, but four:net takes 4. Leave "
        "it out.\n"
    )


def test_grey_is_what_pillow_has() -> None:
    values = torch.randint(256, (5, 9, 3), dtype=torch.uint8)
    theirs = torch.tensor(list(Image.fromarray(values.numpy()).convert("L").tobytes()))
    assert torch.equal(grey(values.permute(2, 0, 1)[None]).flatten().long(), theirs)


def test_what_macos_keeps_beside_a_photograph_is_none(photographs: Path) -> None:
    (photographs / "._a.JPG").write_bytes(b"\x00\x05\x16\x07")
    assert next(file.name for file in find_photographs(photographs)) == "a.JPG"


def test_a_folder_named_as_a_model_does_not_hide_it(folder: Path) -> None:
    (folder / "test_resnet").mkdir()
    assert find_model("test_resnet").size == (160, 160)


def test_the_number_of_generated_images_can_be_chosen(visionpe: Visionpe, factory: str) -> None:
    words = ("--crops", "20", "--layers", "1", "--out", "out")
    code, printed = visionpe("probe", factory, *SMALL, *words)
    assert code == 0, printed
    assert "generated: 20 dead-leaves images" in Path("out/index.html").read_text()
