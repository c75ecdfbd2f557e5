"""An interrupted sweep waits until its job has saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config.location import CONFIG_DIR

JOB = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(0.3)
    pathlib.Path(sys.argv[1], "written").touch()
    sys.exit(128 + number)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1], "started").touch()
time.sleep(60)
"""
SWEEP = """
import os, signal, sys
from src.cli import sweeps
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print(sweeps._run([sys.executable, "-c", sys.argv[1], sys.argv[2]], os.environ))
except KeyboardInterrupt:
    print("interrupted")
"""
PICKLED = """
import cloudpickle
from src.cli import entry
from src.commands import train
cloudpickle.loads(cloudpickle.dumps(entry._task(train.main.__wrapped__, "train")))
"""


@pytest.mark.parametrize(
    ("number", "send", "outcome"),
    [
        pytest.param(signal.SIGINT, os.killpg, "interrupted", id="ctrl-c"),
        pytest.param(signal.SIGTERM, os.kill, "(143, 15)", id="sigterm", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_sweep_waits_for_its_job(
    number: int, send: Callable[[int, int], None], outcome: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP, JOB, str(tmp_path)],
        cwd=CONFIG_DIR.parent,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        send(process.pid, number)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out.strip() == outcome
    assert (tmp_path / "written").exists()


def test_a_cluster_launcher_can_pickle_a_job() -> None:
    pytest.importorskip("cloudpickle")
    # In its own process: the type checks of the test session cannot be pickled.
    subprocess.run([sys.executable, "-c", PICKLED], cwd=CONFIG_DIR.parent, check=True)
