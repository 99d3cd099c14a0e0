import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from probing.made_up import made_up
from torch import nn

import visionpe
from visionpe.errors import RunFolderError
from visionpe.probing.page import to_html
from visionpe.probing.page_files import save
from visionpe.probing.page_findings import findings, headline, two
from visionpe.probing.page_words import KINDS, describe
from visionpe.probing.result import Mean, ProbeResult


class Balance(HTMLParser):
    """The tags that are open, and every address."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result() -> ProbeResult:
    return made_up(layers=("layer1", "layer2"), targets=("H", "G"))


@pytest.fixture(scope="module")
def saved(result: ProbeResult, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save(result, tmp_path_factory.mktemp("new") / "below" / "probe")


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes long, and other tests do it."""
    monkeypatch.setattr("visionpe.probing.page_files.pictures_of", lambda result: {})
    monkeypatch.setattr("visionpe.probing.page_files.page_of", lambda *args: "page")


@pytest.fixture(scope="module")
def page(result: ProbeResult) -> str:
    return to_html(result)


def test_the_page_needs_no_network_and_is_small(page: str) -> None:
    found = Balance()
    found.feed(page)
    assert not found.open
    assert found.addresses
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert not re.search(r"https?://|@import|<script|<link", page)
    assert len(page.encode()) < 2_000_000


def test_the_page_of_many_layers_is_below_2_mb() -> None:
    deep = made_up(tuple(f"blocks.{i}" for i in range(24)), ("H", "V", "G"), seeds=1)
    assert len(to_html(deep).encode()) < 2_000_000


def test_the_page_says_what_each_control_means(page: str, result: ProbeResult) -> None:
    for title, words in KINDS.values():
        assert title in page
        assert words[:40] in page
    for name in result.conditions:
        assert describe(name).label in page


def test_the_page_shows_every_score_beside_its_nulls(page: str, result: ProbeResult) -> None:
    for target in result.targets:
        for condition in ("model", "shuffled", "control task"):
            assert two(result.mean("layer2", target, condition).spearman) in page
    assert "What cannot be concluded" in page
    assert "50 dead-leaves images" in page


def test_what_came_from_outside_is_text_on_the_page() -> None:
    sly = made_up(layers=("<script>",), targets=("H",))
    assert "<script>" not in to_html(sly)


def scored(result: ProbeResult, condition: str, value: float) -> ProbeResult:
    """The result with another score of one condition everywhere."""

    def changed(mean: Mean) -> Mean:
        interval = (value - 0.02, value + 0.02)
        return replace(mean, spearman=value, spearman_interval=interval)

    return replace(
        result,
        means=[changed(mean) if mean.condition == condition else mean for mean in result.means],
    )


def test_a_model_no_better_than_its_nulls_is_called_that(result: ProbeResult) -> None:
    poor = scored(result, "model", 0.03)
    assert headline(poor) == (
        "Of 2 maps none can be read better than the nulls: no position was found in these layers "
        "with this rule."
    )
    assert {found.verdict for found in findings(poor)} == {"nothing that chance could not give"}


def test_a_null_that_is_not_null_takes_the_finding_back(result: ProbeResult) -> None:
    assert headline(scored(result, "model", 0.6)).startswith("Of 2 maps all can be read")
    broken = scored(scored(result, "model", 0.6), "shuffled", 0.6)
    assert headline(broken).startswith("Of 2 maps none")


def test_the_finding_says_whether_other_paddings_give_less(result: ProbeResult) -> None:
    twins = [name for name in result.conditions if describe(name).kind == "twin"]
    strong = scored(result, "model", 0.6)
    for name in twins:
        strong = scored(strong, name, 0.1)
    assert "less with every other padding" in findings(strong)[0].verdict
    assert "gives less, with the same weights, in all of 2" in headline(strong)
    one = scored(strong, twins[0], 0.6)
    assert f"less with {len(twins) - 1} of {len(twins)} other paddings" in findings(one)[0].verdict
    for name in twins:
        strong = scored(strong, name, 0.6)
    assert "as much with other paddings" in findings(strong)[0].verdict
    assert "gives less, with the same weights, in none of 2" in headline(strong)


def test_scores_are_told_apart_only_if_their_intervals_are(result: ProbeResult) -> None:
    close = scored(scored(result, "model", 0.60), "random weights", 0.57)
    assert "no more than untrained" in findings(close)[0].verdict
    apart = scored(close, "random weights", 0.55)
    assert "; more than untrained" in findings(apart)[0].verdict


