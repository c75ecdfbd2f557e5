"""Decide when checkpoints are written and how many are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..errors import UserError
from ..io.step_names import step_name
from .after_step import AfterStep


class Checkpoints(AfterStep, Checkpoint):
    """Write ``step<optimizer step>.ckpt`` after every n-th optimizer step and after the last one, however training
    ends.

    Checkpoints are written only at the end of an optimizer step, because a run that resumes there repeats the
    uninterrupted one bit for bit. Lightning calls this callback after all callbacks that are not a ``Checkpoint``, so
    callbacks that end training have already decided.

    Args:
        dirpath: folder of the checkpoints.
        every_n_steps: optimizer steps between two checkpoints.
        keep: number of newest checkpoints of this callback to keep; -1 keeps all. An old checkpoint is removed only
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
        """Return a key per interval, so that several of these callbacks keep separate states."""
        return f"{type(self).__qualname__}[every {self.every_n_steps}]"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._remove_surplus(trainer)

    def after_step(self, trainer: Trainer, pl_module: LightningModule, last: bool) -> None:
        if self._is_due(trainer.global_step, last) and self.saved_step != trainer.global_step:
            self._save(trainer, last)

    def _is_due(self, step: int, last: bool) -> bool:
        return step % self.every_n_steps == 0 or last

    def _save(self, trainer: Trainer, last: bool) -> None:
        step = trainer.global_step
        path = self.dirpath / step_name(step, ".ckpt")
        # Two of these callbacks can be due at the same step. The file is written once, so both must record it before.
        for callback in (self, *self._others(trainer)):
            if callback._is_due(step, last) and str(path) not in callback._written:
                callback._written.append(str(path))
        if not any(other.saved_step == step for other in self._others(trainer)):
            trainer.save_checkpoint(path, weights_only=False)
        self.saved_step = step
        self._remove_surplus(trainer)

    def _remove_surplus(self, trainer: Trainer) -> None:
        surplus = [] if self.keep < 0 else self._written[: -self.keep]
        for old in surplus:
            if not any(old in other._written for other in self._others(trainer)):
                trainer.strategy.remove_checkpoint(old)
        # Forget old files only after the checkpoint that still names them; a run killed in between removes them when it
        # resumes.
        self._written = self._written[len(surplus) :]

    def _others(self, trainer: Trainer) -> list[Checkpoints]:
        return [c for c in trainer.checkpoint_callbacks if isinstance(c, Checkpoints) and c is not self]

    def state_dict(self) -> dict[str, Any]:
        return {"written": [Path(path).name for path in self._written]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Store names and not paths, because a run folder can be moved. A run that resumes in another folder owns no
        # files there.
        self._written = [str(path) for path in self._named(state_dict.get("written"))]

    def _named(self, names: Any) -> Iterator[Path]:
        for name in names if isinstance(names, list) else []:
            # A state from another source must not make this callback remove anything except checkpoints of this folder.
            if isinstance(name, str) and name == Path(name).name and name.endswith(".ckpt"):
                path = self.dirpath / name
                if path.exists():
                    yield path
