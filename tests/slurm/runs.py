"""Small training runs as jobs, as in docs/usage.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.reliability.support.entry import ROOT
from tests.slurm.cluster import Cluster, Job

# Points in the plane: a step takes milliseconds.
TINY = (
    "experiment=toy2d",
    "callbacks=minimal",
    "net.width=16",
    "datamodule.global_batch_size=8",
    "scheduler=warm_up",
    "scheduler.steps=10",
    "trainer.val_check_interval=1000000",
    "callbacks.last_checkpoint.every_n_steps=1000000",
    "callbacks.progress.every_seconds=1",
)
PYTHON = f"export OMP_NUM_THREADS=1\ncd {ROOT}\n"
LAST = "${SLURM_RESTART_COUNT:+ckpt_path=last}"
ENDLESS = 10_000_000


def submit(
    cluster: Cluster, folder: Path, *settings: str, how: str = "srun", logs: Path | None = None, options: str = ""
) -> Job:
    """Submit a training with the recipe of docs/usage.md.

    The job trains to the step in the file ``steps`` of ``folder``, read at each start.

    Args:
        cluster: where it runs.
        folder: folder of the job.
        settings: settings of train.py.
        how: ``srun`` with arguments, or ``exec``.
        logs: ``paths.log_dir``; a folder of the job by default.
        options: options of sbatch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_steps(folder, ENDLESS)
    words = " ".join([*TINY, *settings, f"paths.log_dir={logs or folder / 'logs'}"])
    line = f"{how} {sys.executable} train.py {words} trainer.max_steps=$(cat {folder}/steps) {LAST}"
    return cluster.submit(folder, PYTHON + line, "--requeue", "--time=60", *options.split())


def set_steps(folder: Path, steps: int) -> None:
    """Set the last step of the job in ``folder`` from its next start on."""
    (folder / "steps").write_text(str(steps))


def wait_for_steps(job: Job, times: int = 1) -> None:
    """Wait until the job trains."""
    job.wait_for_text(r" step [\d,]+ of", times)


def stopped_after(job: Job) -> tuple[int, Path]:
    """Return the step before the requeue and its checkpoint, from the output of the job."""
    found = re.search(r"stopped after step (\d+); the checkpoint is (\S+\.ckpt);", job.output)
    assert found, job.output
    return int(found.group(1)), Path(found.group(2))


def resumed_from(job: Job) -> list[Path]:
    """Return the checkpoints from which its starts resumed."""
    return [Path(path) for path in re.findall(r"resuming from (\S+)", job.output)]


def assert_resumed(job: Job, steps: int) -> Path:
    """Assert that ``job``, requeued once, resumes from its own checkpoint to its last step; return its run folder."""
    facts = job.wait()
    assert (facts["JobState"], facts["Restarts"], facts["ExitCode"]) == ("COMPLETED", "1", "0:0"), job.output
    step, checkpoint = stopped_after(job)
    assert resumed_from(job) == [checkpoint], job.output
    assert step < steps and f"finished after {steps:,} steps" in job.output
    assert "Traceback" not in job.output
    run = checkpoint.parent.parent
    assert (run / "checkpoints" / f"step{steps:08d}.ckpt").exists()
    return run
