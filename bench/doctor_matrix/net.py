"""Faults of real samples: a net of the digits, examined by ``mode=doctor images=<run>``.

The run starts from the model that comes with the package and takes 40 steps with a learning rate that is too large. The
slow average stays near the good weights, and the raw weights are clearly worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from src.cli.run_dir import register_resolvers
from src.commands.evaluate import main as evaluate
from src.io.results import recorded_results
from src.tasks.evaluate.doctor.examination import Examination
from src.tasks.evaluate.doctor.report import examination_of

from ..compare_digits import QUICK, composed, train_once

NAME = "net"
RUN = Path("logs/doctor_matrix/net")
TRAINING = [
    "experiment=digits",
    "init_from=digits",
    "datamodule.global_batch_size=32",
    "scheduler=warm_up",
    "scheduler.steps=10",
    "optimizer.lr=1e-2",
    "ema.default.warmup=false",
    "trainer.max_steps=40",
]
SAMPLER = ["sampler=pc_ancestral", "++sampler.grid.steps=15", "++sampler.grid.eps=0.2"]
"""Few steps, the last one at a noise level of 10 gray levels."""

FAULTS: dict[str, list[str]] = {
    "none": [],
    "raw weights": ["weights=raw"],
    "no denoising": ["++sampler.denoise=false"],
}
"""Settings of evaluate.py that plant each fault."""

FAMILIES = {"raw weights": ("weights",), "no denoising": ("denoise",)}
"""Faults that only samples of a net can have, with the families that are right."""


@dataclass(frozen=True)
class NetTrial:
    """Samples of the net.

    Args:
        seed: of the samples.
        samples: how many.
    """

    seed: int
    samples: int

    def examined(self, fault: str) -> Examination:
        """What the doctor finds in samples with a fault."""
        register_resolvers()
        train_once(RUN, [*TRAINING, *QUICK])
        folder = RUN / f"doctor-{self.seed}-{fault.replace(' ', '-')}"
        settings = ["mode=doctor", f"images={RUN}", f"num_samples={self.samples}", f"seed={self.seed}", *FAULTS[fault]]
        evaluate.__wrapped__(  # type: ignore[attr-defined] # the command without its command line
            composed("evaluate", [*settings, *SAMPLER, "accelerator=cpu", "devices=1", f"output_dir={folder}"])
        )
        (_, result), *_ = recorded_results(folder)
        return examination_of(result["about"]["examination"])
