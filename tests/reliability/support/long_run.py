"""Train with repeated scores and sample at the same time for long, and record the resources of both.

python -m tests.reliability.support.long_run --minutes 35 --folder logs/long_run --picture docs/images/memory.png \\
    --results docs/results/reliability.json
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import psutil
from matplotlib.figure import Figure

from tests.reliability.support.entry import ONE_THREAD, ROOT
from tests.reliability.support.figures import update
from tests.reliability.support.runs import TINY

# All activities of a run in short cycles, with data from a worker process.
TRAINING = (
    *TINY,
    "metric=digits",
    "logger=[csv,tensorboard]",
    "net.dropout=0.1",
    "datamodule.num_workers=1",
    "trainer.max_steps=-1",
    "trainer.val_check_interval=50",
    "callbacks.progress.every_seconds=10",
    "callbacks.last_checkpoint.every_n_steps=50",
    "callbacks.sample_images.every_n_steps=100",
    "callbacks.sample_images.num_images=16",
    "callbacks.fid.every_n_steps=50",
    "callbacks.fid.num_samples=128",
)
SAMPLING = ("num_samples=1000000", "batch_size=128", "sampler.grid.steps=50", "format=npz", "accelerator=cpu")

WARM_UP = 0.2
"""Share of the time during which memory may grow: caches fill, the C library reaches its working size."""
MEMORY_LIMIT = 0.02
"""Allowed growth of a fitted line after the warm-up, relative to the mean."""
COUNT_LIMIT = 1.0
"""Allowed growth of counts after the warm-up, absolute."""


@dataclass(frozen=True)
class Resources:
    """Resources of a process and its children at a moment.

    Args:
        minutes: since the start.
        memory: resident, in MB, of the process itself.
        descriptors: open files, sockets and pipes of the process itself.
        threads: of the process itself.
        processes: its children and theirs.
    """

    minutes: float
    memory: float
    descriptors: float
    threads: float
    processes: float


UNITS = {"memory": "resident memory, MB", "descriptors": "open descriptors", "threads": "threads"}
UNITS |= {"processes": "child processes"}


def measure_resources(process: psutil.Process, minutes: float) -> Resources:
    with process.oneshot():
        counts = process.num_fds(), process.num_threads(), len(process.children(recursive=True))
        return Resources(minutes, process.memory_info().rss / 1e6, *map(float, counts))


def growth(records: Sequence[Resources], what: str) -> float:
    """Return the rise of a fitted line from the end of the warm-up to the end of the run."""
    late = [record for record in records if record.minutes >= WARM_UP * records[-1].minutes]
    minutes = np.array([record.minutes for record in late])
    slope = np.polyfit(minutes, [getattr(record, what) for record in late], 1)[0]
    return float(slope * (minutes[-1] - minutes[0]))


def leaks(records: Sequence[Resources]) -> list[str]:
    """Return the resources that grew beyond their limit."""
    mean = float(np.mean([record.memory for record in records]))
    limits = {what: MEMORY_LIMIT * mean if what == "memory" else COUNT_LIMIT for what in UNITS}
    found = {what: growth(records, what) for what in UNITS}
    return [f"{UNITS[what]} grew by {found[what]:.2f}" for what in UNITS if found[what] > limits[what]]


class Job:
    """An entry script in its own process, with its output in ``folder/name.log``."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD},
                stdout=file,
                stderr=subprocess.STDOUT,
                # A shell in the background starts its children with SIGINT ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self.watched = psutil.Process(self.process.pid)
        self.records: list[Resources] = []

    def look(self, minutes: float) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"ended too early:\n{self.log.read_text()[-2000:]}")
        self.records.append(measure_resources(self.watched, minutes))

    def stop(self) -> tuple[int, list[psutil.Process]]:
        """Send SIGINT; return the exit code and the remaining children."""
        children = self.watched.children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=300)
        _, left = psutil.wait_procs(children, timeout=30)
        return code, left


def run(minutes: float, folder: Path, every: float = 5.0) -> dict[str, Job]:
    """Train and sample for ``minutes``; record both every ``every`` seconds."""
    logs = (f"paths.log_dir={folder}/logs", f"metric.cache_dir={folder}/cache")
    subprocess.run(
        [sys.executable, "train.py", *TINY, "trainer.max_steps=20", "callbacks=minimal", "name=first", *logs],
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        check=True,
        capture_output=True,
    )
    (checkpoint,) = folder.rglob("step00000020.ckpt")
    sampling = [f"ckpt_path='{checkpoint}'", f"output_dir={folder}/samples", *SAMPLING]
    jobs = {
        "training": Job("training", ["train.py", *TRAINING, *logs], folder),
        "sampling": Job("sampling", ["sample.py", *sampling], folder),
    }
    start = time.monotonic()
    try:
        while (passed := time.monotonic() - start) < 60 * minutes:
            for job in jobs.values():
                job.look(passed / 60)
            time.sleep(every)
    except BaseException:
        for job in jobs.values():
            job.process.kill()
        raise
    return jobs


def write(records: Mapping[str, Sequence[Resources]], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ["job", *(field.name for field in fields(Resources))])
        table.writeheader()
        for job, of_job in records.items():
            table.writerows({"job": job, **{key: round(v, 3) for key, v in asdict(row).items()}} for row in of_job)


def summary(records: Sequence[Resources]) -> dict[str, dict[str, float]]:
    """Return growth, smallest and largest value of each resource after the warm-up."""
    late = [record for record in records if record.minutes >= WARM_UP * records[-1].minutes]
    return {
        what: {
            "growth": growth(records, what),
            "from": min(getattr(record, what) for record in late),
            "to": max(getattr(record, what) for record in late),
        }
        for what in UNITS
    }


def draw(records: Mapping[str, Sequence[Resources]], path: Path) -> None:
    figure = Figure(figsize=(8, 6), layout="constrained")
    for axes, (what, unit) in zip(figure.subplots(2, 2, sharex=True).flat, UNITS.items(), strict=True):
        for job, of_job in records.items():
            values = [getattr(record, what) for record in of_job]
            axes.plot([record.minutes for record in of_job], values, linewidth=1, label=job)
        axes.set(title=unit, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, loc="lower right")
    for axes in figure.axes[2:]:
        axes.set_xlabel("minutes")
    figure.savefig(path, dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=35.0)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--picture", type=Path)
    options.add_argument("--results", type=Path, help="JSON file to update")
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    jobs = run(chosen.minutes, chosen.folder)
    records = {name: job.records for name, job in jobs.items()}
    write(records, chosen.folder / "long_run.csv")
    draw(records, chosen.picture or chosen.folder / "memory.png")
    if chosen.results:
        found = {f"long run, {name}": summary(of_job) for name, of_job in records.items()}
        update(chosen.results, {"long run": {"minutes": chosen.minutes}, **found})
    for name, job in jobs.items():
        code, left = job.stop()
        grown = ", ".join(f"{what} {growth(job.records, what):+.2f}" for what in UNITS)
        line = job.log.read_text().splitlines()[-1]
        print(f"{name}: {grown}; {leaks(job.records) or 'flat'}; exit {code}, {len(left)} left: {line}")  # noqa: T201


if __name__ == "__main__":
    main()
