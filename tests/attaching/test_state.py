"""What is attached is saved apart from the model, and put back, or refused with a reason."""

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from backbones import bias, facts, learned, swin, torchvision_vit, unfused, vit
from record import Kind, Record, Sample
from records import samples
from torch import Tensor, nn

import visionpe
from visionpe import AttentionEncoding, CoordConv, Places, RelativeBias, Rotary, Shaw, Site
from visionpe.attaching.files import read
from visionpe.attaching.recipes import make, recipe_of, shapes
from visionpe.attaching.schema import misfit
from visionpe.encodings.attention import pad_logits
from visionpe.errors import CheckpointError

SIZE = (48, 80)


def model(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return vit(**{"depth": 2, **options}).eval()


def attached(net: nn.Module | None = None) -> nn.Module:
    net = model() if net is None else net
    visionpe.attach(
        net,
        [bias, lambda site: Shaw(32, heads=2), learned, CoordConv(radius=True)],
        name=["bias", "shaw-1", "table", "conv"],
        size=SIZE,
    )
    for parameter in net.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter)
    return net


def images() -> Tensor:
    return torch.randn(2, 3, *SIZE)


@samples(lambda record, sample: record.kind is not Kind.OTHER)
def test_every_attachable_encoding_is_made_again_from_plain_data(
    record: Record, sample: Sample
) -> None:
    encoding = sample.make()
    if isinstance(encoding, nn.Conv2d | nn.Conv1d):
        return  # a layer of its own, which nothing is attached to
    before = torch.get_rng_state()
    recipe = json.loads(json.dumps(recipe_of(encoding)))
    again = make(recipe)
    assert (repr(again), shapes(again)) == (repr(encoding), shapes(encoding))
    assert shapes(make(recipe, "meta")) == shapes(encoding)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["best", "best.json", "best.safetensors", "best.v2"])
def test_a_saved_state_makes_a_bare_model_what_it_was(tmp_path: Path, name: str) -> None:
    one, x = attached(), images()
    visionpe.save(one, tmp_path / "runs" / name)
    stem = name if name == "best.v2" else "best"
    assert {f.name for f in (tmp_path / "runs").iterdir()} == {
        f"{stem}.json",
        f"{stem}.safetensors",
    }
    other = model()
    assert visionpe.load(other, tmp_path / "runs" / name) is other
    assert torch.equal(other(x), one(x))
    assert list(other.state_dict()) == list(one.state_dict())
    assert [str(plan) for plan in visionpe.status(other)] == [
        str(plan) for plan in visionpe.status(one)
    ]
    bare = facts(model())
    assert facts(visionpe.detach(other)) == bare


def test_a_state_holds_what_is_attached_and_nothing_else_and_does_not_change_with_it() -> None:
    one = attached()
    state = visionpe.state(one)
    own = {k: v for k, v in one.state_dict().items() if k.startswith("visionpe.")}
    assert list(state.tensors) == list(own)
    assert state.names == ["bias", "shaw-1", "table", "conv"]
    assert json.loads(json.dumps(state.recipe)) == state.recipe
    assert repr(state) == (
        "<State of bias, shaw-1, table, conv of VisionTransformer: "
        f"{sum(t.numel() for t in own.values())} numbers>"
    )
    kept = {k: v.clone() for k, v in own.items()}
    for tensor in own.values():
        tensor.zero_()
    assert all(torch.equal(state.tensors[k], kept[k]) for k in kept)
    visionpe.load(one, state)
    assert all(torch.equal(one.state_dict()[k], kept[k]) for k in kept)


def test_a_model_with_the_same_attachments_is_filled_and_others_are_left_alone() -> None:
    one, x = attached(), images()
    state = visionpe.state(one)
    other = attached()
    visionpe.attach(other, Rotary(), size=SIZE)
    parameters = list(other.parameters())
    visionpe.load(other, state)
    assert all(a is b for a, b in zip(other.parameters(), parameters, strict=True))
    visionpe.detach(other, "Rotary")
    assert torch.equal(other(x), one(x))


def test_some_attached_and_some_not_are_filled_and_attached() -> None:
    one, x = attached(), images()
    other = visionpe.attach(model(), bias, name="bias", size=SIZE)
    assert torch.equal(visionpe.load(other, visionpe.state(one))(x), one(x))
    assert [plan.name for plan in visionpe.status(other)] == ["bias", "shaw-1", "table", "conv"]


