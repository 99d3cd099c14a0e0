"""Attached parameters and weight decay: timm's optimizers ask a model which it is not for."""

from torch import nn


class NoDecay:
    """A model's `no_weight_decay`, with the names of what is attached to it.

    Set on the model itself, above its class's; positions are not decayed, as timm's own are not.
    """

    def __init__(self, model: nn.Module, child: str) -> None:
        self.model = model
        self.child = child
        self.inner = vars(model).get("no_weight_decay")
        vars(model)["no_weight_decay"] = self

    def leave(self) -> None:
        """Leaves the model as it was."""
        if vars(self.model).get("no_weight_decay") is not self:
            return
        del vars(self.model)["no_weight_decay"]
        if self.inner is not None:
            vars(self.model)["no_weight_decay"] = self.inner

    def __call__(self) -> set[str]:
        """The names of the model's parameters that are not to be decayed."""
        theirs = getattr(type(self.model), "no_weight_decay", None)
        names = self.inner() if self.inner else theirs(self.model) if theirs else ()
        attached = self.model.get_submodule(self.child).named_parameters(self.child)
        return {*names, *(name for name, _ in attached)}