def test_saving_writes_page_json_scores_and_pictures(
    result: ProbeResult, saved: list[Path]
) -> None:
    assert [file.name for file in saved] == [
        *("index.html", "result.json", "scores.csv", "seeds.csv"),
        *("curves.png", "mosaic.png", "controls.png", "companions.png"),
    ]
    assert all(file.is_file() for file in saved)
    folder = saved[0].parent
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]  # nothing half written
    content = json.loads(saved[1].read_text())
    assert content["means"][0]["spearman"] == pytest.approx(result.means[0].spearman, rel=1e-5)
    with saved[2].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.means)
    assert float(rows[0]["spearman_interval_low"]) <= float(rows[0]["spearman"])
    found = Balance()
    found.feed(saved[0].read_text())
    linked = {a for a in found.addresses if not a.startswith("data:")}
    assert linked == {file.name for file in saved[1:]}


@pytest.mark.usefixtures("_no_pictures")
def test_json_has_null_where_a_score_is_no_number(result: ProbeResult, tmp_path: Path) -> None:
    odd = replace(result, means=[replace(result.means[0], r2=float("nan")), *result.means[1:]])
    save(odd, tmp_path / "odd")
    text = (tmp_path / "odd" / "result.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["means"][0]["r2"] is None


def test_nothing_is_overwritten(result: ProbeResult, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError) as caught:
        save(result, tmp_path)
    assert str(caught.value) == (
        f"`folder` must be a new or an empty folder, but {tmp_path} holds files. Choose another, "
        "or remove it first."
    )
    with pytest.raises(RunFolderError) as caught:
        save(result, tmp_path / "notes.txt")
    assert str(caught.value) == (
        f"`folder` must be a folder, but {tmp_path / 'notes.txt'} is a file."
    )
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("_no_pictures")
def test_an_empty_folder_is_filled(result: ProbeResult, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save(result, tmp_path / "empty")
    assert (tmp_path / "empty" / "index.html").is_file()


@pytest.mark.usefixtures("_no_pictures")
def test_a_failed_write_leaves_nothing(
    result: ProbeResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunFolderError) as caught:
        save(result, tmp_path / "out")
    assert str(caught.value) == (
        f"The result cannot be written to {tmp_path / 'out'}: No space left on device. Choose "
        "another folder."
    )
    assert not list(tmp_path.iterdir())


def test_a_real_result_draws_itself_and_makes_its_page() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
    images = torch.randn(12, 3, 16, 20)
    found = visionpe.probe(net, images, layers=["0", "1"], targets=["H"], seeds=1)
    assert found.plot().subfigs
    page = found.to_html()
    assert all(describe(name).label in page for name in found.conditions)


def test_every_condition_of_a_real_probe_is_known() -> None:
    net = nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect")
    for given in (net, nn.Conv2d(3, 6, 3, padding=1)):
        model = nn.Sequential(given, nn.ReLU())
        found = visionpe.probe(
            model, torch.randn(8, 3, 8, 12), layers=["0"], targets=["H"], seeds=1
        )
        strange = [name for name in found.conditions if describe(name).label == name]
        assert set(strange) <= {"black", "white", "noise", "random weights"}


def test_encodings_and_their_nulls_are_filed_as_such(page: str, result: ProbeResult) -> None:
    kinds = {name: describe(name).kind for name in result.conditions}
    assert kinds["positions removed"] == "encoding"
    assert kinds["random weights, positions removed"] == "null"
    assert kinds["random weights, padding=circular, positions removed"] == "null"
    assert "Without its position encodings" in page
    strong = scored(scored(result, "model", 0.6), "positions removed", 0.1)
    assert "less without its position encodings" in findings(strong)[0].verdict
    same = scored(strong, "positions removed", 0.6)
    assert "as much without its position encodings" in findings(same)[0].verdict
    told = scored(strong, "random weights, positions removed", 0.7)
    assert findings(told)[0].verdict == "nothing that chance could not give"


def test_the_cells_are_those_of_the_layer_and_not_of_its_picture() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    found = visionpe.probe(net, torch.randn(8, 3, 56, 40), layers=["1"], targets=["H"], seeds=1)
    assert findings(found)[0].layer == "1, 56 x 40 cells"


@pytest.mark.usefixtures("_no_pictures")
def test_the_folder_that_one_is_in_can_be_filled(
    result: ProbeResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert save(result, ".")[0].name == "index.html"
    assert (here / "index.html").is_file()