def test_shared_and_tied_parameters_are_saved_once_and_are_one_again(tmp_path: Path) -> None:
    one = visionpe.attach(model(), bias, size=SIZE, share=True, name="shared")
    made: dict[str, RelativeBias] = {}

    def tied(site: Site) -> RelativeBias:
        encoding = bias(site)
        if made:
            encoding.table = made["first"].table
        return made.setdefault("first", encoding) if not made else encoding

    visionpe.attach(one, tied, size=SIZE, name="tied")
    for parameter in one.get_submodule("visionpe").parameters():
        nn.init.normal_(parameter)
    visionpe.save(one, tmp_path / "best")
    state = read(tmp_path / "best")
    assert set(state.tensors) == {
        "visionpe.shared.shared.table",
        "visionpe.tied.blocks-0-attn.table",
    }
    other, x = visionpe.load(model(), tmp_path / "best"), images()
    assert torch.equal(other(x), one(x))
    own = dict(other.get_submodule("visionpe").named_parameters(remove_duplicate=False))
    assert len(own) == 3
    assert len(set(map(id, own.values()))) == 2


def test_a_state_of_windows_and_of_mha_and_in_half_precision_is_whole() -> None:
    backbones: list[tuple[Callable[[], nn.Module], tuple[int, int]]] = [
        (swin, (32, 48)),
        (torchvision_vit, (32, 32)),
    ]
    for make_one, size in backbones:
        torch.manual_seed(0)
        one = visionpe.attach(make_one().eval().bfloat16(), bias, size=size)
        for parameter in one.get_submodule("visionpe").parameters():
            nn.init.normal_(parameter)
        torch.manual_seed(0)
        other = visionpe.load(make_one().eval().bfloat16(), visionpe.state(one))
        x = torch.randn(2, 3, *size).bfloat16()
        assert torch.equal(other(x), one(x))


def test_it_does_not_matter_how_attention_is_computed_nor_what_the_classifier_is() -> None:
    one, x = attached(), images()
    state = visionpe.state(one)
    torch.testing.assert_close(visionpe.load(unfused(model()), state)(x), one(x))
    other = model()
    other.reset_classifier(7)  # type: ignore[operator]
    assert visionpe.load(other, state)(x).shape == (2, 7)
    headless = model()
    headless.head = nn.Identity()
    assert visionpe.load(headless, state)(x).shape == (2, 64)


class Own(AttentionEncoding):
    """Somebody's: a number for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(2, 1, 1))

    def bias(
        self, q: Tensor, k: Tensor, places: Places, key_places: Places, scale: float
    ) -> Tensor:
        rows = places.positions[:, None, 0] - key_places.positions[None, :, 0]
        return pad_logits(self.slope * rows, places, key_places)[None]


def test_a_class_of_ones_own_is_attached_first_and_then_loaded(tmp_path: Path) -> None:
    one = visionpe.attach(model(), Own(), at="blocks.0", size=SIZE, name="mine")
    nn.init.normal_(one.get_parameter("visionpe.mine.blocks-0-attn.slope"))
    visionpe.save(one, tmp_path / "best")
    with refused(other := model()) as said:
        visionpe.load(other, tmp_path / "best")
    assert said() == (
        f"The state {tmp_path}/best holds a {Own.__module__}.Own at `blocks.0.attn`, which no "
        "file can make: attach it first, with `name='mine'`, and then load."
    )
    visionpe.attach(other, Own(), at="blocks.0", size=SIZE, name="mine")
    x = images()
    assert torch.equal(visionpe.load(other, tmp_path / "best")(x), one(x))


class refused:  # noqa: N801
    """What is raised inside is a CheckpointError, and leaves the model as it was."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.before = net, facts(net)

    def __enter__(self) -> Callable[[], str]:
        self.raises = pytest.raises(CheckpointError)
        self.info = self.raises.__enter__()
        return lambda: str(self.info.value)

    def __exit__(self, *error: Any) -> bool:
        done = bool(self.raises.__exit__(*error))
        assert facts(self.net) == self.before
        return done


def change(recipe: Any, path: str, value: Any) -> None:
    *owners, last = path.split(".")
    for owner in owners:
        recipe = recipe[int(owner) if owner.isdigit() else owner]
    recipe[last] = value


