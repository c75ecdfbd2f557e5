"""What a signal does to a run in training."""

from __future__ import annotations

import signal
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from .. import signals
from ..errors import Interrupted
from ..io.step_names import step_name
from .after_step import AfterStep


class StopOnSignal(AfterStep, Checkpoint):
    """SIGTERM (pre-emption) and Ctrl-C: finish the optimizer step, write a checkpoint, leave with one line.

    A second Ctrl-C stops at once, and so does any signal until the first step is done: nothing is lost then. In several
    processes the decision is shared every few steps, so all stop together. In a SLURM job SIGUSR1
    (``#SBATCH --signal=USR1@120``: the time is almost up) does the same and puts the job back into the queue; with
    ``${SLURM_RESTART_COUNT:+ckpt_path=last}`` on its command line the next start goes on.

    Args:
        dirpath: folder of the checkpoints.
        agree_every_n_steps: optimizer steps between two agreements of several processes.
    """

    def __init__(self, dirpath: str, agree_every_n_steps: int = 10) -> None:
        self.dirpath = Path(dirpath)
        self.agree_every_n_steps = agree_every_n_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        launcher = trainer.strategy.launcher
        # Processes that this one started hear of a signal that came to it alone.
        signals.forward_to(None if launcher is None else launcher.kill)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # The trainer has taken them over: it would write a checkpoint in the middle of a step, where no run finds it.
        signals.install()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        signals.note_only(False)

    def after_step(self, trainer: Trainer, pl_module: LightningModule, last: bool) -> None:
        signals.note_only(True)
        if last or not self._agreed(trainer):
            return
        step = trainer.global_step
        path = self.dirpath / step_name(step, ".ckpt")
        if not trainer.strategy.broadcast(path.exists()):
            trainer.save_checkpoint(path, weights_only=False)
        received = signals.received() or signal.SIGTERM
        queue = signals.requeue() if trainer.is_global_zero and received == signal.SIGUSR1 else ""
        raise Interrupted(
            f"stopped after step {step}; everything is in {path}; "
            f"{queue}continue with the same command and ckpt_path=last",
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
