"""Costs of a command before it starts working."""

from __future__ import annotations

import subprocess
import sys

from bench.report import ROOT
from bench.rows import Row, row
from bench.timing import interleaved

SECTION = "Start"
HEAVY = (
    "torch",
    "lightning",
    "torchvision",
    "torchmetrics",
    "torch_fidelity",
    "wandb",
    "matplotlib",
    "scipy",
    "sklearn",
)
LATE = ("wandb", "matplotlib", "torch_fidelity", "torchmetrics.image.fid", "sklearn", "tensorboard", "torchode")


def seconds(rounds: int) -> list[Row]:
    """Measure ``train.py --help``, its imports, and packages that training imports too early."""
    times = interleaved({"help": lambda: _python("train.py", "--help")}, rounds)["help"]
    of_help = imported("import sys; sys.argv = ['train.py', '--help']; import train; train.main()", HEAVY)
    of_lightning = imported("import lightning.pytorch", LATE)
    training_imports = imported(
        "import src.tasks.train.task, src.nets, src.sde, src.sampling, src.lightning_modules", LATE
    )
    too_early = sorted(set(training_imports) - set(of_lightning))
    return [
        row(SECTION, "train.py --help", times, "s", at_most=3.0),
        row(SECTION, f"heavy imports of --help ({', '.join(of_help) or 'none'})", len(of_help), "", at_most=0),
        row(
            SECTION, f"imports of training too early ({', '.join(too_early) or 'none'})", len(too_early), "", at_most=0
        ),
        row(SECTION, f"imports of Lightning itself ({', '.join(of_lightning) or 'none'})", len(of_lightning), ""),
    ]


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """Return the packages of ``names`` that a fresh interpreter has imported after ``code``."""
    report = (
        "import atexit, sys\n"
        f"atexit.register(lambda: sys.stderr.write('\\n' + ' '.join(n for n in {names!r} if n in sys.modules)))\n"
    )
    return _python("-c", report + code).splitlines()[-1].split()


def _python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stderr or "\n"