SITE = "attachments.0.sites.0"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            lambda: model(depth=1),
            "The state is of a VisionTransformer whose `blocks.1.norm1.weight` is 64, but that of "
            "this VisionTransformer is missing: load it into a model of that architecture and "
            "image size.",
        ),
        (
            lambda: model(reg_tokens=1),
            "The state is of a VisionTransformer whose `pos_embed` is 1 x 16 x 64, but that of "
            "this VisionTransformer is 1 x 17 x 64: load it into a model of that architecture and "
            "image size.",
        ),
        (
            lambda: visionpe.remove(model(), "learned"),
            "The state is of a model with its `pos_embed`, which was removed from this "
            "VisionTransformer: call visionpe.restore(model, 'absolute') first.",
        ),
        (
            lambda: visionpe.attach(
                model(), RelativeBias(2, (7, 7)), at="blocks.0", size=SIZE, name="bias"
            ),
            "The state holds 'bias' with `bias.blocks-0-attn.table` 2 x 48, but here it is "
            "2 x 169: detach 'bias', or load it into another model.",
        ),
    ],
)
def test_a_state_of_another_model_is_refused(other: Callable[[], nn.Module], said: str) -> None:
    state = visionpe.state(attached())
    net = other()
    with refused(net) as message:
        visionpe.load(net, state)
    assert message() == said


def test_a_state_of_a_model_without_its_table_is_not_put_beside_the_table() -> None:
    one = visionpe.remove(model(), "learned")
    visionpe.attach(one, Rotary(), size=SIZE)
    state, other, x = visionpe.state(one), model(), images()
    with refused(other) as said:
        visionpe.load(other, state)
    assert said() == (
        "The state is of a model without its `pos_embed`, but this VisionTransformer has it: call "
        "visionpe.remove(model, 'absolute') first."
    )
    assert torch.equal(visionpe.load(visionpe.remove(other, "learned"), state)(x), one(x))


def test_another_size_of_images_without_a_table_of_its_own_is_told_from_the_cells() -> None:
    one = attached()
    state = visionpe.state(one)
    change(state.recipe, f"{SITE}.cells.heads", 4)
    with refused(other := model()) as said:
        visionpe.load(other, state)
    assert said() == (
        "The state is of `blocks.0.attn` with 3 x 5 cells, prefix 1, suffix 0, windows 1, heads 4, "
        "head_dim 32, but that of this VisionTransformer has 3 x 5 cells, prefix 1, suffix 0, "
        "windows 1, heads 2, head_dim 32."
    )


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("format", 2, "is of format 2, but this visionpe reads format 1: use the visionpe that "),
        ("attachments", {}, "is none of visionpe's: in {json}, `attachments` must be list, but is"),
        ("attachments.0.size", [48], "has a recipe that attaches nothing, 'bias'."),
        ("attachments.0.name", "a.b", "has a recipe that attaches nothing, 'a.b'."),
        ("attachments.0.kind", "map", "has a recipe of visionpe.RelativeBias for map at "),
        ("attachments.0.name", "other", "holds `visionpe.bias.blocks-"),
        (f"{SITE}.module", "blocks.9.attn", "is of a model with a module `blocks.9.attn`, which "),
        (f"{SITE}.module", "blocks.0.mlp", "acts on attention number 0 of `blocks.0.mlp`, but "),
        (f"{SITE}.encoding", {"class": "os.system", "args": ["echo"], "kwargs": {}}, "holds a os"),
        (f"{SITE}.encoding", {"class": "visionpe.load", "args": [], "kwargs": {}}, "holds a vis"),
        (f"{SITE}.encoding.args", [-1, [3, 5]], "has a recipe that makes nothing at `blocks.0."),
        (f"{SITE}.encoding.args", [2, [30000, 50000]], "holds 'bias' with `bias.blocks-0-attn.ta"),
        (f"{SITE}.encoding.kwargs", {"std": 0.0, "no": 1}, "has a recipe that makes nothing at "),
        ("tied", {"visionpe.bias.x": "visionpe.bias.y"}, "says that `visionpe.bias.x` is `visio"),
    ],
)
def test_a_recipe_that_was_changed_by_hand_is_refused(
    tmp_path: Path, path: str, value: Any, said: str
) -> None:
    visionpe.save(attached(), tmp_path / "best")
    file = tmp_path / "best.json"
    recipe = json.loads(file.read_text())
    change(recipe, path, value)
    file.write_text(json.dumps(recipe))
    with refused(other := model()) as message:
        visionpe.load(other, tmp_path / "best")
    assert message().startswith(f"The state {tmp_path}/best {said.format(json=file)}")


