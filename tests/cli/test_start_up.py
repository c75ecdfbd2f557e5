"""The start of a command: signals, and errors that are found at once."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.config.location import CONFIG_DIR

REFUSED = """
import runpy, sys
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
assert code == 1
slow = {"torch", "lightning", "torchvision", "sklearn"} & set(sys.modules)
assert not slow, slow
"""


@pytest.mark.parametrize(
    "command",
    [
        ("train.py", "net.nff=8"),
        ("train.py", "seed=word", "experiment=digits"),
        ("sample.py", "num_samples=word", "ckpt_path=1"),
    ],
)
def test_a_mistyped_setting_is_refused_before_torch_is_imported(command: tuple[str, ...], tmp_path: Path) -> None:
    code = f"import sys; sys.argv = sys.argv[1:]\n{REFUSED}"
    ended = subprocess.run(
        [sys.executable, "-c", code, *command, f"paths.log_dir={tmp_path}"],
        cwd=CONFIG_DIR.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("error: ") and command[1].split("=")[0] in ended.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 143, "SIGTERM"), (signal.SIGUSR1, 138, "SIGUSR1")],
)
@pytest.mark.parametrize(
    "command",
    [
        ("train.py", "experiment=digits", "paths.log_dir={}/logs"),
        ("-m", "src", "export", "ckpt_path=last", "format=ckpt", "output={}/logs/out.ckpt", "log_dir={}/logs"),
    ],
    ids=["train", "export"],
)
def test_a_signal_during_start_up_gives_one_line_and_no_files(
    command: tuple[str, ...], number: int, code: int, name: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, *(word.format(tmp_path) for word in command)],
        cwd=CONFIG_DIR.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        status = Path(f"/proc/{process.pid}/status")
        deadline = time.monotonic() + 60
        while not int(re.findall(r"SigCgt:\s*(\w+)", status.read_text())[0], 16) >> (signal.SIGUSR1 - 1) & 1:
            assert process.poll() is None and time.monotonic() < deadline
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert err.startswith(f"error: stopped by {name}; ") and len(err.splitlines()) == 1, err
    assert not (tmp_path / "logs").exists()
