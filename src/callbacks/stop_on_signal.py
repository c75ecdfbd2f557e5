"""The reaction of a training to signals."""

from __future__ import annotations

import signal
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..errors import Interrupted
from ..io.step_names import step_name
from ..runtime import signals
from .after_step import AfterStep


class StopOnSignal(AfterStep, Checkpoint):
    """On SIGTERM (preemption) or Ctrl-C, finish the optimizer step, write a checkpoint and end with one line.

    A second Ctrl-C stops at once. Any signal before the end of the first step stops at once as well, because nothing
    can be lost. Several processes share the decision every few steps, so that all stop together.

    In a SLURM job, SIGUSR1 (``#SBATCH --signal=USR1@120``: the time limit is near) does the same and requeues the job.
    With ``${SLURM_RESTART_COUNT:+ckpt_path=last}`` on its command line the next start resumes.

    Args:
        dirpath: folder of the checkpoints.
        agree_every_n_steps: optimizer steps between two agreements of several processes.
    """

    def __init__(self, dirpath: str, agree_every_n_steps: int = 10) -> None:
        self.dirpath = Path(dirpath)
        self.agree_every_n_steps = agree_every_n_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        launcher = trainer.strategy.launcher
        # Forward a signal that only this process received to the processes that it started.
        signals.forward_to(None if launcher is None else launcher.kill)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # The trainer has installed its own handlers, which would write a checkpoint in the middle of a step, in a place
        # where no run finds it.
        signals.install()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        signals.record_only(False)

    def after_step(self, trainer: Trainer, pl_module: LightningModule, last: bool) -> None:
        signals.record_only(True)
        if last or not self._agreed(trainer):
            return
        step = trainer.global_step
        path = self.dirpath / step_name(step, ".ckpt")
        if not trainer.strategy.broadcast(path.exists()):
            trainer.save_checkpoint(path, weights_only=False)
        received = signals.received() or signal.SIGTERM
        queue = signals.requeue() if trainer.is_global_zero and received == signal.SIGUSR1 else ""
        raise Interrupted(
            f"stopped after step {step}; the checkpoint is {path}; "
            f"{queue}continue with the same settings and ckpt_path={self.dirpath.parent}",
            signal_number=received,
        )

    def _agreed(self, trainer: Trainer) -> bool:
        stop = signals.received() is not None
        if trainer.world_size == 1:
            return stop
        if trainer.global_step % self.agree_every_n_steps:
            return False
        agreed: bool = trainer.strategy.reduce_boolean_decision(stop, all=False)
        return agreed
