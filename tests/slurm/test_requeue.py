"""Jobs that SLURM stops and restarts resume: the recipe of docs/usage.md on a real cluster."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.reliability.support.runs import differences, final_checkpoint
from tests.slurm.cluster import Cluster
from tests.slurm.runs import assert_resumed, resumed_from, set_steps, stopped_after, submit, wait_for_steps

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]

RECIPES = {"srun": "--signal=USR1@120", "exec": "--signal=B:USR1@120"}


def test_jobs_of_one_name_resume_their_own_runs_after_the_time_limit(cluster: Cluster, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    jobs = {
        how: submit(cluster, tmp_path / how, f"seed={len(how)}{seed}", how=how, logs=logs, options=option)
        for seed, (how, option) in enumerate(RECIPES.items())
    }
    for job in jobs.values():
        wait_for_steps(job)
    for job in jobs.values():
        job.end_its_time()
    for job in jobs.values():
        job.wait_for_text("stopped after step")
    steps = max(stopped_after(job)[0] for job in jobs.values()) + 50
    for job in jobs.values():
        set_steps(job.folder, steps)
        job.wait_for_restart()
    # The same runs without interruption.
    uninterrupted = {}
    for seed, how in enumerate(RECIPES):
        folder = tmp_path / f"uninterrupted-{how}"
        uninterrupted[how] = submit(cluster, folder, f"seed={len(how)}{seed}", logs=folder / "logs")
        set_steps(folder, steps)
    for how, job in jobs.items():
        run = assert_resumed(job, steps)
        assert f"job {job.number} is requeued" in job.output
        assert job.output.count("the checkpoint of this step is written") == 1
        assert uninterrupted[how].wait()["JobState"] == "COMPLETED", uninterrupted[how].output
        (expected,) = {path.parent.parent for path in uninterrupted[how].folder.rglob("step*.ckpt")}
        assert not differences(final_checkpoint(run, tmp_path), final_checkpoint(expected, uninterrupted[how].folder))
    assert len(list((logs / "toy2d").iterdir())) == 2


def test_array_tasks_resume_their_own_runs(cluster: Cluster, tmp_path: Path) -> None:
    array = submit(cluster, tmp_path, "seed=$SLURM_ARRAY_TASK_ID", options="--array=0-1 --signal=USR1@120")
    tasks = [array.task(0), array.task(1)]
    for task in tasks:
        wait_for_steps(task)
    for task in tasks:
        task.signal("USR1")
    for task in tasks:
        task.wait_for_text("stopped after step")
    steps = max(stopped_after(task)[0] for task in tasks) + 50
    set_steps(tmp_path, steps)
    runs = {assert_resumed(task, steps) for task in tasks}
    assert len(runs) == 2


def test_two_processes_stop_at_the_same_step_and_resume(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "trainer=ddp_sim", options="--ntasks-per-node=2 --signal=USR1@120")
    wait_for_steps(job)
    job.signal("USR1")
    job.wait_for_text("stopped after step")
    steps = stopped_after(job)[0] + 50
    set_steps(tmp_path, steps)
    assert_resumed(job, steps)
    assert len(re.findall("^error: ", job.output, re.MULTILINE)) == 1, job.output


def test_a_signal_during_start_up_requeues_the_job(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, options="--signal=USR1@120")
    job.wait_for_processes()
    job.signal("USR1")
    job.wait_for_text("is requeued")
    set_steps(tmp_path, 20)
    facts = job.wait()
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), job.output
    assert "finished after 20 steps" in job.output and "Traceback" not in job.output


def test_a_canceled_job_writes_a_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, options="--signal=USR1@120")
    wait_for_steps(job)
    cluster.run("scancel", job.number)
    assert job.wait()["JobState"] == "CANCELLED"
    job.wait_for_text("stopped after step")
    assert stopped_after(job)[1].exists() and "is requeued" not in job.output


def test_a_killed_and_manually_requeued_job_resumes(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "callbacks.last_checkpoint.every_n_steps=20")
    wait_for_steps(job, times=3)
    # As the kernel kills a process that is out of memory.
    for pid in job.processes():
        os.kill(pid, signal.SIGKILL)
    assert job.wait()["JobState"] == "FAILED"
    (run,) = (tmp_path / "logs" / "toy2d").iterdir()
    newest = max((run / "checkpoints").glob("step*.ckpt"))
    steps = int(newest.stem.removeprefix("step")) + 50
    set_steps(tmp_path, steps)
    cluster.run("scontrol", "requeue", job.number)
    job.wait_for_restart()
    assert job.wait()["JobState"] == "COMPLETED", job.output
    assert resumed_from(job) == [newest] and f"finished after {steps:,} steps" in job.output
