"""Actions at regular optimizer steps that leave the training unchanged."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from ...errors import UserError
from ...runtime import signals
from ..after_step import AfterStep
from ..checkpoints import Checkpoints

_log = logging.getLogger(__name__)


def periodic_last(callbacks: Sequence[Callback]) -> list[Callback]:
    """Sort callbacks such that periodic ones come last.

    A periodic callback first has the checkpoint written, which must contain the work of the other callbacks after the
    step.
    """
    return sorted(callbacks, key=lambda callback: isinstance(callback, Periodic))


class Periodic(AfterStep, ABC):
    """Call ``run`` after every n-th optimizer step and after the last one, on all processes.

    A due checkpoint of the step is written first. A run that resumes from it repeats missing work. A signal interrupts
    ``run``; the resumed run repeats it. The states of all global random number generators are restored afterwards. Not
    called with Lightning's ``fast_dev_run``.

    Args:
        every_n_steps: optimizer steps between two calls.
    """

    _ran_at: int | None = None
    _trains = False

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise UserError(f"{type(self).__name__} every {every_n_steps} steps: choose at least 1")
        self.every_n_steps = every_n_steps

    @abstractmethod
    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do what is due after optimizer step ``trainer.global_step``."""

    def is_done(self, step: int) -> bool:
        """Return whether the work after ``step`` was finished by the run that this one resumes; False repeats it."""
        return False

    def resume(self, trainer: Trainer) -> None:
        """Called when a run resumes, after its state was loaded and before anything is generated."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._trains = True
        # The last step of a finished run is repeated only if it is due by its number: when the run resumes, it is not
        # the last step.
        self._run_missed(trainer, pl_module, trainer.global_step % self.every_n_steps == 0)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._trains:
            # The checkpoint is that of the last step, so there is nothing to train.
            self._run_missed(trainer, pl_module, True)

    def _run_missed(self, trainer: Trainer, pl_module: LightningModule, due: bool) -> None:
        step = trainer.global_step
        if step == 0:
            return
        self.resume(trainer)
        if due and not trainer.strategy.broadcast(self.is_done(step)):
            self._run(trainer, pl_module)

    def after_step(self, trainer: Trainer, pl_module: LightningModule, last: bool) -> None:
        step = trainer.global_step
        if (step % self.every_n_steps == 0 or last) and self._ran_at != step:
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, Checkpoints):
                    callback.after_step(trainer, pl_module, last)
            self._run(trainer, pl_module)

    def _run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # set from outside its class
            return
        self._ran_at = trainer.global_step
        if trainer.world_size == 1 and signals.received() is not None:
            # This step ends training. Its checkpoint exists, and a resumed run repeats this work.
            return
        try:
            with isolate_rng():
                self.run(trainer, pl_module)
        except signals.Stopped:
            _log.warning("step %d: %s was interrupted; the resumed run repeats it", self._ran_at, type(self).__name__)
