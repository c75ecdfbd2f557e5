"""One training run, in the order in which things can go wrong: cheap checks first."""

from __future__ import annotations

import logging
import math
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from ..callbacks.epoch_count import EpochCount
from ..callbacks.run_record import RunRecord
from ..callbacks.same_start import SameStart
from ..checkpoint.find import find_checkpoint
from ..checkpoint.io import AtomicCheckpointIO
from ..checkpoint.lock import RunLock
from ..checkpoint.read import read_checkpoint
from ..checkpoint.restore import restore_model
from ..cli.instantiate import fill_in_from_data, instantiate, instantiate_all, plain
from ..cli.sweeps import RESULT_FILE
from ..datamodules.addressing.module import AddressedDataModule
from ..errors import UserError
from ..interop.checkpoints import open_checkpoint
from ..io.atomic import replacing, write_json
from ..lightning_modules import ScoreSDEModule
from ..loggers import finish_wandb
from ..precision import set_float32_precision
from ..sampling.ode.bits_per_dim import BitsPerDim
from .choices import choose_settings
from .train_checks import check_classes, check_run

_log = logging.getLogger(__name__)


class Run:
    """A training run of a configuration; a context manager that holds the run folder.

    Args:
        cfg: the composed configuration of ``conf/train.yaml``.
    """

    datamodule: AddressedDataModule
    module: ScoreSDEModule
    measure: BitsPerDim | None
    trainer: Trainer

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.run_dir = Path(cfg.paths.run_dir)
        self.ckpt_path: Path | None = None
        self._step: int | None = None
        self._held = ExitStack()
        self._metrics: dict[str, float] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        # The folder is free for others again.
        self._held.close()

    def check(self) -> None:
        """Check what can be known without a device or network; find and read the checkpoint to go on from.

        Settings that are left to the data are chosen first.
        """
        choose_settings(self.cfg)
        check_run(self.cfg)
        if self.cfg.ckpt_path is not None:
            self.ckpt_path = find_checkpoint(self.cfg.ckpt_path, Path(self.cfg.paths.log_dir), self.cfg.name)
            checkpoint = read_checkpoint(self.ckpt_path)
            self._step = checkpoint["global_step"]
            self._continue_logs(checkpoint)
            _log.info("going on from %s", self.ckpt_path)

    def prepare_data(self) -> None:
        """Data settings are checked; the data themselves are read now only if the configuration depends on them."""
        self.datamodule = instantiate(self.cfg.datamodule)
        fill_in_from_data(self.cfg, self.datamodule)
        check_classes(self.cfg, self.datamodule.num_classes)
        names = self.cfg.datamodule.get("class_names")
        if names:
            _log.info("classes: %s", ", ".join(f"{i} {name}" for i, name in enumerate(names)))

    def build(self) -> None:
        """All objects of the run; the folder is locked."""
        _quiet_trainer()
        set_float32_precision(self.cfg.float32_matmul_precision)
        # The initial weights; every other random number has an address.
        seed_everything(self.cfg.seed, verbose=False)
        self.module = instantiate(self.cfg.module)
        data, self.measure = self.datamodule, instantiate(self.cfg.get("likelihood"))
        if self.measure is not None:
            # The range is the model's, the depth is that of the data.
            self.measure = self.measure.of_data(data.values, self.cfg.datamodule.data_range, data.dequantized)
            self.module.likelihood = self.measure
        self._check_weights()
        self._start_from()
        config = plain(self.cfg)
        self.trainer = instantiate(
            self.cfg.trainer,
            callbacks=[
                SameStart(self.ckpt_path, self._step),
                *instantiate_all(self.cfg.get("callbacks")),
                RunRecord(config),
                EpochCount(),
            ],
            logger=instantiate_all(self.cfg.get("logger")),
            plugins=[AtomicCheckpointIO()],
            **self._validation(),
        )
        if self.trainer.is_global_zero:
            self._held.enter_context(RunLock(self.run_dir))
            with replacing(self.run_dir / "config.yaml") as temporary:
                OmegaConf.save(config, temporary)
            for logger in self.trainer.loggers:
                logger.log_hyperparams(config)
        parameters = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        _log.info("%s trainable parameters; the run is kept in %s", f"{parameters:,}", self.run_dir)

    def fit(self) -> None:
        """Train to the last step."""
        try:
            self.trainer.fit(self.module, self.datamodule, ckpt_path=self.ckpt_path, weights_only=True)
        except SystemExit:
            # Lightning's answer to Ctrl-C.
            if self.trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        self._remember_metrics()

    def _validation(self) -> dict[str, int]:
        """Lightning counts micro-batches between validations; here all intervals are optimiser steps."""
        interval = self.cfg.trainer.val_check_interval
        accumulate = self.cfg.trainer.accumulate_grad_batches
        return {"val_check_interval": interval * accumulate} if isinstance(interval, int) else {}

    def test(self) -> None:
        """Loss (and bits/dim) of the test split with averaged weights, if asked for."""
        if self.cfg.test:
            self.trainer.test(self.module, self.datamodule, verbose=False)
            for name, value in self.trainer.callback_metrics.items():
                if name.startswith("test/"):
                    unit = f" ({self.measure.unit})" if self.measure and name == "test/bits_per_dim" else ""
                    _log.info("%s %.5g%s", name, value, unit)
            self._remember_metrics()

    def finish(self) -> float | None:
        """Write ``result.json``; the optimised metric, None if it was never logged."""
        metrics = self._metrics
        value = metrics.get(self.cfg.optimized_metric)
        if self.trainer.is_global_zero:
            finite = {name: metric for name, metric in metrics.items() if math.isfinite(metric)}
            result: dict[str, Any] = {"optimized_metric": self.cfg.optimized_metric, "value": value, "metrics": finite}
            write_json(self.run_dir / RESULT_FILE, result)
            _log.info("finished after %s steps: %s", f"{self.trainer.global_step:,}", self.run_dir)
        finish_wandb()
        return value

    def _remember_metrics(self) -> None:
        """The trainer forgets those of the training when it tests."""
        self._metrics |= {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def _continue_logs(self, checkpoint: dict[str, Any]) -> None:
        """A run that goes on keeps its curve in W&B."""
        run_id = checkpoint.get("run", {}).get("WandbLogger")
        if run_id is not None and "wandb" in (self.cfg.get("logger") or {}):
            self.cfg.logger.wandb.id = run_id

    def _check_weights(self) -> None:
        """One line instead of the trainer's traceback if the checkpoint is of another net, or holds weights only."""
        if self.ckpt_path is None:
            return
        checkpoint = read_checkpoint(self.ckpt_path)
        lacking = [key for key in ("loops", "optimizer_states", "lr_schedulers") if key not in checkpoint]
        if lacking:
            raise UserError(
                f"{self.ckpt_path} lacks {', '.join(lacking)}, so training cannot go on from it: "
                "start from its weights with init_from, or use a checkpoint that this version wrote"
            )
        there = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
        here = {name: tuple(value.shape) for name, value in self.module.state_dict().items()}
        different = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        if different:
            raise UserError(
                f"{self.ckpt_path} is of another net: {len(different)} tensors differ, first {different[0]} "
                f"({there.get(different[0], 'absent')} in the file, {here.get(different[0], 'absent')} here); "
                "resume with the configuration of the run, or start from its weights with init_from"
            )

    def _start_from(self) -> None:
        if self.cfg.init_from is not None and self.ckpt_path is None:
            path = find_checkpoint(self.cfg.init_from, Path(self.cfg.paths.log_dir), self.cfg.name)
            net = restore_model(open_checkpoint(path, config=plain(self.cfg))).net
            try:
                self.module.get_submodule("model.net").load_state_dict(net.state_dict())
            except RuntimeError as error:
                raise UserError(f"init_from={path} is not of this net: {' '.join(str(error).split())}") from error
            _log.info("weights of %s, counters at zero", path)


def _quiet_trainer() -> None:
    """Only what is news of this run reaches the log."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The trainer's own use of torch, and a warning about epochs where everything here counts steps.
    for message in (r".*isinstance\(treespec, LeafSpec\)", r"The number of training batches .* is smaller than"):
        warnings.filterwarnings("ignore", message=message)
