"""One training run, from its plan to its report."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from ...callbacks.check_same_resume_point import CheckSameResumePoint
from ...callbacks.epoch_count import EpochCount
from ...callbacks.monitors.periodic import periodic_last
from ...callbacks.run_folder import RunFolder
from ...callbacks.run_record import RunRecord
from ...checkpoint import AtomicCheckpointIO, RunLock
from ...checkpoint.restarts import note_job
from ...cli.entry import run_log
from ...cli.instantiate import instantiate, instantiate_all, plain
from ...cli.messages import lost_peer
from ...cli.sweeps import RESULT_FILE
from ...errors import NotFinite, UserError
from ...io.atomic import replacing, write_json
from ...lightning_modules import ScoreSDEModule
from ...loggers import finish_loggers, forget_after, log_settings
from ...runtime.precision import set_float32_precision
from ...sampling.ode.bits_per_dim import BitsPerDim
from ..report.task import report_afterwards
from .history import RunHistory
from .plan import TrainingPlan, plan_training
from .states import checked_states, load_initial_weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """A built run. Every process makes the same calls.

    Attributes:
        cfg: its configuration.
        datamodule: its data.
        module: model, objective and optimizer.
        measure: bits/dim of the test; None for none.
        trainer: Lightning's trainer, with callbacks and loggers.
        checkpoint_io: reads and writes checkpoints, and remembers the last good one.
        folder: the run folder, in every process that of rank 0.
        resumed_from: the checkpoint to resume from; None for a new run.
    """

    cfg: DictConfig
    datamodule: Any
    module: ScoreSDEModule
    measure: BitsPerDim | None
    trainer: Trainer
    checkpoint_io: AtomicCheckpointIO
    folder: RunFolder
    resumed_from: Path | None

    def fit(self) -> dict[str, float]:
        """Train to the last step; return the last logged values."""
        with self._naming_the_checkpoint():
            self.trainer.fit(self.module, self.datamodule, ckpt_path=self.resumed_from, weights_only=True)
        return self._logged()

    def test(self) -> dict[str, float]:
        """Return the loss (and bits/dim) of the test split with averaged weights, if asked for."""
        if not self.cfg.test:
            return {}
        with self._naming_the_checkpoint():
            self.trainer.test(self.module, self.datamodule, verbose=False)
        logged = self._logged()
        for name, value in logged.items():
            if name.startswith("test/"):
                unit = f" ({self.measure.unit})" if self.measure and name == "test/bits_per_dim" else ""
                _log.info("%s %.5g%s", name, value, unit)
        return logged

    def finish(self, metrics: dict[str, float]) -> float | None:
        """Write ``result.json`` and return the optimized metric, or None if it was never logged."""
        value, run_dir = metrics.get(self.cfg.optimized_metric), Path(self.cfg.paths.run_dir)
        finite = {name: metric for name, metric in metrics.items() if math.isfinite(metric)}
        if self.trainer.is_global_zero:
            result: dict[str, Any] = {"optimized_metric": self.cfg.optimized_metric, "value": value, "metrics": finite}
            write_json(run_dir / RESULT_FILE, result)
            _log.info("finished after %s steps: %s", f"{self.trainer.global_step:,}", run_dir)
        finish_loggers(self.trainer.loggers, plain(self.cfg), finite)
        return value

    def report(self) -> None:
        """Write ``report.html`` of the complete run; a failure is one line in the log."""
        run_dir = Path(self.cfg.paths.run_dir)
        if self.trainer.is_global_zero and (path := report_afterwards(run_dir)) is not None:
            _log.info("report in %s", path)

    def _logged(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    @contextmanager
    def _naming_the_checkpoint(self) -> Iterator[None]:
        """Name the checkpoint to resume from, if a peer process is lost or training diverged inside the context."""
        try:
            yield
        except NotFinite as error:
            kept = self.checkpoint_io.last_good
            last = "there is no checkpoint yet" if kept is None else f"the last good checkpoint is {kept}"
            raise UserError(f"{error}; {last}", shared=True) from error
        except Exception as error:
            if not lost_peer(error):
                raise
            how = self.folder.describe_resume()
            raise UserError(f"another process of this run has ended, see its error; {how}") from error


@contextmanager
def start_training(cfg: DictConfig) -> Iterator[TrainingRun]:
    """Plan and build a run; lock its folder until the end and record how it ended.

    Args:
        cfg: a configuration that ``check_training`` accepted.

    Raises:
        UserError: the checkpoint, the data or the run folder cannot be used.
    """
    with ExitStack() as held:
        # No variable holds the plan: the resumed checkpoint leaves memory once it is loaded into module and optimizer.
        run = _build(plan_training(cfg, held), held)
        yield run


def _build(plan: TrainingPlan, held: ExitStack) -> TrainingRun:
    """Build all objects of the run; from here on the folder belongs to it."""
    cfg, resumed = plan.cfg, plan.resumed
    set_float32_precision(cfg.float32_matmul_precision)
    # Seeds the initial weights; every other random number has an address.
    seed_everything(cfg.seeds.init, verbose=False)
    module: ScoreSDEModule = instantiate(cfg.module)
    data, measure = plan.datamodule, instantiate(cfg.get("likelihood"))
    if measure is not None:
        # The range is that of the model; the bit depth is that of the data.
        measure = measure.for_data(data.values, cfg.datamodule.data_range, data.dequantized)
        module.likelihood = measure
    load_initial_weights(plan.initial, cfg, module)
    config, folder, checkpoint_io = plain(cfg), RunFolder(plan.run_dir), AtomicCheckpointIO()
    trainer: Trainer = instantiate(
        cfg.trainer,
        callbacks=[
            CheckSameResumePoint(None if resumed is None else resumed.point),
            folder,
            *periodic_last(instantiate_all(cfg.get("callbacks"))),
            RunRecord(config),
            EpochCount(),
        ],
        logger=False,
        plugins=[checkpoint_io],
        **_validation(cfg.trainer),
    )
    if resumed is not None:
        checkpoint_io.resume_from(checked_states(plan, resumed, module, trainer))
    if trainer.is_global_zero:
        _open_folder(plan, trainer, held)
    trainer.loggers = instantiate_all(cfg.get("logger"))
    log_settings(trainer.loggers, config)
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    _log.info("%s trainable parameters; the run is kept in %s", f"{parameters:,}", plan.run_dir)
    resumed_from = None if resumed is None else resumed.path
    return TrainingRun(cfg, data, module, measure, trainer, checkpoint_io, folder, resumed_from)


def _open_folder(plan: TrainingPlan, trainer: Trainer, held: ExitStack) -> None:
    """Lock the folder and open its records; all checks are done."""
    run_dir, resumed = plan.run_dir, plan.resumed
    if not plan.is_locked:
        held.enter_context(RunLock(run_dir))
    note_job(run_dir)
    run_log.open(run_dir / "train.log")
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    history = RunHistory(run_dir, overrides, None if resumed is None else resumed.path)
    held.push(lambda kind, error, traceback: history.end(_ending(error), trainer.global_step))
    if resumed is not None:
        forget_after(run_dir, resumed.step)
    with replacing(run_dir / "config.yaml") as temporary:
        OmegaConf.save(plain(plan.cfg), temporary)


def _ending(error: BaseException | None) -> str:
    return "finished" if error is None else f"{type(error).__name__}: {error}"


def _validation(trainer: DictConfig) -> dict[str, int]:
    """Lightning counts micro-batches between validations; all intervals here are optimizer steps."""
    interval = trainer.val_check_interval
    return {"val_check_interval": interval * trainer.accumulate_grad_batches} if isinstance(interval, int) else {}
