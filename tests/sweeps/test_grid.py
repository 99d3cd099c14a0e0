from datetime import date
from pathlib import Path

import pytest
import yaml

from visionpe.errors import ConfigError
from visionpe.sweeps.configs import override
from visionpe.sweeps.grid import Cell, read

BASE = {
    "model": {"class_path": "a.Model", "init_args": {"lr": 1.0, "inner": {"class_path": "b.X"}}},
    "seed_everything": 7,
    "run": {"name": "mine"},
}


def _sweep(folder: Path, **content: object) -> Path:
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"base": "base.yaml", **content}, sort_keys=False))
    return path


def _cells(path: Path) -> list[Cell]:
    return list(read(path).cells(path.parent))


def test_a_grid_is_the_product_of_its_axes_with_the_last_one_fastest(tmp_path: Path) -> None:
    axes = {
        "encoding": {"none": {}, "learned": {"model.init_args.encoding": "L"}},
        "rate": {"model.init_args.lr": [0.1, 0.2]},
        "seed": [0, 1],
    }
    cells = _cells(_sweep(tmp_path, axes=axes))
    assert [cell.name for cell in cells[:3]] == [
        "encoding=none,rate=0.1,seed=0",
        "encoding=none,rate=0.1,seed=1",
        "encoding=none,rate=0.2,seed=0",
    ]
    assert len(cells) == 8
    last = cells[-1].config
    assert last["seed_everything"] == 1
    assert last["model"]["init_args"]["lr"] == 0.2
    assert last["model"]["init_args"]["encoding"] == "L"
    assert "run" not in last


def test_cells_share_nothing_with_each_other_or_with_the_base(tmp_path: Path) -> None:
    cells = _cells(_sweep(tmp_path, axes={"seed": [0, 1]}))
    cells[0].config["model"]["init_args"]["inner"]["class_path"] = "changed"
    assert cells[1].config["model"]["init_args"]["inner"]["class_path"] == "b.X"


def test_a_cell_is_known_by_its_configuration_alone(tmp_path: Path) -> None:
    one, two = _cells(_sweep(tmp_path, axes={"seed": [0, 1]}))
    renamed = Cell({"another": "label"}, one.config)
    assert one.id == renamed.id != two.id
    reordered = dict(reversed(one.config.items()))
    assert Cell({}, reordered).id == one.id


def test_fixed_overrides_are_in_all_cells_and_axes_come_after_them(tmp_path: Path) -> None:
    fixed = {"model.init_args.lr": 5.0, "trainer.max_steps": 3}
    axes = {"rate": {"base": {}, "own": {"model.init_args.lr": 6.0}}}
    configs = [cell.config for cell in _cells(_sweep(tmp_path, axes=axes, fixed=fixed))]
    assert [config["model"]["init_args"]["lr"] for config in configs] == [5.0, 6.0]
    assert all(config["trainer"] == {"max_steps": 3} for config in configs)


def test_later_bases_are_put_on_top_and_another_class_begins_anew(tmp_path: Path) -> None:
    path = _sweep(tmp_path, axes={"seed": [0]})
    above = {"model": {"init_args": {"inner": {"class_path": "c.Y"}, "lr": 2.0}}, "extra": 1}
    (tmp_path / "above.yaml").write_text(yaml.safe_dump(above))
    content = yaml.safe_load(path.read_text()) | {"base": ["base.yaml", "above.yaml"]}
    path.write_text(yaml.safe_dump(content))
    model = _cells(path)[0].config["model"]
    assert model["init_args"] == {"lr": 2.0, "inner": {"class_path": "c.Y"}}
    assert model["class_path"] == "a.Model"
    (tmp_path / "above.yaml").write_text(yaml.safe_dump({"model": {"class_path": "z.Other"}}))
    assert _cells(path)[0].config["model"] == {"class_path": "z.Other"}


