"""A sweep with ``hydra/launcher=submitit_slurm``: submitit's signal writes a checkpoint, and the jobs resume."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.support.entry import ONE_THREAD, ROOT
from tests.slurm.cluster import Cluster, Job
from tests.slurm.runs import TINY, resumed_from, stopped_after, wait_for_steps

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]

STEPS = 1_500
# submitit counts a signal to a job of less than ten minutes as a timeout, and requeues it max_num_timeout times.
LAUNCHER = (
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.timeout_min=8",
    "hydra.launcher.max_num_timeout=5",
    "hydra.launcher.stderr_to_stdout=true",
)


def test_sweep_jobs_resume_from_their_own_folders(cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    settings = [*TINY, f"trainer.max_steps={STEPS}", f"paths.log_dir={tmp_path}/logs", "seed=1,2"]
    log = tmp_path / "sweep.out"
    with log.open("wb") as output:
        sweep = subprocess.Popen(
            [sys.executable, "train.py", "-m", *settings, *LAUNCHER],
            cwd=ROOT,
            env={**cluster.environment, **ONE_THREAD},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        jobs = submitted(cluster, tmp_path, sweep)
        for job in jobs:
            wait_for_steps(job)
            job.signal("USR2")
        code = sweep.wait(600)
    finally:
        sweep.kill()
        sweep.wait()
    assert code == 0, log.read_text()
    for job in jobs:
        step, checkpoint = stopped_after(job)
        assert 0 < step < STEPS
        assert resumed_from(job) == [checkpoint], job.output
        assert f"finished after {STEPS:,} steps: {checkpoint.parent.parent}" in job.output
    assert len({stopped_after(job)[1].parent for job in jobs}) == 2
    table = next((tmp_path / "logs").rglob("sweep.csv")).read_text()
    assert table.count("finished") == 2, table


def submitted(cluster: Cluster, folder: Path, sweep: subprocess.Popen[bytes]) -> list[Job]:
    """Return the two jobs of the sweep after they have started."""
    deadline = time.monotonic() + 300
    while len(outputs := sorted(folder.glob("logs/*/multirun/*/.submitit/*/*_0_log.out"))) < 2:
        assert sweep.poll() is None and time.monotonic() < deadline, (folder / "sweep.out").read_text()
        time.sleep(0.5)
    return [Job(cluster, re.sub("_0_log$", "", path.stem), path) for path in outputs]
