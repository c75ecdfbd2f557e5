"""Check that all processes of a resumed run resume from the same checkpoint."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from ..distributed import gather_objects
from ..errors import UserError


class CheckSameResumePoint(Callback):
    """Compare the checkpoints of all processes before anything is loaded.

    Each process resolves ``last`` or ``best`` on its own, and another run of the same name may write in between.

    Args:
        point: file, step and SHA-256 of the checkpoint of this process; None for a new run.
    """

    def __init__(self, point: tuple[str, int, str] | None) -> None:
        self.point = point

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise UserError on all processes if their checkpoints differ."""
        if stage != "fit":
            return
        found = set(gather_objects(self.point))
        if len(found) > 1:
            points = sorted("nothing" if each is None else f"{each[0]} at step {each[1]}" for each in found)
            raise UserError(
                f"the processes of this run would resume from {' and '.join(points)}: another run writes there, wait "
                "for it or give ckpt_path a file",
                shared=True,
            )
