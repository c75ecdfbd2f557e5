"""Signals: a checkpoint and one line are written, and the resumed run equals an uninterrupted one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.reliability.support.entry import Started, train
from tests.reliability.support.runs import EVENTFUL, curve, differences, final_checkpoint, in_folder, only_run

RUN = [*EVENTFUL, "callbacks.last_checkpoint.every_n_steps=1000"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert train(*RUN, *in_folder(folder), folder=folder).code == 0
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_writes_a_checkpoint_and_the_run_resumes(
    number: int, code: int, uninterrupted: Path, tmp_path: Path
) -> None:
    interrupted = tmp_path / "interrupted"

    started = Started(["train.py", *RUN, *in_folder(interrupted)], interrupted)
    wait_for("step 4 of 24", started)
    started.send(number)
    ended = started.wait()
    assert ended.code == code
    assert len(ended.err.splitlines()) == 1, ended.err
    (line,) = ended.error_lines
    (written,) = interrupted.rglob("step*.ckpt")
    assert str(written) in line
    resume = line.rpartition(" ")[2]
    assert resume.startswith("ckpt_path=")

    ended = train(*RUN, *in_folder(interrupted), resume, folder=interrupted)
    assert ended.code == 0, ended.err
    assert curve(only_run(interrupted)) == curve(only_run(uninterrupted))
    # The interrupted run has an additional checkpoint; everything else is equal.
    assert not differences(
        final_checkpoint(only_run(interrupted), interrupted), final_checkpoint(only_run(uninterrupted), uninterrupted)
    )


def test_slurm_requeues_the_job_and_the_run_resumes(uninterrupted: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    program.chmod(0o755)
    job = {"JOB_ID": "7", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    environment = {f"SLURM_{key}": value for key, value in {**job, "NODELIST": "localhost"}.items()}
    environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    interrupted = tmp_path / "interrupted"

    started = Started(["train.py", *RUN, *in_folder(interrupted)], interrupted, environment)
    wait_for("step 4 of 24", started)
    started.send(signal.SIGUSR1)
    ended = started.wait()
    (line,) = ended.error_lines
    assert ended.code == 128 + signal.SIGUSR1 and "job 7 is requeued" in line
    assert (tmp_path / "asked").read_text().split() == ["requeue", "7"]
    # ${SLURM_RESTART_COUNT:+ckpt_path=last} adds this when SLURM restarts the job.
    ended = train(*RUN, *in_folder(interrupted), "ckpt_path=last", folder=interrupted, environment=environment)
    assert ended.code == 0, ended.err
    assert curve(only_run(interrupted)) == curve(only_run(uninterrupted))
    assert not differences(
        final_checkpoint(only_run(interrupted), interrupted), final_checkpoint(only_run(uninterrupted), uninterrupted)
    )


def test_ctrl_c_before_training_gives_one_line(tmp_path: Path) -> None:
    started = Started(["train.py", *EVENTFUL, *in_folder(tmp_path), "callbacks.fid.num_samples=64"], tmp_path)
    wait_for("trainable parameters", started)
    started.send(signal.SIGINT)
    ended = started.wait()
    assert ended.code == 130
    assert ended.error_lines
    assert "Traceback" not in ended.err


def wait_for(text: str, started: Started, seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while text not in started.out:
        assert started.alive() and time.monotonic() < deadline, started.out + started.err
        time.sleep(0.005)
