"""End training, with an annealed learning rate, after a given time."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ..errors import UserError
from ..lightning_modules.schedules import annealing_factor, warm_up_factor


class TimeBudget(Callback):
    """Warm up linearly in steps, then anneal the learning rate by half a cosine over ``seconds`` and end training.

    The learning rate is set before every step and replaces any schedule (use ``scheduler: null``). Elapsed time is
    stored in checkpoints, so a resumed run uses the remaining time. The number of steps depends on the machine, so such
    a run is not reproducible bit for bit. Compilation during the first steps counts.

    Args:
        seconds: time from the first step to the last.
        warm_up_steps: steps of linear increase from 1 / ``warm_up_steps`` of the rate.
        final: fraction of the learning rate at the end, in [0, 1].
        agree_every_n_steps: optimizer steps between two readings of the clock; several processes take that of the
            first.

    Raises:
        UserError: for values outside these ranges.
    """

    def __init__(
        self, seconds: float, warm_up_steps: int = 200, final: float = 0.0, agree_every_n_steps: int = 10
    ) -> None:
        if seconds <= 0:
            raise UserError(f"callbacks.time_budget.seconds={seconds}: give a positive number")
        if warm_up_steps < 0 or agree_every_n_steps < 1:
            raise UserError(
                f"callbacks.time_budget.warm_up_steps={warm_up_steps} and agree_every_n_steps={agree_every_n_steps}: "
                "give at least 0 and 1"
            )
        if not 0 <= final <= 1:
            raise UserError(f"callbacks.time_budget.final={final}: give a share from 0 to 1")
        self.seconds = seconds
        self.warm_up_steps = warm_up_steps
        self.final = final
        self.agree_every_n_steps = agree_every_n_steps
        self._spent = 0.0
        self._start = 0.0
        self._elapsed = 0.0
        self._rates: list[float] = []

    def factor(self, step: int, elapsed: float) -> float:
        """Return the learning-rate factor at ``step`` (from 0), ``elapsed`` seconds after the first step."""
        return warm_up_factor(step, self.warm_up_steps) * annealing_factor(elapsed / self.seconds, self.final)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()
        self._elapsed = self._spent
        if not self._rates:
            groups = (group for optimizer in trainer.optimizers for group in optimizer.param_groups)
            self._rates = [float(group.get("initial_lr", group["lr"])) for group in groups]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        factor = self.factor(trainer.global_step, self._elapsed)
        groups = (group for optimizer in trainer.optimizers for group in optimizer.param_groups)
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.agree_every_n_steps:
            return
        mine = self._spent + time.monotonic() - self._start
        self._elapsed = mine if trainer.world_size == 1 else trainer.strategy.broadcast(mine)
        if self._elapsed >= self.seconds and (trainer.max_steps < 0 or step < trainer.max_steps):
            # All work after the last step, such as the last checkpoint, depends on this number.
            trainer.fit_loop.epoch_loop.max_steps = step

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self._elapsed, "rates": list(self._rates)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._spent = state_dict["elapsed"]
        self._rates = list(state_dict["rates"])
