"""What a configuration says of a run in words, and where its recipe leaves that of the paper."""

from dataclasses import dataclass
from typing import Any

CLASSIFICATION, RENDERING, REGRESSION = (
    "CoordinateClassification",
    "CoordinateRendering",
    "CoordinateRegression",
)
# The released code of arXiv 1807.03247.
_BATCH = {CLASSIFICATION: 16, REGRESSION: 256}
_L2 = {CLASSIFICATION: 0.001, REGRESSION: 1e-5}
_BETAS = [0.9, 0.99]


@dataclass(frozen=True)
class Part:
    """A class that a configuration names, and its arguments."""

    name: str
    arguments: dict[str, Any]

    @property
    def options(self) -> str:
        """The arguments that are set, without those that are off."""
        given = self.arguments.items()
        return ", ".join(f"{key}={value!r}" for key, value in given if value not in (None, False))

    def __str__(self) -> str:
        return f"{self.name}({self.options})" if self.options else self.name


def part(value: Any) -> Part | None:
    """What a `class_path` with `init_args`, or a bare class path, says; None for anything else.

    >>> str(part({"class_path": "visionpe.AddCoords", "init_args": {"align_corners": True}}))
    'AddCoords(align_corners=True)'
    """
    if isinstance(value, str):
        return Part(value.rpartition(".")[2], {})
    if isinstance(value, dict) and "class_path" in value:
        name = str(value["class_path"]).rpartition(".")[2]
        return Part(name, dict(value.get("init_args") or {}))
    return None


class Recipe:
    """A run's configuration, read.

    Args:
        config: as of `config.yaml`; `model` may be replaced by what the checkpoint holds.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        model, data = part(config.get("model")), part(config.get("data"))
        self.task = model.name if model else ""
        self._task = model.arguments if model else {}
        self._network = part(self._task.get("network")) or Part("unknown", {})
        self._data = data or Part("unknown", {})
        self._optimizer = part(config.get("optimizer"))
        self._schedule = part(config.get("lr_scheduler"))
        trainer = config.get("trainer") or {}
        limits = {unit: trainer.get(f"max_{unit}") for unit in ("epochs", "steps")}
        self._limits = {unit: limit for unit, limit in limits.items() if limit and limit > 0}
        self.seed = config.get("seed_everything")

    @property
    def data(self) -> str:
        """The name of the data's class."""
        return self._data.name

    @property
    def split(self) -> str:
        """The split of the data, quadrant if the configuration is silent."""
        return str(self._data.arguments.get("split", "quadrant"))

    @property
    def network(self) -> Part:
        """The network's class with its sizes, encoding aside."""
        sizes = ("kernel", "multiplier", "pool")
        kept = {key: value for key, value in self._network.arguments.items() if key in sizes}
        return Part(self._network.name, kept)

    @property
    def encoding(self) -> Part:
        """The encoding's class and options; its name is "none" if there is none."""
        return part(self._network.arguments.get("encoding")) or Part("none", {})

    @property
    def training(self) -> str:
        """Optimiser, batch and length, in a line."""
        words = []
        if self._optimizer:
            settings = self._optimizer.arguments
            words.append(f"{self._optimizer.name}, lr {settings.get('lr', 'default')}")
            if settings.get("weight_decay"):
                words.append(f"weight decay {settings['weight_decay']:g}")
        if self._task.get("l2"):
            words.append(f"L2 {self._task['l2']:g}")
        if "batch_size" in self._data.arguments:
            words.append(f"batch {self._data.arguments['batch_size']}")
        if self._schedule:
            words.append(self._schedule.name)
        words += [f"at most {limit:,} {unit}" for unit, limit in self._limits.items()]
        return ", ".join(words)

    @property
    def departures(self) -> list[str]:
        """Each way in which the recipe is not the paper's, as words."""
        found = (
            self._loss(),
            self._inputs(),
            self._optimiser(),
            self._rate(),
            self._batch(),
        )
        return [words for words in found if words]

    def _loss(self) -> str:
        sampler = self._task.get("sampler")
        if sampler is not None:
            given = sampler.get("init_args", sampler) if isinstance(sampler, dict) else {}
            drawn = ""
            if "near" in given and "anywhere" in given:
                drawn = (
                    f" (the target and its neighbours, {given['near']} cells near it and "
                    f"{given['anywhere']} anywhere)"
                )
            return f"sampled softmax{drawn}: not the paper's loss, which is over all cells"
        return "targets scaled to [-1, 1]: not the paper's loss" if self._task.get("scaled") else ""

    def _inputs(self) -> str:
        scaled = self._network.arguments.get("scaled")
        return "scaled inputs: the paper's network reads raw cell numbers" if scaled else ""

    def _optimiser(self) -> str:
        found = self._optimizer
        if found is None:
            return ""
        settings, l2 = found.arguments, float(self._task.get("l2") or 0)
        decay = float(settings.get("weight_decay") or 0)
        betas = list(settings.get("betas", _BETAS))
        asked = _L2.get(self.task, l2)
        if found.name == "Adam" and betas == _BETAS and l2 == asked and not decay:
            return ""
        mine = [found.name, f"weight decay {decay:g}" if decay else "", f"L2 {l2:g}" if l2 else ""]
        mine += [f"betas {betas}"] if betas != _BETAS else []
        theirs = f"Adam with L2 {asked:g}" if self.task in _L2 else "Adam"
        words = [word for word in mine if word]
        return f"{words[0]} {self._settings(words[1:])}: the paper has {theirs}"

    @staticmethod
    def _settings(words: list[str]) -> str:
        return f"with {' and '.join(words)}" if words else "without L2"

    def _rate(self) -> str:
        # The paper lowers the rate of its baselines in steps, and not that of CoordConv.
        if self._schedule is None or self._schedule.name == "StepLR":
            return ""
        return f"learning rate by {self._schedule.name}: not the paper's schedule"

    def _batch(self) -> str:
        size, asked = self._data.arguments.get("batch_size"), _BATCH.get(self.task)
        return "" if size == asked or asked is None else f"batches of {size}: the paper has {asked}"
