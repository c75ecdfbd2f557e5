"""When checkpoints are written, how many are kept, and what a signal does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..errors import Interrupted, UserError
from ..io.step_names import step_name
from .after_step import AfterStep

_log = logging.getLogger(__name__)


class Checkpoints(AfterStep, Checkpoint):
    """Writes ``step<optimizer step>.ckpt`` after every n-th optimiser step and after the last.

    Only there: the end of an optimiser step is where a resumed run repeats the uninterrupted one bit for bit.

    Args:
        dirpath: folder of the checkpoints.
        every_n_steps: optimiser steps between two checkpoints.
        keep: how many of this callback's checkpoints stay, the newest ones; -1 for all. An old one is removed only
            after the new one is complete.
    """

    def __init__(self, dirpath: str, every_n_steps: int, keep: int = -1) -> None:
        if every_n_steps < 1:
            raise UserError(f"checkpoints every {every_n_steps} steps: choose at least 1")
        if keep == 0 or keep < -1:
            raise UserError(f"keep={keep}: keep at least 1 checkpoint, or -1 for all")
        self.dirpath = Path(dirpath)
        self.every_n_steps = every_n_steps
        self.keep = keep
        self._written: list[str] = []
        self.saved_step = -1

    @property
    def state_key(self) -> str:
        """Several of these callbacks in one run keep their states apart."""
        return f"{type(self).__qualname__}[every {self.every_n_steps}]"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._remove_surplus(trainer)

    def after_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            self._save(trainer)

    def _is_due(self, trainer: Trainer) -> bool:
        return trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps

    def _save(self, trainer: Trainer) -> None:
        path = self.dirpath / step_name(trainer.global_step, ".ckpt")
        # Two of these callbacks can be due at one step: both must know the file, which is written once and holds
        # what they know.
        for callback in (self, *self._others(trainer)):
            if callback._is_due(trainer) and str(path) not in callback._written:
                callback._written.append(str(path))
        if not any(other.saved_step == trainer.global_step for other in self._others(trainer)):
            trainer.save_checkpoint(path, weights_only=False)
        self.saved_step = trainer.global_step
        self._remove_surplus(trainer)

    def _remove_surplus(self, trainer: Trainer) -> None:
        surplus = [] if self.keep < 0 else self._written[: -self.keep]
        for old in surplus:
            if not any(old in other._written for other in self._others(trainer)):
                trainer.strategy.remove_checkpoint(old)
        # Forgotten only now, after the checkpoint that names them: a run killed in between makes up for it.
        self._written = self._written[len(surplus) :]

    def _others(self, trainer: Trainer) -> list[Checkpoints]:
        return [c for c in trainer.checkpoint_callbacks if isinstance(c, Checkpoints) and c is not self]

    def state_dict(self) -> dict[str, Any]:
        return {"written": [Path(path).name for path in self._written]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Names, because a run folder can be moved; a run that goes on elsewhere owns nothing there.
        self._written = [str(self.dirpath / n) for n in state_dict["written"] if (self.dirpath / n).exists()]


class StopOnSignal(AfterStep, Checkpoint):
    """SIGTERM (pre-emption) and Ctrl-C: finish the optimiser step, write a checkpoint, leave with one line.

    A second Ctrl-C stops at once. In several processes the decision is shared every few steps, so all stop together.
    In a SLURM job SIGUSR1 (``#SBATCH --signal=USR1@120``: the time is almost up) does the same and puts the job back
    into the queue; with ``${SLURM_RESTART_COUNT:+ckpt_path=last}`` on its command line the next start goes on.

    Args:
        dirpath: folder of the checkpoints.
        agree_every_n_steps: optimiser steps between two agreements of several processes.
    """

    def __init__(self, dirpath: str, agree_every_n_steps: int = 10) -> None:
        self.dirpath = Path(dirpath)
        self.agree_every_n_steps = agree_every_n_steps
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # The trainer would write a checkpoint in the middle of a step, where no run finds it.
        of_slurm = (signal.SIGUSR1,) if "SLURM_JOB_ID" in os.environ else ()
        for number in (signal.SIGINT, signal.SIGTERM, *of_slurm):
            self._previous[number] = signal.signal(number, self._receive)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._release()

    def after_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            if trainer.global_step % self.agree_every_n_steps:
                return
            stop = trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)
        else:
            stop = self._received is not None
        if stop and trainer.global_step != trainer.max_steps:
            path = self.dirpath / step_name(trainer.global_step, ".ckpt")
            trainer.save_checkpoint(path, weights_only=False)
            requeued = self._requeue() if trainer.is_global_zero else ""
            raise Interrupted(
                f"stopped after step {trainer.global_step}; everything is in {path}; "
                f"{requeued}continue with the same command and ckpt_path=last",
                signal_number=self._received or signal.SIGTERM,
            )

    def _requeue(self) -> str:
        """Words for what became of the job."""
        if self._received != signal.SIGUSR1:
            return ""
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]
        try:
            subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"job {job} could not be put back into the queue ({error}); "
        return f"job {job} is in the queue again; "

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            self._release()
            raise KeyboardInterrupt
        self._received = number
        _log.warning("%s: finishing this step, then writing a checkpoint", signal.Signals(number).name)

    def _release(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