def test_a_missing_damaged_or_foreign_file_is_told_from_a_state(tmp_path: Path) -> None:
    visionpe.save(attached(), tmp_path / "best")
    numbers, recipe = tmp_path / "best.safetensors", tmp_path / "best.json"
    content, text = numbers.read_bytes(), recipe.read_text()
    name = f"The state {tmp_path}/best"
    other = model()

    def message(path: Path = tmp_path / "best") -> str:
        with refused(other) as said:
            visionpe.load(other, path)
        return said()

    assert message(tmp_path / "worst") == (
        f"The state {tmp_path}/worst is not there: no file {tmp_path}/worst.json."
    )
    flipped = bytearray(content)
    flipped[-3] ^= 1
    for damaged in (bytes(flipped), content[:-1], b""):
        numbers.write_bytes(damaged)
        assert message() == (
            f"{name} is damaged: {numbers} is not the file that best.json was written with "
            "(SHA-256). Use another copy of it."
        )
    numbers.write_bytes(b"nonsense")
    foreign = json.loads(text)
    foreign["tensors"]["sha256"] = hashlib.sha256(b"nonsense").hexdigest()
    recipe.write_text(json.dumps(foreign))
    assert message().startswith(f"{name} is damaged: {numbers}: ")
    recipe.write_text(text[:-20])
    assert message().startswith(f"{name} is damaged: {recipe} is no JSON: ")
    recipe.write_text("[1]")
    assert (
        message() == f"{name} is none of visionpe's: in {recipe}, `it` must be dict, but is list."
    )
    recipe.write_text('{"format": 1}')
    assert message() == f"{name} is none of visionpe's: in {recipe}, `visionpe` is missing."
    numbers.unlink()
    assert message() == f"{name} is not there: no file {numbers}."


def test_a_file_that_is_there_is_kept_unless_asked(tmp_path: Path) -> None:
    one = attached()
    visionpe.save(one, tmp_path / "best")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    nn.init.zeros_(one.get_parameter("visionpe.table.norm_pre.table"))
    with refused(one) as said:
        visionpe.save(one, tmp_path / "best")
    assert said() == (
        f"There is a file {tmp_path}/best.safetensors already. Give another name, or "
        "`overwrite=True`."
    )
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    visionpe.save(one, tmp_path / "best", overwrite=True)
    assert torch.equal(visionpe.load(model(), tmp_path / "best")(x := images()), one(x))


def test_what_cannot_be_written_leaves_the_state_before_and_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = attached()
    visionpe.save(one, tmp_path / "best")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with refused(one) as said:
        visionpe.save(one, tmp_path / "best", overwrite=True)
    assert said() == (
        f"The state {tmp_path}/best cannot be written: [Errno 28] No space left on device."
    )
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


class Killed(BaseException):
    """As a process that is killed: nothing is cleaned up."""


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("stop", [Killed, OSError])
def test_a_state_is_the_old_or_the_new_one_whenever_overwriting_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, stop: type[BaseException]
) -> None:
    one, path, x = attached(), tmp_path / "best", images()
    visionpe.save(one, path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    old = one(x)
    nn.init.zeros_(one.get_parameter("visionpe.table.norm_pre.table"))
    new = one(x)
    assert not torch.allclose(new, old)
    steps = iter(range(4))

    def stopping(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(self: Path, *args: Any, **options: Any) -> Any:
            if next(steps, None) == step:
                raise stop
            return change(self, *args, **options)

        return changed

    said = pytest.raises(Killed if stop is Killed else CheckpointError)
    with monkeypatch.context() as patch:  # three moves, then the old numbers are removed
        patch.setattr(Path, "replace", stopping(Path.replace))
        patch.setattr(Path, "unlink", stopping(Path.unlink))
        with nullcontext() if stop is OSError and step == 3 else said:
            visionpe.save(one, path, overwrite=True)
    torch.testing.assert_close(visionpe.load(model(), path)(x), old if step < 3 else new)
    if stop is OSError and step < 3:
        assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before

    visionpe.save(one, path, overwrite=True)
    torch.testing.assert_close(visionpe.load(model(), path)(x), new)
    assert not list(tmp_path.glob(".*earlier"))


def test_models_and_arguments_that_no_state_is_loaded_into() -> None:
    state = visionpe.state(attached())
    with pytest.raises(ValueError, match="wrapped in DataParallel"):
        visionpe.load(nn.DataParallel(model()), state)
    with pytest.raises(ValueError, match="on the meta device"), torch.device("meta"):
        visionpe.load(vit(), state)
    with pytest.raises(TypeError, match=r"`state` must be a visionpe\.State or a path"):
        visionpe.load(model(), {})  # type: ignore[arg-type]
    for verb in (visionpe.state, lambda net: visionpe.save(net, "never")):
        with pytest.raises(ValueError, match="must have something attached"):
            verb(model())


def test_data_is_a_recipe_or_it_is_said_where_it_is_not() -> None:
    recipe = visionpe.state(attached()).recipe
    assert misfit(recipe) is None
    change(recipe, f"{SITE}.cells.windows", True)
    assert misfit(recipe) == "`attachments.0.sites.0.cells.windows` must be int, but is bool"
