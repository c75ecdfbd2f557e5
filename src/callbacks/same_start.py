"""All processes of a run that goes on go on from the same file."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from ..distributed import gather_objects
from ..errors import UserError


class SameStart(Callback):
    """Compares what each process takes ``last`` or ``best`` for, before anything is loaded.

    They look one after the other, and another run of the name may write in between.

    Args:
        ckpt_path: the file of this process; None for a new run.
        step: the optimiser step it holds.
    """

    def __init__(self, ckpt_path: Path | None, step: int | None) -> None:
        self.ckpt_path = ckpt_path
        self.step = step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """UserError on all processes, if they differ."""
        if stage != "fit":
            return
        starts = {(str(path), step) for path, step in gather_objects((self.ckpt_path, self.step))}
        if len(starts) > 1:
            found = " and ".join(f"{path} at step {step}" for path, step in sorted(starts, key=str))
            raise UserError(
                f"the processes of this run would go on from {found}: another run writes there, wait for it or give "
                "ckpt_path a file",
                shared=True,
            )
