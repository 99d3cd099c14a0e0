"""The census finds what it says, and would say so if it were otherwise."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import visionpe
from experiments import census
from experiments.surveying import kinds, listed, sizes, table, trying
from experiments.surveying.models import LARGE, VISION, Subject, make, subjects
from experiments.surveying.rows import rows
from visionpe.attaching.planning import make_plan

EVERY = {subject.name: subject for subject in subjects()}
FAMILIES = ["test_vit", "test_resnet", "test_efficientnet", "test_maxvit", "test_convnext"]


@pytest.mark.parametrize("name", [*FAMILIES, f"{VISION}squeezenet1_1"])
def test_a_model_takes_every_kind_that_has_a_place_in_it(name: str) -> None:
    lines = {line["kind"]: line for line in rows(EVERY[name])}
    assert set(lines) == set(kinds.TITLES)
    outcomes = {kind: line["outcome"] for kind, line in lines.items()}
    assert set(outcomes.values()) <= {"accepted", "nothing there"}, lines
    assert outcomes["coordconv all"] == outcomes["absolute"] == outcomes["time"] == "accepted"
    if name in ("test_vit", "test_maxvit"):
        assert outcomes["table bias"] == outcomes["rotary"] == "accepted"
    else:
        assert outcomes["table bias"] == "nothing there"


@pytest.fixture
def net() -> tuple[nn.Module, torch.Tensor, Any]:
    made = sizes.at(EVERY["test_vit"], (48, 80), told=True)
    assert made is not None
    found = visionpe.trace(made.model, 48, 80)

    def plan(kind: Any, at: Any = None) -> Any:
        return make_plan(found, made.model, kind, at=at, name=None, share=False)

    return made.model, made.images, plan


def outcome(net: Any, encoding: Any, *, exact: bool = False) -> Any:
    model, images, plan = net
    made = plan(encoding)
    before = trying.Before(model, images)
    return trying.attempt(model, images, made, before, exact)


def test_an_encoding_that_acts_is_accepted(net: Any) -> None:
    result = outcome(net, kinds.table)
    assert result["outcome"] == "accepted"
    assert result["identity"] <= 1e-5 < result["at_site"]
    assert result["sites"] == 6
    assert result["detached"]


def test_an_encoding_that_does_nothing_is_silent(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "fill", lambda plan, scale: None)
    assert outcome(net, kinds.table)["outcome"] == "silent"
    assert outcome(net, kinds.learned, exact=True)["outcome"] == "silent"
    assert outcome(net, visionpe.CoordConv(), exact=True)["outcome"] == "silent"


@pytest.mark.parametrize("enough", [100.0, 1000.0])
def test_what_rounding_may_change_is_nothing_and_more_is_tried_before_that_is_said(
    net: Any, monkeypatch: pytest.MonkeyPatch, enough: float
) -> None:
    fill = trying.fill
    monkeypatch.setattr(
        trying, "fill", lambda plan, scale: fill(plan, 1.0 if scale >= enough else 1e-9)
    )
    result = outcome(net, kinds.table)
    assert result["outcome"] == ("accepted" if enough == 100 else "silent")


def test_one_idle_site_among_others_is_silent(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_all_but_one(plan: visionpe.Plan, scale: float) -> None:
        for entry in plan.entries[:-1]:
            nn.init.normal_(entry.encoding.get_parameter("table"))

    monkeypatch.setattr(trying, "fill", fill_all_but_one)
    result = outcome(net, kinds.table)
    assert result["outcome"] == "silent"
    assert result["reason"] == "1 did nothing: blocks.5.attn"


def test_an_encoding_that_is_no_identity_at_first_is_said_to_change(net: Any) -> None:
    result = outcome(net, lambda site: visionpe.RelativeBias(2, (3, 5), std=1.0))
    assert result["outcome"] == "changed at first"


def test_what_detach_leaves_behind_is_found(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visionpe, "detach", lambda model: model)
    result = outcome(net, kinds.table)
    assert result["outcome"] == "not undone"
    assert result["reason"] == "attributes, hooks or children remained"


def test_errors_are_visionpes_own_or_untyped() -> None:
    with pytest.raises(ValueError, match="`channels`") as ours:
        visionpe.Learned2d(0, (2, 3))
    with pytest.raises(ValueError, match="could not convert") as foreign:
        float("a")
    assert trying.failed(ours.value)["outcome"] == "missed"
    assert trying.failed(foreign.value)["outcome"] == "untyped"
    assert trying.failed(visionpe.AttachError("no"))["outcome"] == "missed"


def test_large_weights_of_one_shape_share_their_memory_and_small_ones_do_not() -> None:
    model = make(Subject("vit_tiny_patch16_224", "vision_transformer", (224, 224)))
    one, other, again = (model.get_parameter(f"blocks.{i}.mlp.fc1.weight") for i in (0, 1, 4))
    assert one.numel() >= LARGE
    assert one.data_ptr() == again.data_ptr() != other.data_ptr()
    one, again = (model.get_parameter(f"blocks.{i}.norm1.weight") for i in (0, 4))
    assert one.data_ptr() != again.data_ptr()


@pytest.mark.parametrize(
    ("model", "part"), [("test_convnext", "gamma"), (f"{VISION}convnext_tiny", "layer_scale")]
)
def test_scales_of_layers_that_start_close_to_zero_hide_nothing(model: str, part: str) -> None:
    scales = [p for n, p in make(EVERY[model]).named_parameters() if part in n]
    assert scales
    assert all(bool((scale == 1).all()) for scale in scales)


def test_torchvisions_vits_are_made_for_small_squares_too() -> None:
    made = sizes.smallest(EVERY[f"{VISION}vit_b_16"])
    assert made.told
    assert made.size == (64, 64)


def test_giants_are_made_for_fewer_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = EVERY["test_vit"]
    assert sizes.smallest(subject).size == (64, 96)
    monkeypatch.setattr(sizes, "GIANT", 0)
    assert sizes.smallest(subject).size == (32, 48)


def test_attention_in_windows_of_one_token_is_looked_for_in_larger_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizes, "GIANT", 0)
    lines = {line["kind"]: line for line in rows(EVERY["swinv2_cr_tiny_224"])}
    assert lines["absolute"]["size"] == [32, 48]
    assert lines["table bias"]["size"] == lines["rotary"]["size"] == [64, 96]
    assert lines["table bias"]["outcome"] == lines["rotary"]["outcome"] == "accepted"
    assert lines["table bias"]["sites"] == 12


def test_lines_are_appended_and_a_cut_off_one_is_dropped(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    census.run([EVERY["test_resnet"]], out, jobs=1, seconds=300, memory=7)
    lines = census.read(out)
    assert {line["name"] for line in lines} == {"test_resnet"}
    with out.open("a") as file:
        file.write('{"name": "cut o')
    assert census.read(out) == lines


def test_a_model_that_takes_too_long_is_ended_and_said_so(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    census.run([EVERY["test_vit"]], out, jobs=1, seconds=0.05, memory=7)
    assert census.read(out)[-1]["outcome"] == "ended"
    assert census.read(out)[-1]["reason"] == "more than 0 s"


def test_the_smallest_model_of_each_file_comes_first() -> None:
    few = [
        Subject("a_large", "a", (8, 8)),
        Subject("a_small", "a", (8, 8)),
        Subject("b_only", "b", (8, 8)),
        Subject("test_a", "a", (8, 8)),
    ]
    sample, others = census.ordered(few, {"a_large": 9, "a_small": 5, "b_only": 7, "test_a": 1})
    assert [s.name for s in sample] == ["a_small", "b_only"]
    assert [s.name for s in others] == ["test_a", "a_large"]


def test_the_page_counts_what_the_lines_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "PAGE", tmp_path / "census.md")
    monkeypatch.setattr(table, "WELL_KNOWN", tmp_path / "well_known.md")
    monkeypatch.setattr(listed, "LISTED", tmp_path / "census.csv")

    def line(name: str, kind: str, outcome: str, **more: Any) -> dict[str, Any]:
        about = {"name": name, "module": "resnet", "size": [64, 96], "outcome": outcome}
        return {**about, "kind": kind, **more}

    names = [EVERY["resnet18"], EVERY["resnet34"], EVERY["resnet50"]]
    lines = [
        line("resnet18", "absolute", "accepted", identity=0.0, equal=True),
        line("resnet18", "time", "accepted", seconds=1.0),
        line("resnet34", "absolute", "missed", error="ValueError", reason="it holds windows."),
        line("resnet34", "time", "accepted", seconds=12.0),
    ]
    table.write_page(lines, names)
    text = (tmp_path / "census.md").read_text()
    assert "| absolute table at the token or stem site | 2 | 1 | 50.00 % | 0, to the bit |" in text
    assert "**Not run: 1 of 3.**" in text
    assert "under 10 s for 50.00 % of 2 names" in text
    reason = "missed: ValueError it holds windows."
    assert f"| absolute table at the token or stem site | {reason} | `resnet34` |" in text
    rows_there = (tmp_path / "census.csv").read_text().splitlines()
    assert rows_there[2] == "resnet18,,,,+,,,"
    assert rows_there[3] == f"resnet34,,,,!,,,{reason}"
    assert rows_there[4] == "resnet50,,,,,,,"
