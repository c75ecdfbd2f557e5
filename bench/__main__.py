"""``python -m bench``: measure, print tables, update ``docs/performance.md``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from functools import partial

import torch

from bench import machine, report
from bench.rows import Row
from bench.timing import CLOCKS, choose_clock

SECTIONS = ("startup", "pipeline", "trainer", "around", "step", "optimizer", "forward", "train", "memory")


def main() -> None:
    """Measure the requested sections."""
    arguments = _arguments()
    choose_clock(arguments.clock)
    facts = machine.describe()
    print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    if not torch.cuda.is_available():
        print("No GPU was found. With one: python -m bench.gpu_proof")
    measured: list[Row] = []
    for name in arguments.sections:
        rows = _sections(arguments)[name]()
        print(report.text(rows), flush=True)
        if not arguments.no_save:
            report.save(report.RESULTS, shlex.join(["python", "-m", "bench", *sys.argv[1:]]), facts, rows)
        measured += rows
    if not arguments.no_save and report.PAGE.exists():
        report.insert(report.PAGE, report.RESULTS)
    missed = [r for r in measured if r.met is False]
    print(f"\n{sum(r.met is True for r in measured)} targets met, {len(missed)} missed")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--batch", type=int, default=8, help="images per step on the CPU (default 8)")
    parser.add_argument("--memory-batch", type=int, default=16, help="images per step for the memory section")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each alternative (default 5)")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for the rounds of one comparison")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: processor time, for a shared machine; also set OMP_NUM_THREADS=1",
    )
    parser.add_argument(
        "--compile", action="store_true", help="also measure compiled variants (takes minutes on few cores)"
    )
    parser.add_argument("--only", action="append", help="variant of the net to measure, by name (may be repeated)")
    parser.add_argument("--no-save", action="store_true", help="do not change docs/performance.*")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and torch.get_num_threads() > 1:
        parser.error("--clock cpu counts waiting threads as work: set OMP_NUM_THREADS=1")
    unknown = sorted(set(arguments.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    return arguments


def _sections(a: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    # Imported on demand: a section must not import the libraries of another.
    from bench.speed import nets, pipeline, sampling, startup, trainer

    names = a.only or [*nets.OTHERS, *nets.EAGER, *(nets.COMPILED if a.compile else ())]
    return {
        "startup": lambda: startup.seconds(a.rounds),
        "pipeline": lambda: pipeline.images_per_second(a.rounds, a.budget),
        "trainer": lambda: trainer.overhead(steps=60, repeats=a.rounds),
        "around": lambda: [
            *sampling.surroundings("CIFAR-10", [], a.batch, a.rounds, at_most=2.0),
            *sampling.surroundings("digits", ["experiment=digits"], 64, 4 * a.rounds, at_most=10.0),
        ],
        "step": lambda: sampling.steps_against_diffusers(a.batch, a.rounds, a.budget),
        "optimizer": lambda: nets.optimizer_speed(a.rounds),
        **{what: partial(nets.speed, what, names, a.batch, a.rounds, a.budget) for what in ("forward", "train")},
        "memory": lambda: nets.peak_memory([*names, "ours, checkpoint_activations"], a.memory_batch),
    }


if __name__ == "__main__":
    main()
