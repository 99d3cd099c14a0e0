"""LightningCLI, made to keep a run in one folder and to let no checkpoint overrule its user."""

import math
from functools import partial, update_wrapper
from pathlib import Path
from types import MethodType
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.cli import LightningCLI, instantiate_class
from lightning.pytorch.plugins import DoublePrecision
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from visionpe.cli import checkpoints, defaults
from visionpe.cli.files import ConfigFiles
from visionpe.cli.folder import Run, RunFolder, digest, lasting
from visionpe.cli.kept import changes, compare, model_of, unfinished
from visionpe.cli.making import Instantiator, make, require_loaders
from visionpe.cli.naming import description, run_of, snake
from visionpe.cli.parser import Parser
from visionpe.cli.record import Record
from visionpe.errors import ConfigError, VisionPEError

_DATA_ARGUMENTS = {
    "fit": {"train_dataloaders", "val_dataloaders"},
    **{verb: {"dataloaders"} for verb in ("validate", "test", "predict")},
}


class VisionPECLI(LightningCLI):
    """One verb of `fit`, `validate`, `test` and `predict`, from its arguments to its end.

    Args:
        verb: the verb.
        args: the words after it.

    Attributes:
        folder: the run's folder, once there is one.

    Raises:
        VisionPEError: for all that a user can mend.
    """

    def __init__(self, verb: str, args: list[str]) -> None:
        self.verb = verb
        self.folder: RunFolder | None = None
        self._ckpt_path: str | None = None
        self._checkpoint_model: dict[str, Any] = {}
        super().__init__(
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"prog": "visionpe", "allow_abbrev": False},
            parser_class=Parser,
            args=[verb, *args],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] # static in the base
        """The one verb, and the arguments of the trainer's method that are not options."""
        # Checkpoints are always loaded with weights_only=True: it is no option.
        return {self.verb: {"model", "datamodule", "weights_only", *_DATA_ARGUMENTS[self.verb]}}

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Adds `--run...`, and tells a model that asks for it (`of_data`) what the data is."""
        parser.add_class_arguments(Run, "run")
        parser.link_arguments(
            "data", "model.init_args.of_data", compute_fn=description, apply_on="instantiate"
        )

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Parses, with the model of `--ckpt_path` as the default of `--model`.

        The words of the command line count more than those of files, in whatever order they stand.
        """
        self._files = files = ConfigFiles(args[1:])
        path = files.checkpoint()
        if path and path not in ("best", "last", "hpc", "registry"):
            self._checkpoint_model = model_of(path)
            if self._checkpoint_model:
                self._subcommand_parsers[self.verb].set_defaults({"model": self._checkpoint_model})
        try:
            self.config = parser.parse_args([args[0], *files.first()])
        except ConfigError as error:
            raise ConfigError(f"{error}{files.origin(str(error))}") from error

    def _parse_ckpt_path(self) -> None:
        """Compares the checkpoint's model with the one asked for; the user's word counts.

        Of `fit`, which goes on with a run, the whole configuration is compared later.
        """
        if not self._checkpoint_model or self.verb == "fit":
            return
        config = self._dumped()
        for line in compare(self._checkpoint_model, config["model"], config["ckpt_path"]):
            print(line)

    def before_instantiate_classes(self) -> None:
        """Names the run, and hands its seed to data that have one and were given none."""
        config = self.config[self.verb]
        data = config.get("data")
        if data is not None and "seed" in (data.get("init_args") or {}):
            seed = config.get("seed_everything")
            if type(seed) is int and not self._files.gives("data.seed"):
                data.init_args.seed = seed
        if config.run.name is None:
            files = [str(path) for path in config.get("config") or []]
            scored = run_of(config.get("ckpt_path")) if self.verb != "fit" else None
            model = snake(config.model.class_path)
            config.run.name = Path(files[-1]).stem if files else scored or model

    def _add_instantiators(self) -> None:
        for key, kind in (("model", L.LightningModule), ("data", L.LightningDataModule)):
            self.parser.add_instantiator(Instantiator(cli=self, key=key), kind, subclasses=True)
        others = partial(make, self._dumped())
        self.parser.add_instantiator(others, object, subclasses=True, prepend=False)

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """As Lightning's, but a model that has `parameter_groups` has its optimiser on those."""
        init = self._get(self.config_init, "optimizer")
        if not init or not hasattr(self.model, "parameter_groups"):
            super()._add_configure_optimizers_method_to_model(subcommand)
            return
        groups = self.model.parameter_groups(init["init_args"].get("weight_decay", 0.0))
        optimizer = instantiate_class(groups, init)
        schedule = self._get(self.config_init, "lr_scheduler")
        if not schedule and rank_zero_only.rank == 0:  # type: ignore[attr-defined] # set at import
            print(
                "`optimizer` is given as a section: the model's own `optimizer`, `schedule` and "
                "`warmup` do nothing, and the rate is constant without a section `lr_scheduler`"
            )
        lr_scheduler = instantiate_class(optimizer, schedule) if schedule else None
        made = partial(self.configure_optimizers, optimizer=optimizer, lr_scheduler=lr_scheduler)
        update_wrapper(made, self.configure_optimizers)  # Lightning asks who overrides the model's
        self.model.configure_optimizers = MethodType(made, self.model)

    def _instantiate_trainer(
        self, config: dict[str, Any], callbacks: list[L.Callback]
    ) -> L.Trainer:
        """Makes the run's folder and a trainer that writes into it."""
        resolved = self._dumped()
        path = resolved.get("ckpt_path")
        if self.verb == "fit" and path and Path(path).is_file():  # `latest` is soon this run
            self._ckpt_path = str(Path(path).resolve())
        try:
            defaults.require_processes(config)
            if not config.get("fast_dev_run"):
                defaults.require_own_folder(config)
                run = self.config[self.verb].run
                goes_on = self._changes(resolved)
                self.folder = RunFolder.open(run, digest(resolved), verb=self.verb)
                kept = lasting(resolved, verb=self.verb)
                if goes_on:
                    self.folder.write(f"config-{digest(resolved)}.yaml", yaml.safe_dump(kept))
                self.folder.begin(f"# visionpe {self.verb} --config THIS_FILE\n", kept)
            defaults.fill(
                config,
                model=self.model,
                folder=self.folder,
                resolved=resolved,
                callbacks=callbacks,
                verb=self.verb,
            )
            return L.Trainer(**config)
        except Exception as error:
            self.close(failed=True)
            if isinstance(error, VisionPEError):
                raise
            raise ConfigError(f"`trainer` cannot be made as configured: {error}") from error

    def _changes(self, resolved: dict[str, Any]) -> list[str]:
        """Prints how a run that is gone on with by name differs from the one asked for."""
        run, path = self.config[self.verb].run, resolved.get("ckpt_path")
        if self.verb != "fit" or not (run.resume or path):
            return []
        model = self._checkpoint_model
        lines = changes(run, path, resolved, {**resolved, "model": model} if model else None)
        for line in lines:
            print(line)
        return lines

    def close(self, *, failed: bool) -> None:
        """Lets go of the run's folder, and removes it if the run failed before its first step."""
        if self.folder is not None:
            if failed:
                self.folder.discard()
            self.folder.close()

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        arguments["weights_only"] = True
        if self.folder is not None and self.folder.last is not None:
            arguments["ckpt_path"] = str(self.folder.last)
        elif self._ckpt_path is not None:  # else as the user says
            arguments["ckpt_path"] = self._ckpt_path
        self._announce()
        return arguments

    def _announce(self) -> None:
        """Says where the run is kept and whether it goes on."""
        if self.folder is None or not self.trainer.is_global_zero:
            return
        step = self.folder.step()
        goes_on = f"going on at step {step}" if step else "beginning again"
        print(f"{self.folder.path}{f': {goes_on}' if self.folder.resumed else ''}", flush=True)
        if self.verb == "fit" and not self.folder.resumed:
            for line in unfinished(self.folder.others(), self._dumped()):
                print(line, flush=True)

    def _run_subcommand(self, subcommand: str) -> None:
        """Leaves the running to `run`, so that an interrupt finds the object made."""

    def run(self) -> Any:
        """Runs the verb; returns what the trainer returns."""
        if self.verb == "fit" and not is_overridden("configure_optimizers", self.model):
            raise ConfigError(
                f"`optimizer` must be given for {type(self.model).__name__}, but is not. Give for "
                "instance `--optimizer AdamW --optimizer.lr 1e-3`."
            )
        if self.datamodule is None:
            require_loaders(self.verb, self.model)
        arguments = self._prepare_subcommand_kwargs(self.verb)
        path = arguments.get("ckpt_path")
        if self.verb == "fit" and path is not None and Path(path).is_file():
            checkpoints.require_optimiser(Path(path))
        elif self.verb != "fit" and path is None and self.trainer.is_global_zero:
            print("no `--ckpt_path`: the weights are untrained, as the model is made with them")
        if isinstance(self.trainer.precision_plugin, DoublePrecision):
            self.model.double()  # as Lightning does, but before a checkpoint is read into it
        try:
            return getattr(self.trainer, self.verb)(**arguments)
        except RuntimeError as error:
            if not str(error).startswith("Error(s) in loading state_dict"):
                raise
            raise checkpoints.misfit(path, str(error)) from error

    @staticmethod
    def configure_optimizers(
        lightning_module: L.LightningModule, optimizer: Any, lr_scheduler: Any = None
    ) -> Any:
        """As Lightning's, but a schedule that torch counts in batches is stepped at each batch."""
        if not isinstance(lr_scheduler, OneCycleLR | CyclicLR):
            return LightningCLI.configure_optimizers(lightning_module, optimizer, lr_scheduler)
        steps = lightning_module.trainer.estimated_stepping_batches
        if isinstance(lr_scheduler, OneCycleLR) and lr_scheduler.total_steps < steps < math.inf:
            raise ConfigError(
                f"`lr_scheduler.init_args.total_steps` must be at least the {steps:.0f} steps of "
                f"the run, but is {lr_scheduler.total_steps}. Give "
                f"`--lr_scheduler.init_args.total_steps {steps:.0f}`, or fewer steps."
            )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"},
        }

    def finish(self) -> None:
        """Marks a run that trained to its end as done."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined] # of the base's making
            if isinstance(callback, Record) and self.trainer.is_global_zero:
                callback.finish(self.trainer)

    def _dumped(self) -> dict[str, Any]:
        """The configuration as plain data, complete."""
        parser = self._subcommand_parsers[self.verb]
        text = parser.dump(
            self.config[self.verb], skip_none=False, skip_link_targets=False, format="yaml"
        )
        dumped: dict[str, Any] = yaml.safe_load(text)
        dumped.pop("config", None)
        return dumped
