"""``python -m bench.gpu_proof``: right, fast, and a model of CIFAR-10, on one GPU in nine minutes.

    python -m bench.gpu_proof --data data --out proof
    python -m bench.gpu_proof --small --out proof          digits on the CPU, to try the program itself

``--data`` holds CIFAR-10: ``cifar10_train_jpeg.tar.xz`` and ``cifar10_test_jpeg.zip``, or ``cifar-10-python.tar.gz``.
Rows are printed and kept in ``rows.jsonl`` as they are measured; ``python -m bench.gpu_proof.publish rows.jsonl`` puts
them into ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import torch

from bench import machine
from bench.gpu_proof import plan, table
from bench.gpu_proof.driver import Driver, Stage
from bench.gpu_proof.setup import Setup
from bench.gpu_proof.stages import data

_FOR_THE_TABLE = 6.0


def main() -> None:
    """Run the stages and print the table."""
    start = time.time()
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "rows.jsonl").unlink(missing_ok=True)
    work = arguments.work or Path(tempfile.mkdtemp(prefix="gpu_proof_"))
    work.mkdir(parents=True, exist_ok=True)
    setup = Setup(
        data=arguments.data.resolve(),
        out=arguments.out.resolve(),
        work=work.resolve(),
        device="cpu" if arguments.small or not torch.cuda.is_available() else "cuda",
        small=arguments.small,
        deadline=start + arguments.budget - _FOR_THE_TABLE,
        train_seconds=arguments.train_seconds or (6.0 if arguments.small else 270.0),
        images=arguments.images or (60 if arguments.small else 10_000),
        inception=arguments.inception and arguments.inception.resolve(),
    )
    (setup.out / "machine.json").write_text(json.dumps(machine.describe()), encoding="utf-8")
    stages = _stages(arguments)
    driver = Driver(setup, plan.without_preparation(stages) if setup.small else stages)
    signal.signal(signal.SIGTERM, _stopped)
    try:
        driver.run()
    except KeyboardInterrupt:
        sys.stdout.write("stopped\n")
    finally:
        driver.stop()
        shown = table.text(setup.record, driver.outcome, time.time() - start)
        (setup.out / "table.txt").write_text(shown + "\n", encoding="utf-8")
        print(shown, flush=True)
        if arguments.work is None:
            shutil.rmtree(work, ignore_errors=True)
    sys.exit(any(not outcome.startswith("ok") for outcome in driver.outcome.values()))


def _stopped(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _stages(arguments: argparse.Namespace) -> list[Stage]:
    everything = plan.SMALL if arguments.small else [stage.name for stage in plan.STAGES]
    return plan.chosen(arguments.only or everything)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_proof", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with CIFAR-10 (default data)")
    parser.add_argument("--out", type=Path, default=Path("gpu_proof"), help="folder for results")
    parser.add_argument("--work", type=Path, help="folder for temporary files (default: a new one)")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds for the whole program (default 540)")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        help="stages, separated by commas: " + ", ".join([*(s.name for s in plan.STAGES), *plan.GROUPS]),
    )
    parser.add_argument("--train-seconds", type=float, help="seconds of the speedrun's training (default 270)")
    parser.add_argument("--images", type=int, help="images sampled by the speedrun (default 10000)")
    parser.add_argument("--inception", type=Path, help="pt_inception-2015-12-05-6726825d.pth, to also compute FID")
    parser.add_argument("--small", action="store_true", help="digits on the CPU, to try the program")
    arguments = parser.parse_args()
    if not arguments.small and not torch.cuda.is_available() and not arguments.only:
        parser.error("no CUDA device was found: try the program itself with --small, or choose stages with --only")
    try:
        stages = _stages(arguments)
        if not arguments.small and any(stage.name == "unpack" for stage in stages):
            data.check(arguments.data)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    for package, users in plan.missing_packages(stages).items():
        whose = "every stage" if len(users) == len(stages) else ", ".join(users)
        parser.error(f"the Python module {package} is missing, which is needed by {whose}: install it, or use --only")
    if arguments.out.is_file():
        parser.error(f"--out {arguments.out} is a file: give a folder")
    if arguments.inception is not None and not arguments.inception.is_file():
        parser.error(f"--inception {arguments.inception} is not a file")
    return arguments


if __name__ == "__main__":
    main()
