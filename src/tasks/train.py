"""One training run; cheap checks come first."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from ..callbacks.check_same_resume_point import CheckSameResumePoint
from ..callbacks.epoch_count import EpochCount
from ..callbacks.monitors.periodic import periodic_last
from ..callbacks.run_folder import RunFolder
from ..callbacks.run_record import RunHistory, RunRecord
from ..checkpoint import AtomicCheckpointIO, OpenCheckpoint, RunLock, find_checkpoint, restore_model
from ..checkpoint.jobs import NothingToResume, note_job, torchrun_restarted
from ..checkpoint.read import checked, open_archive
from ..checkpoint.training_state import check_complete, check_training_state
from ..cli.entry import run_log
from ..cli.instantiate import fill_in_from_data, instantiate, instantiate_all, plain
from ..cli.messages import lost_peer
from ..cli.sweeps import RESULT_FILE
from ..datamodules.addressing.module import AddressedDataModule
from ..errors import NotFinite, UserError
from ..interop.checkpoints import open_checkpoint
from ..interop.song.checkpoint import is_song_checkpoint, open_song_training
from ..interop.song.experiments import read_original, warn_ignored_keys
from ..io.atomic import replacing, write_json
from ..lightning_modules import ScoreSDEModule
from ..loggers import finish_loggers, forget_after, log_settings
from ..runtime.precision import set_float32_precision
from ..sampling.ode.bits_per_dim import BitsPerDim
from .choices import choose_settings
from .devices import quiet_lightning
from .foreign import as_own_checkpoint
from .report.task import report_afterwards
from .resume import SettingChange, apply_settings, compare
from .train_checks import check_classes, check_run, shorten_warm_up

_log = logging.getLogger(__name__)


class Run:
    """A training run of a configuration; a context manager that locks the run folder.

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
        self._folder = RunFolder(self.run_dir)
        self._checkpoint_io = AtomicCheckpointIO()
        self._resumed: OpenCheckpoint | None = None
        self._changes: list[SettingChange] = []
        self._held = ExitStack()
        self._is_held = False
        self._history: RunHistory | None = None
        self._metrics: dict[str, float] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._held:
            if self._history is not None:
                how = "finished" if error is None else f"{type(error).__name__}: {error}"
                self._history.end(how, self.trainer.global_step)

    def check(self) -> None:
        """Check everything that needs no device and no network; find and load the checkpoint to resume from.

        Settings that are ``auto`` are chosen first.
        """
        quiet_lightning()
        if self.cfg.ckpt_path is not None and self.cfg.init_from is not None:
            raise UserError(
                f"ckpt_path={self.cfg.ckpt_path} resumes a run, and init_from={self.cfg.init_from} starts a new one "
                "from weights: give one of them"
            )
        if self.cfg.get("original_config") is not None:
            warn_ignored_keys(self.cfg.original_config, read_original(self.cfg.original_config))
        choose_settings(self.cfg)
        shorten_warm_up(self.cfg)
        check_run(self.cfg)
        self._open_resumed()

    def prepare_data(self) -> None:
        """Check the data settings; the data themselves are read here only if the configuration depends on them."""
        self.datamodule = instantiate(self.cfg.datamodule)
        fill_in_from_data(self.cfg, self.datamodule)
        check_classes(self.cfg, self.datamodule.num_classes)
        names = self.cfg.datamodule.get("class_names")
        if names:
            _log.info("classes: %s", ", ".join(f"{i} {name}" for i, name in enumerate(names)))
        if self._resumed is not None and is_song_checkpoint(self._resumed.content):
            self._resumed = open_song_training(self._resumed, plain(self.cfg))
        elif self._resumed is not None:
            self._changes = compare(self._resumed, plain(self.cfg))

    def build(self) -> None:
        """Build all objects of the run; the folder belongs to it."""
        set_float32_precision(self.cfg.float32_matmul_precision)
        # Seeds the initial weights; every other random number has an address.
        seed_everything(self.cfg.seeds.init, verbose=False)
        self.module = instantiate(self.cfg.module)
        data, self.measure = self.datamodule, instantiate(self.cfg.get("likelihood"))
        if self.measure is not None:
            # The range is that of the model; the bit depth is that of the data.
            self.measure = self.measure.of_data(data.values, self.cfg.datamodule.data_range, data.dequantized)
            self.module.likelihood = self.measure
        self._start_from()
        config = plain(self.cfg)
        self.trainer = instantiate(
            self.cfg.trainer,
            callbacks=[
                CheckSameResumePoint(None if self._resumed is None else self._resumed.point),
                self._folder,
                *periodic_last(instantiate_all(self.cfg.get("callbacks"))),
                RunRecord(config),
                EpochCount(),
            ],
            logger=False,
            plugins=[self._checkpoint_io],
            **self._validation(),
        )
        if self._resumed is not None:
            self._checkpoint_io.resume_from(self._checked_state(self._resumed))
        if self.trainer.is_global_zero:
            self._open_folder(config)
        self.trainer.loggers = instantiate_all(self.cfg.get("logger"))
        log_settings(self.trainer.loggers, config)
        parameters = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        _log.info("%s trainable parameters; the run is kept in %s", f"{parameters:,}", self.run_dir)

    def fit(self) -> None:
        """Train to the last step."""
        resumed, self._resumed = self._resumed, None
        path = None if resumed is None else resumed.path
        # The checkpoint is loaded into module and optimizer; free its memory.
        del resumed
        with self._naming_the_checkpoint():
            self.trainer.fit(self.module, self.datamodule, ckpt_path=path, weights_only=True)
        self._remember_metrics()

    def test(self) -> None:
        """Return the loss (and bits/dim) of the test split with averaged weights, if asked for."""
        if self.cfg.test:
            with self._naming_the_checkpoint():
                self.trainer.test(self.module, self.datamodule, verbose=False)
            for name, value in self.trainer.callback_metrics.items():
                if name.startswith("test/"):
                    unit = f" ({self.measure.unit})" if self.measure and name == "test/bits_per_dim" else ""
                    _log.info("%s %.5g%s", name, value, unit)
            self._remember_metrics()

    def finish(self) -> float | None:
        """Write ``result.json`` and return the optimized metric, or None if it was never logged."""
        metrics = self._metrics
        value = metrics.get(self.cfg.optimized_metric)
        finite = {name: metric for name, metric in metrics.items() if math.isfinite(metric)}
        if self.trainer.is_global_zero:
            result: dict[str, Any] = {"optimized_metric": self.cfg.optimized_metric, "value": value, "metrics": finite}
            write_json(self.run_dir / RESULT_FILE, result)
            _log.info("finished after %s steps: %s", f"{self.trainer.global_step:,}", self.run_dir)
        finish_loggers(self.trainer.loggers, plain(self.cfg), finite)
        return value

    def report(self) -> None:
        """Write ``report.html`` of the complete run; a failure is one line in the log."""
        if self.trainer.is_global_zero and (path := report_afterwards(self.run_dir)) is not None:
            _log.info("report in %s", path)

    def _open_resumed(self) -> None:
        """Lock the folder of the resumed run and load its checkpoint."""
        spec = self.cfg.ckpt_path
        if spec is None and torchrun_restarted():
            spec = "last"
        if spec is None:
            return
        if any((self.run_dir / "checkpoints").glob("*.ckpt")):
            self._hold()
            if spec == "last":
                # Find the newest checkpoint again: the run is locked now, so no other process writes to it.
                spec = self.run_dir
        try:
            path = find_checkpoint(spec, Path(self.cfg.paths.log_dir), self.cfg.name)
        except NothingToResume as error:
            _log.info("%s", error)
            self.cfg.ckpt_path = None
            return
        self._resumed = open_archive(path)
        # States that a training of the original lacks are made once the settings that depend on the data are known.
        if not is_song_checkpoint(self._resumed.content):
            self._resumed = replace(self._resumed, content=checked(self._resumed.content, path))
            check_complete(self._resumed)
            self._continue_logs(self._resumed)
        _log.info("resuming from %s", path)

    def _hold(self) -> None:
        if not self._is_held:
            self._held.enter_context(RunLock(self.run_dir))
            self._is_held = True

    def _open_folder(self, config: dict[str, Any]) -> None:
        """From here on the run writes into its folder; all checks are done."""
        self._hold()
        note_job(self.run_dir)
        run_log.open(self.run_dir / "train.log")
        overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
        resumed = self._resumed
        self._history = RunHistory(self.run_dir, overrides, None if resumed is None else resumed.path)
        if resumed is not None:
            forget_after(self.run_dir, resumed.step)
        with replacing(self.run_dir / "config.yaml") as temporary:
            OmegaConf.save(config, temporary)

    def _checked_state(self, resumed: OpenCheckpoint) -> OpenCheckpoint:
        """Return the checkpoint with this run's settings, after comparing its states with the run's."""
        make_optimizer = instantiate(self.cfg.optimizer)
        optimizer = make_optimizer(self.module.parameters())
        make_scheduler = instantiate(self.cfg.get("scheduler"))
        scheduler = None if make_scheduler is None else make_scheduler(optimizer)
        schedule, fit_loop = None if scheduler is None else scheduler.state_dict(), self.trainer.fit_loop.state_dict()
        if "adam" in resumed.content:
            accumulate = self.trainer.accumulate_grad_batches
            resumed = as_own_checkpoint(resumed, self.module, optimizer, scheduler, fit_loop, accumulate)
        check_training_state(
            resumed, self.module.state_dict(), optimizer, make_optimizer, schedule, {"fit_loop": fit_loop}
        )
        self._check_averages(resumed)
        return apply_settings(resumed, self._changes, optimizer, scheduler)

    def _check_averages(self, resumed: OpenCheckpoint) -> None:
        """Raise UserError unless the checkpoint has this run's averages; called before the run locks its folder."""
        configured = [] if (self.cfg.get("callbacks") or {}).get("ema") is None else (self.cfg.get("ema") or {})
        expected, found = sorted(map(str, configured)), sorted(resumed.content.get("ema") or {})
        if expected != found:
            raise UserError(
                f"{resumed.path} has the averages {found}, but the configuration names {expected}: resume with the "
                "averages the run was started with"
            )

    @contextmanager
    def _naming_the_checkpoint(self) -> Iterator[None]:
        """Name the checkpoint to resume from, if a peer process is lost or training diverged inside the context."""
        try:
            yield
        except NotFinite as error:
            kept = self._checkpoint_io.last_good
            last = "there is no checkpoint yet" if kept is None else f"the last good checkpoint is {kept}"
            raise UserError(f"{error}; {last}", shared=True) from error
        except Exception as error:
            if not lost_peer(error):
                raise
            how = self._folder.how_to_resume()
            raise UserError(f"another process of this run has ended, see its error; {how}") from error

    def _validation(self) -> dict[str, int]:
        """Lightning counts micro-batches between validations; all intervals here are optimizer steps."""
        interval = self.cfg.trainer.val_check_interval
        accumulate = self.cfg.trainer.accumulate_grad_batches
        return {"val_check_interval": interval * accumulate} if isinstance(interval, int) else {}

    def _remember_metrics(self) -> None:
        """Testing overwrites the trainer's logged metrics of the training; keep a copy."""
        self._metrics |= {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def _continue_logs(self, resumed: OpenCheckpoint) -> None:
        """A resumed run continues its curve in W&B."""
        run = resumed.content.get("run")
        run_id = run.get("WandbLogger") if isinstance(run, dict) else None
        if isinstance(run_id, str) and "wandb" in (self.cfg.get("logger") or {}):
            self.cfg.logger.wandb.id = run_id

    def _start_from(self) -> None:
        if self.cfg.init_from is not None:
            path = find_checkpoint(self.cfg.init_from, Path(self.cfg.paths.log_dir), self.cfg.name)
            net = restore_model(open_checkpoint(path, config=plain(self.cfg))).net
            try:
                self.module.get_submodule("model.net").load_state_dict(net.state_dict())
            except RuntimeError as error:
                raise UserError(f"init_from={path} does not fit this net: {' '.join(str(error).split())}") from error
            _log.info("weights of %s, counters at zero", path)
