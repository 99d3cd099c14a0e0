"""The configuration files of a command line, looked at before they are parsed."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from visionpe.errors import ConfigError
from visionpe.yaml_text import fault, load

_CONFIG = ("--config", "-c")


class ConfigFiles:
    """What the files named by `--config` hold, as plain data.

    Args:
        words: a command line, without its verb.

    Raises:
        ConfigError: if a file is missing, is not valid YAML or gives a key twice, with the place
            in it.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.contents: dict[str, Any] = {}
        for value in _values(words, *_CONFIG):
            try:
                self.contents[value] = load(Path(value).read_text(encoding="utf-8"))
                if not isinstance(self.contents[value], dict):
                    what = "empty" if self.contents[value] is None else "no mapping of keys"
                    raise ConfigError(
                        f"The configuration {value} must give values to keys, but is {what}."
                    )
            except FileNotFoundError as error:
                near = get_close_matches(Path(value).name, _beside(Path(value)), n=1)
                hint = f" Did you mean `{Path(value).with_name(near[0])}`?" if near else ""
                raise ConfigError(
                    f"The configuration file {value} does not exist.{hint}"
                ) from error
            except yaml.YAMLError as error:
                raise ConfigError(f"The configuration {value} {fault(error)}.") from error
            except OSError as error:
                raise ConfigError(
                    f"The configuration file {value} cannot be read: {error.strerror}."
                ) from error
            except UnicodeDecodeError as error:
                raise ConfigError(
                    f"The configuration file {value} must be text, but is not."
                ) from error

    def checkpoint(self) -> str | None:
        """The checkpoint that the command line or, failing that, the last file names."""
        given, named = _values(self.words, "--ckpt_path"), None
        for content in self.contents.values():
            if isinstance(content, dict) and "ckpt_path" in content:
                named = str(content["ckpt_path"]) if content["ckpt_path"] else None
        return given[-1] if given else named

    def first(self) -> list[str]:
        """The words with the files before all others, which so count wherever they stand."""
        files: list[str] = []
        others: list[str] = []
        words = iter(self.words)
        for word in words:
            place = files if word.partition("=")[0] in _CONFIG else others
            place.append(word)
            if place is files and "=" not in word:
                files += [value for value in [next(words, None)] if value is not None]
        return [*files, *others]

    def gives(self, key: str) -> bool:
        """Whether the command line or a file gives a value to a dotted key.

        Args:
            key: without `init_args`.
        """
        parts = key.split(".")
        for word, following in zip(self.words, [*self.words, ""][1:], strict=True):
            name, equals, value = word.partition("=")
            if not name.startswith("--"):
                continue
            begins = [part for part in name[2:].split(".") if part != "init_args"]
            if begins == parts:
                return True
            if begins == parts[: len(begins)] and _holds(
                _plain(value if equals else following), parts[len(begins) :]
            ):
                return True
        return any(_holds(content, parts) for content in self.contents.values())

    def origin(self, message: str) -> str:
        """Which file the key of an error message comes from: `" (in FILE)"`, or nothing.

        Args:
            message: the first words in backticks are the dotted key.
        """
        key = re.search(r"`-*([\w.]+)`", message)
        if key is None:
            return ""
        parts = [part for part in key[1].split(".") if part != "init_args"]
        if any(re.match(rf"--{re.escape(parts[0])}(\.|=|$)", word) for word in self.words):
            return ""
        found = [name for name, content in self.contents.items() if _holds(content, parts)]
        return f" (in {found[-1]})" if found else ""


def _beside(path: Path) -> list[str]:
    return [found.name for found in path.parent.glob("*.y*ml")]


def _values(words: list[str], *names: str) -> list[str]:
    """The values of an option, in both its forms."""
    pairs = zip(words, [*words, ""][1:], strict=True)
    return [
        word.partition("=")[2] or following
        for word, following in pairs
        if word.partition("=")[0] in names and (word.partition("=")[2] or following)
    ]


def _plain(text: str) -> Any:
    """The value of an option as plain data; nothing if it is no YAML."""
    try:
        return load(text)
    except yaml.YAMLError:
        return None


def _holds(content: Any, parts: list[str]) -> bool:
    """Whether a tree of dictionaries has a dotted key, `init_args` left out."""
    for part in parts:
        if isinstance(content, dict) and isinstance(content.get("init_args"), dict):
            content = content | content["init_args"]
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True
