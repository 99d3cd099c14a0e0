"""YAML as users write it: a key once, and `1e-3` a number."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which lets a later key win and reads `1e-3` as text."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)  # before `<<` brings other mappings' keys
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in first:
                says = f"`{key.value}` is given twice, first in line {first[key.tag, key.value]}"
                raise yaml.composer.ComposerError(None, None, says, key.start_mark)
            first[key.tag, key.value] = key.start_mark.line + 1
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def load(text: str) -> Any:
    """The plain data that a text holds.

    Raises:
        yaml.YAMLError: if it is no YAML, or a mapping gives a key twice.

    >>> load("{lr: 1e-3}")
    {'lr': 0.001}
    """
    return yaml.load(text, _Loader)  # noqa: S506 # a safe loader


def fault(error: yaml.YAMLError) -> str:
    """What is wrong with a text, and where: the end of the sentence that names it."""
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    says = [
        text for text in (getattr(error, "context", None), getattr(error, "problem", None)) if text
    ]
    return f"is not valid YAML{where}: {', '.join(says) or error}"
