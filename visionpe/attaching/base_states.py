"""Checkpoints of a model alone, loaded after something was attached to it."""

from typing import Any

from torch import nn


class NotMissing:
    """Hooks of the module that holds what is attached, while a state is loaded into the model.

    A state without any of the holder's keys is not missing them: what is attached keeps its
    values. Of a state with some of them, torch asks for all.

    Attributes:
        prefix: of the holder's keys, while a state without them is loaded.
    """

    def __init__(self, holder: nn.Module) -> None:
        self.prefix: str | None = None
        holder.register_load_state_dict_pre_hook(self.before)
        holder.register_load_state_dict_post_hook(self.after)

    def before(self, holder: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Looks at a state before any of it is loaded."""
        of_model = bool(prefix)  # not a state for the holder itself
        known = any(key.startswith(prefix) for key in state)
        self.prefix = prefix if of_model and not known else None

    def after(self, holder: nn.Module, keys: Any) -> None:
        """Takes the holder's keys out of those that are missing."""
        if self.prefix is None:
            return
        prefix, self.prefix = self.prefix, None
        keys.missing_keys[:] = [key for key in keys.missing_keys if not key.startswith(prefix)]
