"""The driver of the GPU proof program: stages of one Python line each."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bench.gpu_proof.driver import Driver, Stage
from bench.gpu_proof.setup import Setup

READY = "open(os.environ['GPU_PROOF_READY'], 'w'); sys.stdin.readline()"
"""Code of a stage that reports that it is prepared and waits."""


def setup_in(folder: Path, seconds: float = 60.0) -> Setup:
    for name in ("out", "work"):
        (folder / name).mkdir()
    return Setup(folder, folder / "out", folder / "work", "cpu", True, time.time() + seconds, 1.0, 10)


def drive(setup: Setup, stages: list[Stage], code: dict[str, str]) -> dict[str, str]:
    """Run stages of one Python line each; ``note`` appends a word to a file."""
    notes = setup.work / "notes"
    before = f"import sys, time, os\nnotes = {str(notes)!r}\nnote = lambda w: open(notes, 'a').write(w + ' ')\n"
    driver = Driver(setup, stages, lambda name, _: [sys.executable, "-u", "-c", before + code[name]])
    return driver.run()


def noted(setup: Setup) -> list[str]:
    path = setup.work / "notes"
    return path.read_text().split() if path.exists() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_failed_and_hanging_stages_do_not_affect_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    setup = setup_in(tmp_path)
    outcome = drive(
        setup,
        [Stage("bad", 20), Stage("slow", 5.0), Stage("last", 20), Stage("needy", 20, needs=("bad",))],
        {
            "bad": "sys.exit('no luck')",
            # The child process of a stage must end with the stage.
            "slow": "import subprocess; c = subprocess.Popen(['sleep', '60']); note(str(c.pid)); time.sleep(60)",
            "last": "note('last')",
            "needy": "note('needy')",
        },
    )
    assert outcome["bad"].startswith("failed with status 1")
    assert outcome["slow"].startswith("stopped after its 5")
    assert outcome["last"].startswith("ok")
    assert outcome["needy"] == "left out: bad failed"
    child, *others = noted(setup)
    assert others == ["last"]
    deadline = time.monotonic() + 5
    while alive(int(child)) and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "a child process of a stage is still running"
        time.sleep(0.05)
    assert "no luck" in capfd.readouterr().out
    assert "no luck" in (setup.out / "proof.log").read_text()


def test_order_of_stages(tmp_path: Path) -> None:
    setup = setup_in(tmp_path)
    outcome = drive(
        setup,
        [
            Stage("beside", 20, beside=True, alone=False),
            Stage("first", 20, alone=False),
            Stage("early", 20, early_after="first"),
            Stage("after", 20, early_after="beside"),
        ],
        {
            # Ends only after the next stage has run, so the program must not wait for it first.
            "beside": """
while not os.path.exists(notes) or 'first' not in open(notes).read():
    time.sleep(0.02)
time.sleep(0.5); note('beside')""",
            "first": "note('first')",
            # Prepares at once, measures alone.
            "early": f"note('prepared'); {READY}; note('measured')",
            # Must start after the parallel stage has ended.
            "after": "note('ended' if 'beside' in open(notes).read() else 'too early')",
        },
    )
    assert all(what.startswith("ok") for what in outcome.values())
    order = noted(setup)
    assert order.index("first") < order.index("beside") < order.index("measured")
    assert order.index("prepared") < order.index("measured")
    assert "ended" in order


def test_preparing_stages_are_paused_during_a_measurement(tmp_path: Path) -> None:
    setup = setup_in(tmp_path)
    outcome = drive(
        setup,
        [
            Stage("first", 20, alone=False),
            Stage("measured", 20, early_after="first"),
            Stage("busy", 20, early_after="first"),
            Stage("endless", 20, preparation=0.3, early_after="first"),
        ],
        {
            "first": "note('first')",
            "measured": f"{READY}; note('begin'); time.sleep(0.6); note('end')",
            # Prepares longer than the earlier stage measures.
            "busy": f"[(time.sleep(0.1), note('busy')) for _ in range(12)]; {READY}",
            "endless": "time.sleep(60)",
        },
    )
    order = noted(setup)
    begin, end = order.index("begin"), order.index("end")
    # One word may still be written when the process is stopped.
    assert len(order[begin + 1 : end]) <= 1
    assert order.count("busy") == 12
    assert outcome["busy"].startswith("ok")
    assert outcome["endless"] == "stopped: not prepared within 0.3 s of its turn"


def test_no_stage_starts_without_time_left(tmp_path: Path) -> None:
    setup = setup_in(tmp_path, seconds=2.0)
    assert drive(setup, [Stage("late", 20)], {"late": "note('late')"}) == {"late": "left out: no time left"}
    assert noted(setup) == []
