"""A position encoding as one line."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

import visionpe
from visionpe.tasks.recipes import Recipe, recipes

LINES = [
    "visionpe.Sinusoidal2d",
    "visionpe.PEG",
    "Learned2d",
    {"class_path": "visionpe.AddFourierFeatures", "init_args": {"bands": 4}},
    "visionpe.Factorised2d",
    "visionpe.RelativeBias",
    "visionpe.LogCPB",
    "visionpe.AxisBias",
    "visionpe.DecomposedBias",
    "visionpe.BucketBias",
    "visionpe.Alibi2d",
    "visionpe.Shaw",
    "visionpe.IRPEBias",
    "visionpe.IRPEContextual",
    "visionpe.TransformerXL",
    "visionpe.Rotary",
    "visionpe.RotaryMixed",
    "visionpe.RotarySimplex",
    "visionpe.LieRE",
    "visionpe.CoordConv",
]


@pytest.fixture(scope="module")
def pyramid() -> torch.nn.Module:
    """Heads, widths and lattices differ from stage to stage."""
    widths = {"embed_dims": (16, 32), "num_heads": (1, 2), "depths": (1, 1), "sr_ratios": (2, 1)}
    made: torch.nn.Module = timm.create_model(
        "pvt_v2_b0", num_classes=3, mlp_ratios=(2, 2), **widths
    )
    return made


@pytest.mark.parametrize("line", LINES, ids=str)
def test_one_line_attaches_where_sites_differ(line: Any, pyramid: torch.nn.Module) -> None:
    Recipe(line).attach(pyramid, (32, 48))
    (plan,) = visionpe.status(pyramid)
    try:
        for entry in plan.entries:
            for name, value in (("heads", entry.site.heads), ("head_dim", entry.site.head_dim)):
                made = getattr(entry.encoding, name, None)
                assert made in (None, value), name
        assert pyramid(torch.randn(2, 3, 32, 48)).shape == (2, 3)
    finally:
        visionpe.detach(pyramid)


def test_arguments_of_the_line_count_and_lists_become_what_is_asked_for(
    pyramid: torch.nn.Module,
) -> None:
    line = yaml.safe_load(
        "{class_path: visionpe.Learned2d, init_args: {cells: [3, 5], init_std: 0.02}, at: stages.0,"
        " name: table}"
    )
    Recipe(line).attach(pyramid, (32, 48))
    (plan,) = visionpe.status(pyramid)
    visionpe.detach(pyramid)
    assert plan.name == "table"
    assert [entry.site.module for entry in plan.entries] == ["stages.0"]
    made = plan.entries[0].encoding
    assert isinstance(made, visionpe.Learned2d)
    assert made.cells == (3, 5)
    assert made.channels == 16
    assert made.table.abs().max() > 0


def test_an_inner_class_is_made_anew_for_each_site(pyramid: torch.nn.Module) -> None:
    inner = {"class_path": "visionpe.QuantisedBuckets", "init_args": {"alpha": 2.0, "beta": 4.0}}
    line = {"class_path": "visionpe.IRPEContextual", "init_args": {"buckets": inner}}
    Recipe(line).attach(pyramid, (32, 48))
    (plan,) = visionpe.status(pyramid)
    visionpe.detach(pyramid)
    found = [entry.encoding for entry in plan.entries]
    first, second = (e.buckets for e in found if isinstance(e, visionpe.IRPEContextual))
    assert first is not second
    assert isinstance(first, visionpe.QuantisedBuckets)
    assert first.alpha == 2.0
    assert line["init_args"] == {"buckets": inner}  # the line is still plain data


def test_a_list_is_several_and_nothing_is_none() -> None:
    assert recipes(None) == []
    assert [r.kind.__name__ for r in recipes(["PEG", "CoordConv"])] == ["PEG", "CoordConv"]


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        (
            "visionpe.RelativeBia",
            ValueError,
            "`encodings` must name a class, but there is no 'visionpe.RelativeBia'. Did you mean "
            "'RelativeBias'? `visionpe list encodings` names them.",
        ),
        (
            "visionpe.Frame",
            TypeError,
            "`encodings` must name encodings of maps or of attention, or CoordConv, but "
            "visionpe.Frame is none.",
        ),
        (
            {"class_path": "LieRE", "init_args": {"blok": 3}},
            ValueError,
            "`encodings`: LieRE has no argument 'blok'. Did you mean 'block'? It has heads, "
            "head_dim, block, init, unit.",
        ),
        (
            {"class_path": "LieRE", "init_args": {"block": "wide"}},
            ValueError,
            "`block` of LieRE must be int, but is 'wide'.",
        ),
        (
            {"class_path": "LieRE", "share_all": True},
            ValueError,
            "`encodings` has no key 'share_all'. Did you mean 'share'? There are class_path, "
            "init_args, at, share, name; arguments of the class go below `init_args`.",
        ),
        (
            "FourierFeatures",
            ValueError,
            "`encodings` must give `bands` of FourierFeatures below `init_args`: no site of a "
            "model says it.",
        ),
        (
            {"at": "first"},
            ValueError,
            "`encodings` must name a class, for instance visionpe.RelativeBias, as a word or as "
            "`class_path`, but is {'at': 'first'}.",
        ),
    ],
)
def test_a_line_that_cannot_be_is_refused_in_one_sentence(
    line: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        Recipe(line)
    assert str(caught.value) == says


def test_the_lines_in_the_heads_of_the_configurations_attach() -> None:
    """Each `encodings: ...` that a comment offers, on the backbone of that configuration."""
    from visionpe.tasks.backbones import Subject
    from visionpe.tasks.networks import make_network

    folder = Path(__file__).parents[2] / "configs" / "classification"
    offered = 0
    for file in ("cifar10_vit", "cifar10_resnet18", "cifar100_convnet"):
        text = (folder / f"{file}.yaml").read_text()
        model = yaml.safe_load(text)["model"]["init_args"]
        arguments = dict(model.get("backbone_args") or {})
        if file == "cifar10_vit":
            arguments |= {"depth": 1}
        for comment in text.splitlines():
            head, sign, line = comment.partition(" encodings: ")
            if not (comment.startswith("#") and sign and "`" not in head):
                continue
            network = make_network(
                model["backbone"],
                Subject(10, 3, (32, 32)),
                arguments,
                encodings=yaml.safe_load(line),
            )
            expected = 0 if line == "null" else 1
            assert len(visionpe.status(network)) == expected, line
            offered += 1
    assert offered == 18 + 6 + 5
