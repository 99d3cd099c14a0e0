"""How the command line makes what a configuration names, and what it says when that fails."""

from typing import Any

import lightning as L
from lightning.pytorch.cli import _InstantiatorFn
from lightning.pytorch.utilities.model_helpers import is_overridden

from visionpe.errors import ConfigError

_PARTS = {"fit": "train", "validate": "val"}  # whose loaders a verb needs, if not of its own name


class Unmade(BaseException):
    """Carries a constructor's error past jsonargparse, which would take it for a wrong type.

    Args:
        key: the dotted key of the object in the configuration.
        class_type: its class.
        error: what the constructor raised.
    """

    def __init__(self, key: str, class_type: type, error: Exception) -> None:
        super().__init__(f"`{key}` ({class_type.__name__}): {error}")


class Instantiator(_InstantiatorFn):
    """Makes the model or the data, and has Lightning note their arguments as plain data."""

    def __call__(
        self,
        class_type: type,
        *args: Any,
        applied_instantiation_links: dict[str, Any],  # named here, since jsonargparse looks for it
        **kwargs: Any,
    ) -> Any:
        """The object.

        Raises:
            Unmade: if its constructor raises.
        """
        cli: Any = self.cli  # of `VisionPECLI`
        scoring = self.key == "model" and cli.verb != "fit"
        if scoring and cli.config[cli.verb].get("ckpt_path"):
            kwargs |= getattr(class_type, "superseded", {})
        try:
            return super().__call__(
                class_type, *args, applied_instantiation_links=applied_instantiation_links, **kwargs
            )
        except Exception as error:
            raise Unmade(self.key, class_type, error) from error


def make(config: dict[str, Any], class_type: type, *args: Any, **kwargs: Any) -> Any:
    """An object that is an argument of another one.

    Args:
        config: the whole configuration, to look up the object's key in.
        class_type: its class; what follows are its arguments.

    Raises:
        Unmade: if its constructor raises.
    """
    try:
        return class_type(*args, **kwargs)
    except Exception as error:
        raise Unmade(key_of(class_type, config), class_type, error) from error


def key_of(class_type: type, config: Any, prefix: str = "") -> str:
    """The dotted key at which a configuration names a class, or nothing.

    >>> key_of(dict, {"a": {"b": {"class_path": "builtins.dict"}}})
    'a.b'
    """
    for key, value in config.items() if isinstance(config, dict) else ():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict):
            if str(value.get("class_path")).rpartition(".")[2] == class_type.__name__:
                return path
            if found := key_of(class_type, value, path):
                return found
        for number, item in enumerate(value if isinstance(value, list) else ()):
            if found := key_of(class_type, {str(number): item}, path):
                return found
    return ""


def require_loaders(verb: str, model: L.LightningModule) -> None:
    """Refuses a run without data, unless its model brings its own.

    Args:
        verb: what is to be done.
        model: what is to do it.

    Raises:
        ConfigError: if it does not.
    """
    name = f"{_PARTS.get(verb, verb)}_dataloader"
    if not is_overridden(name, model):
        raise ConfigError(
            f"`data` must be given to `{verb}`, but is not. Give `--data CLASS`, or `--config "
            "RUN/config.yaml` of a run that has it."
        )
