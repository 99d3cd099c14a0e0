"""`visionpe attach`."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from command import Visionpe

import visionpe as package
from visionpe.cli.encoding import can_attach, parse_encoding
from visionpe.errors import ConfigError

SMALL = ("--size", "48", "80")


def test_a_name_alone_is_filled_in_from_each_site(visionpe: Visionpe) -> None:
    code, text = visionpe("attach", "test_vit", "RelativeBias", *SMALL, "--dry-run")
    assert code == 0, text
    assert "RelativeBias at 6 sites of VisionTransformer for 48 x 80" in text
    assert "RelativeBias(2, (3, 5), prefix_bias=False, std=0.0)" in text


def test_arguments_that_are_given_stand_and_the_rest_is_filled_in(visionpe: Visionpe) -> None:
    words = ("Learned2d(init_std=0.5)", *SMALL, "--dry-run")
    code, text = visionpe("attach", "test_vit", *words)
    assert code == 0, text
    assert "Learned2d(64, (3, 5), bicubic=True, init_std=0.5)" in text


def test_sites_are_chosen(visionpe: Visionpe) -> None:
    words = ("RelativeBias", "--at", "blocks.0.attn", "blocks.2*", *SMALL, "--dry-run")
    code, text = visionpe("attach", "test_vit", *words)
    assert code == 0, text
    assert "RelativeBias at 2 sites" in text


def test_the_state_on_disk_puts_the_encoding_into_the_model(
    visionpe: Visionpe, folder: Path
) -> None:
    words = ("RelativeBias(2, (3, 5), prefix_bias=True)", *SMALL, "--out", "bias")
    code, text = visionpe("attach", "test_vit", *words)
    assert code == 0, text
    assert sorted(p.name for p in (folder / "bias").iterdir()) == [
        "attached.json",
        "attached.safetensors",
        "plan.txt",
    ]
    assert json.loads((folder / "bias/attached.json").read_text())["attachments"]
    model = timm.create_model("test_vit", img_size=(48, 80)).eval()
    images = torch.randn(1, 3, 48, 80)
    before = model(images)
    package.load(model, folder / "bias/attached")
    assert len(package.status(model)[0].entries) == 6
    torch.testing.assert_close(model(images), before, rtol=1e-5, atol=1e-5)
    files = {p: p.read_bytes() for p in (folder / "bias").iterdir()}
    code, text = visionpe("attach", "test_vit", *words)
    assert (code, text) == (
        2,
        "visionpe: `--out` must be a new or an empty folder, but bias holds files.\n",
    )
    assert {p: p.read_bytes() for p in (folder / "bias").iterdir()} == files


REFUSED: list[tuple[str, str]] = [
    (
        "RelativBias",
        "ENCODING must be one that can be attached, but is 'RelativBias'. Did you mean "
        "`RelativeBias`? `visionpe list encodings` names them.",
    ),
    (
        "sinusoidal2d",
        "ENCODING must be one that can be attached, but is 'sinusoidal2d'. Did you mean "
        "`Sinusoidal2d`? `visionpe list encodings` names them.",
    ),
    (
        "Frame(3)",
        "ENCODING must be one that can be attached, but is 'Frame'. `visionpe list encodings` "
        "names them.",
    ),
    (
        "RelativeBias(",
        "ENCODING must be a name or a call, but is 'RelativeBias('. For instance `RelativeBias` or "
        '`"RelativeBias(6, (14, 14))"`, in quotes for the shell.',
    ),
    (
        "RelativeBias(6, (open('x'), 14))",
        "ENCODING must have plain values as arguments, but has `(open('x'), 14)`. For instance "
        "`RelativeBias(6, (14, 14))`.",
    ),
    (
        "RelativeBias(**{'heads': 6})",
        "ENCODING must have plain values as arguments, but has `RelativeBias(**{'heads': 6})`. For "
        "instance `RelativeBias(6, (14, 14))`.",
    ),
    (
        "RelativeBias(0, (14, 14))",
        "ENCODING RelativeBias cannot be made: `heads` must be at least 1, but is 0.",
    ),
    (
        "PEG(8, size=3)",
        "ENCODING PEG(channels: int, *, kernel_size: int = 3, padding_mode: str = 'zeros', "
        "bias: bool = True, zero_init: bool = True) -> None cannot take these: got an unexpected "
        "keyword argument 'size'.",
    ),
    (
        "NerfFeatures",
        "ENCODING NerfFeatures must be given `octaves`, which no site says. Write a call: "
        "NerfFeatures(octaves: int) -> None.",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_an_encoding_that_cannot_be_read_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_encoding(text)
    assert str(error.value) == says


def test_nothing_in_an_encoding_is_run(folder: Path) -> None:
    for text in ("open('made', 'w')", "Sinusoidal2d(temperature=open('made', 'w'))"):
        with pytest.raises(ConfigError):
            parse_encoding(text)
    assert not (folder / "made").exists()


def test_calls_within_a_call_are_read() -> None:
    made: Any = parse_encoding("IRPEBias(2, buckets=ClippedBuckets(clip=5))")
    assert repr(made.buckets) == repr(package.ClippedBuckets(clip=5))


def test_every_encoding_that_can_be_attached_can_be_named() -> None:
    for name in package.__all__:
        kind = getattr(package, name)
        if can_attach(kind) and name not in ("NerfFeatures",):
            given = "(bands=4)" if "bands" in str(kind.__init__.__annotations__) else ""
            given = "(width=8)" if name.startswith("Append") else given
            parse_encoding(name + given)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("test_vit", "RelativeBias(3, (3, 5))", *SMALL, "--dry-run"),
            "visionpe: RelativeBias(3, (3, 5)) cannot be attached to test_vit: `encoding` must fit "
            "`blocks.0.attn` (2 heads of width 32, 3 x 5 cells), but RelativeBias does not: its "
            "`heads` is 3. Name the sites that it fits, `at=`, or give a function that makes one "
            "for each `visionpe.Site`.\n",
        ),
        (
            ("test_vit", "RelativeBias"),
            "visionpe: one of the arguments --dry-run --out is required. `visionpe attach --help` "
            "says more.\n",
        ),
        (
            ("test_vit", "RelativeBias", "--size", "48", "0", "--dry-run"),
            "visionpe: argument --size: must be a number from 1 on, but is 0. `visionpe attach "
            "--help` says more.\n",
        ),
        (
            ("test_vit", "RelativeBias", "--size", "-48", "80", "--out", "bias"),
            "visionpe: argument --size: must be a number from 1 on, but is -48. `visionpe attach "
            "--help` says more.\n",
        ),
    ],
)
def test_refusals_are_one_sentence(visionpe: Visionpe, words: tuple[str, ...], says: str) -> None:
    assert visionpe("attach", *words) == (2, says)
