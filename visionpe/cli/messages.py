"""Short messages for jsonargparse's long ones: the key, the value and a remedy.

jsonargparse explains a failure by every branch of every union that it tried. Here the branches that
are noise are dropped, and names that do not exist are compared with those that do.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module

_NOISE = re.compile(
    r"\s*(- )?(Expected a <class .*|Expected a path but .*|Does not validate against any .*"
    r"|Subtypes: .*|Errors:|Given value.*|Parser key .*:|Problem with given class_path .*:)\s*"
)
_BASES = ("lightning.LightningModule", "lightning.LightningDataModule")  # where none is given
_SHOWN = 4  # lines of a message that no rule knows
_TYPES = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}


def explain(message: str, options: Iterable[str] = ()) -> str:
    """A short message for one of jsonargparse's.

    Args:
        message: what jsonargparse says.
        options: all keys that there are.

    >>> explain("unrecognized arguments: --modl x", ["model", "data"])
    'There is no option `--modl`. Did you mean `model`?'
    """
    if found := re.search(r"Unable to load config ['\"](.*?)['\"]", message):
        return f"The configuration file {found[1]} cannot be read."
    if found := re.search(r"unrecognized arguments: (\S+)", message):
        if not found[1].startswith("-"):
            return _word(found[1])
        name = found[1].partition("=")[0].lstrip("-")
        return f"There is no option `--{name}`.{_near(name, options)}"
    if found := re.search(
        r"Subcommand '\w+' does not accept (?:option|nested key) '(.*?)'", message
    ):
        return f"There is no key `{found[1]}`.{_near(found[1], options)}"
    if found := re.search(r"are required: (.*)", message):
        return _required([name.partition(".")[2] or name for name in found[1].split(", ")])
    # Of parsers within parsers: a class keeps its arguments in `init_args`.
    key = ".init_args.".join(re.findall(r'Parser key "(.+?)":', message))
    return _class(key, message) or _value(key, message)


def _word(word: str) -> str:
    """What to do with a word that belongs to no option."""
    if word.endswith((".yaml", ".yml")):
        return f"Options begin with `--`, but {word!r} does not. Did you mean `--config {word}`?"
    if word.endswith(".ckpt"):
        return f"Options begin with `--`, but {word!r} does not. Did you mean `--ckpt_path {word}`?"
    return (
        f"Options begin with `--`, but {word!r} does not. Of a run, `--config RUN/config.yaml` is "
        "the configuration and `--ckpt_path RUN/checkpoints/best.ckpt` the trained model."
    )


def _required(names: list[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names)
    remedy = "Give `--config FILE.yaml`"
    if names == ["model"]:
        remedy += ", `--model CLASS` or, for a trained model, `--ckpt_path FILE.ckpt`"
    return f"{listed} must be given, but is not. {remedy}."


def _class(key: str, message: str) -> str:
    """What is wrong with a class or with the names of its arguments, or nothing."""
    paths = re.findall(r"Problem with given class_path '(.+?)':", message)
    path = paths[-1] if paths else _given(message)
    must = f"`{key}` must be a class, but"
    if found := re.search(r"(?:Option|Key) '(.+?)' is not (?:accepted|expected)", message):
        names = _parameters(path)
        if path in _BASES:
            return (
                f"`{key}` must be given for `{key}.{found[1]}`, but is not. Give `--{key} CLASS` "
                "before it, or `--config FILE.yaml`."
            )
        remedy = _near(found[1], names) or (f" It has {', '.join(names)}." if names else "")
        return f"There is no key `{key}.{found[1]}`{f' of {path}' if paths else ''}.{remedy}"
    if found := re.search(r"No module named '(.+?)'", message):
        near = _near_class(path, message)
        return f"{must} there is no module {found[1]} for {path!r}.{near}"
    if found := re.search(r"module '(.+?)' has no attribute '(.+?)'", message):
        module = vars(import_module(found[1]))
        near = _near(found[2], [name for name, kind in module.items() if isinstance(kind, type)])
        return f"{must} {found[1]} has no class {found[2]!r}.{near}"
    if found := re.search(r"Expected a dot import path string: (.*)", message):
        if found[1] == "None":
            last = key.rpartition(".")[2]
            return f"{must} is null on the command line. Write `{last}: null` in a YAML file."
        near = _near_class(found[1], message)
        if not near and (plain := re.search(r"Expected a <class '(float|int|bool)'>", message)):
            return f"`{key}` must be {_type(plain[1])}, but is {found[1]!r}."  # or a Tensor
        remedy = near or " Give its class path, such as package.module.Class."
        return f"{must} none is known as {found[1]!r}.{remedy}"
    if found := re.search(r"does not correspond to a subclass of (\w+)", message):
        return f"`{key}` must be a subclass of {found[1]}, but is {path}."
    return ""


def _value(key: str, message: str) -> str:
    """What is wrong with a value."""
    value = _given(message)
    if inner := re.fullmatch(r"NestedArg\(key='(.+?)', val=(.*)\)", value):
        value = inner[2].strip("'\"")
        key = key if key.endswith(f".{inner[1]}") else f"{key}.{inner[1]}"
    if found := re.search(r"Expected a <class '(.+?)'>\. Got value: (.*)", message):
        return f"`{key}` must be {_type(found[1])}, but is {found[2]!r}."
    if literals := re.findall(r"Expected a typing\.Literal\[(.+?)\]", message):
        words = [word.strip(" '") for literal in literals for word in literal.split(",")]
        words = list(dict.fromkeys(words))
        return f"`{key}` must be one of {', '.join(words)}, but is {value}.{_near(value, words)}"
    kinds = re.findall(r"Expected a <class '(.+?)'>", message)
    kinds = list(dict.fromkeys(_type(kind) for kind in kinds if kind != "NoneType"))
    lines = [line for line in message.splitlines() if line.strip()]
    told = [line.strip(" -") for line in lines if not _NOISE.fullmatch(line)]
    if kinds and not told:
        return f"`{key}` must be {' or '.join(kinds)}, but is {value!r}."
    text = "; ".join(told[:_SHOWN]) or lines[0].strip()
    if not key:
        return text
    return f"`{key}` cannot be {value}: {text}" if value else f"`{key}`: {text}"


def _given(message: str) -> str:
    """The value that the outermost parser was given, as far as the message says."""
    found = re.findall(r"Given value: (.*)", message)
    return found[0] if found else ""


def _type(name: str) -> str:
    return _TYPES.get(name, f"of type {name}")


def _near(name: str, names: Iterable[str]) -> str:
    found = get_close_matches(name, list(names), n=1)
    return f" Did you mean `{found[0]}`?" if found else ""


def _near_class(path: str, message: str) -> str:
    """The known class whose name is nearest, of those that the key may have."""
    known: dict[str, str] = {}
    for line in re.findall(r"Subtypes: (.*)", message):
        for base in re.findall(r"(?:\w+\.)+[A-Z]\w+", line):
            module, _, name = base.rpartition(".")
            kind = getattr(import_module(module), name, None)
            if isinstance(kind, type):
                known |= {sub.__name__: f"{sub.__module__}.{sub.__name__}" for sub in _family(kind)}
    found = get_close_matches(path.rpartition(".")[2], list(known), n=1) if path else []
    return f" Did you mean `{known[found[0]] if '.' in path else found[0]}`?" if found else ""


def _family(kind: type) -> Iterator[type]:
    """A class and all classes derived from it."""
    yield kind
    children: list[type] = kind.__subclasses__()
    for child in children:
        yield from _family(child)


def _parameters(path: str) -> list[str]:
    """The names of a class's arguments."""
    module, _, name = path.rpartition(".")
    try:
        signature = inspect.signature(getattr(import_module(module), name))
    except (ImportError, AttributeError, ValueError):
        return []
    return [parameter for parameter in signature.parameters if parameter not in ("args", "kwargs")]
