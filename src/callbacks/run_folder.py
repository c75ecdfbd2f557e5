"""Make the run folder known to every process."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from ..distributed import gather_objects
from ..io.step_names import step_of


class RunFolder(Callback):
    """Use the run folder of rank 0.

    Launchers that start all processes at once (torchrun, srun) give the folder only to rank 0, and rank 0 may be the
    process that is lost.

    Args:
        path: the run folder of this process; the folder of rank 0 after ``setup``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replace the folder by that of rank 0."""
        self.path = Path(gather_objects(str(self.path))[0])

    def describe_resume(self) -> str:
        """Describe which steps are lost if training ends now, and how to resume."""
        steps = {step_of(path.name): path for path in (self.path / "checkpoints").glob("step*.ckpt")}
        known = [step for step in steps if step is not None]
        if not known:
            return "no checkpoint was written yet: start again"
        newest = max(known)
        return f"steps after {newest:,} are lost: resume from {steps[newest]} with ckpt_path=last"