def test_an_override_changes_a_copy() -> None:
    config = {"a": {"b": 1}}
    assert override(config, {"a.b": 2, "c.d": 3}) == {"a": {"b": 2}, "c": {"d": 3}}
    assert config == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"axis": {"seed": [0]}}, "{path}: `axis` is no key of a sweep. Did you mean `axes`?"),
        (
            {"axes": {}},
            "{path}: `axes` must map names to values, as `seed: [0, 1, 2]`, but is {{}}.",
        ),
        (
            {"axes": {"encoding": ["a", "b"]}},
            "{path}: the axis `encoding` must map labels to overrides, as `none: "
            "{{model.init_args.encodings: null}}`, or one dotted key to a list of values, but is "
            "['a', 'b'].",
        ),
        (
            {"axes": {"seed": [0]}, "tests": ["x"]},
            "{path}: `tests` must map names to overrides, as `large: {{data.init_args.x: 2}}`, but "
            "is ['x'].",
        ),
        (
            {"axes": {"seed": [0]}, "stress": "yes"},
            "{path}: `stress` must be true or false, but is 'yes'.",
        ),
        (
            {"axes": {"seed": [0]}, "retries": -1},
            "{path}: `retries` must be a whole number of at least 0, but is -1.",
        ),
        (
            {"axes": {"seed": [0]}, "cpus": 0.5},
            "{path}: `cpus` must be a whole number of at least 1, but is 0.5.",
        ),
        (
            {"axes": {"seed": [0]}, "fixed": [1]},
            "{path}: `fixed` must map dotted keys to values, but is [1].",
        ),
        (
            {"axes": {"seed": [0]}, "base": []},
            "{path}: `base` must name a configuration of `visionpe fit`.",
        ),
        (
            {"axes": {"seed": [0, 1, 0]}},
            "{path}: the axis `seed` must have each value once, but has 0 and 0.",
        ),
        (
            {"axes": {"rate": {"model.init_args.lr": [0.001, 0.01, "1e-3"]}}},
            "{path}: the axis `rate` must have each value once, but has 0.001 and 0.001.",
        ),
        (
            {"axes": {"width": {"model.init_args.width": [8, 8.0]}}},
            "{path}: the axis `width` must have each value once, but has 8 and 8.0.",
        ),
        (
            {"axes": {"deep": {True: {}, "True": {}}}},
            "{path}: the axis `deep` must have each value once, but has True and 'True'.",
        ),
        (
            {"axes": {"seed": [0]}, "fixed": {4: 1}},
            "{path}: `fixed` must have dotted keys, but has the key 4.",
        ),
        (
            {"axes": {"deep": {"yes": {True: 1}}}},
            "{path}: the axis `deep` must have dotted keys, but has the key True.",
        ),
        (
            {"axes": {"day": {"data.init_args.day": [date(2026, 1, 31)]}}},
            "{path}: the axis `day`: `data.init_args.day` must be text, a number, true, false, "
            "null, a list or a mapping, but is datetime.date(2026, 1, 31). Text is put in quotes.",
        ),
        (
            {"axes": {"seed": [0]}, "tests": {"late": {"data": {"day": date(2026, 1, 31)}}}},
            "{path}: the test `late`: `data.day` must be text, a number, true, false, null, a list "
            "or a mapping, but is datetime.date(2026, 1, 31). Text is put in quotes.",
        ),
        (
            {"axes": {"seed": [0]}, "fixed": {"a.b": {4: 1, "c": 2}}},
            "{path}: `fixed`: the keys of `a.b` must be text, but are [4, 'c']. Put them in "
            "quotes.",
        ),
        (
            {"axes": {"seed": [0]}, "tests": {"a/b": {}}},
            "{path}: the name of a test must be a file's name, but is 'a/b'. Leave out `/`.",
        ),
        (
            {"axes": {"seed": [0]}, "name": "../x"},
            "{path}: `name` must be a file's name, but is '../x'. Leave out `/`.",
        ),
        (
            {"axes": {"seed": [0]}, "name": ".."},
            "{path}: `name` must be a file's name, but is '..'.",
        ),
        (
            {"axes": {"seed": [0]}, "metric": 3},
            "{path}: `metric` must be the name of a metric, but is 3.",
        ),
    ],
)
def test_a_wrong_sweep_file_is_named_with_its_key(
    tmp_path: Path, content: dict[str, object], message: str
) -> None:
    path = _sweep(tmp_path, **content)
    with pytest.raises(ConfigError) as error:
        read(path)
    assert str(error.value) == message.format(path=path)


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    _sweep(tmp_path, axes={"seed": [0]})
    with pytest.raises(ConfigError) as error:
        read(tmp_path / "sweeps.yaml")
    assert str(error.value) == (
        f"The file {tmp_path / 'sweeps.yaml'} does not exist. "
        f"Did you mean `{tmp_path / 'sweep.yaml'}`?"
    )


def test_values_that_only_look_alike_are_cells_of_their_own(tmp_path: Path) -> None:
    axes = {"x": {"model.init_args.lr": [1, True, "one", None, 1.5, 2**60, 2**60 + 1]}}
    assert len(_cells(_sweep(tmp_path, axes=axes))) == 7


def test_a_date_in_the_base_is_refused(tmp_path: Path) -> None:
    path = _sweep(tmp_path, axes={"seed": [0]})
    (tmp_path / "base.yaml").write_text("data: {init_args: {day: 2026-01-31}}\n")
    with pytest.raises(ConfigError) as error:
        _cells(path)
    assert str(error.value) == (
        f"{tmp_path / 'base.yaml'}: `data.init_args.day` must be text, a number, true, false, "
        "null, a list or a mapping, but is datetime.date(2026, 1, 31). Text is put in quotes."
    )


def test_an_override_inside_a_plain_value_is_refused(tmp_path: Path) -> None:
    path = _sweep(tmp_path, axes={"seed": [0]}, fixed={"seed_everything.x": 1})
    with pytest.raises(ConfigError) as error:
        _cells(path)
    assert str(error.value) == (
        "`seed_everything.x` must name a key inside mappings, but `seed_everything` is 7 in the "
        "base."
    )
