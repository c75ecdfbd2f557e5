"""Commands that must be refused, each in its own process: a table of their messages.

Files that must be refused are in ``tests.reliability.hostile``.

python -m tests.reliability.support.terminal > refusals.md
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.reliability.support.entry import ROOT, Ended, Started
from tests.reliability.support.runs import TINY
from tests.tasks.example import IMAGES, write_checkpoint

CONFIGURATIONS = [
    "train.py net.nff=8",
    "train.py experiment=digit",
    "train.py experiment=digits sampler=pcc",
    "train.py experiment=digits parametrization=edm",
    "train.py experiment=digits net.embedding_type=positional",
    "train.py experiment=digits net.ch_mult=[1,1,1,1,1]",
    "train.py experiment=digits net.nf=14",
    "train.py experiment=digits net.attn_resolutions=[5]",
    "train.py experiment=digits sampler.corrector.snr=0",
    "train.py experiment=digits sampler.grid.steps=0",
    "train.py experiment=digits sampler.grid.eps=1",
    "train.py experiment=digits trainer=gpu trainer.devices=64",
    "train.py experiment=digits trainer.accumulate_grad_batches=5",
    "train.py experiment=digits callbacks.fid.num_samples=3",
    "train.py experiment=digits seed=word",
    "train.py experiment=digits ckpt_path=nowhere.ckpt",
    "train.py experiment=digits paths.log_dir=README.md",
    "sample.py",
    "sample.py ckpt_path={good} num_sample=4",
    "sample.py ckpt_path={good} sampler.corrector.snr=0",
    "sample.py ckpt_path={good} accelerator=gpu devices=64",
    "sample.py ckpt_path={good} score=true num_samples=1",
    "sample.py ckpt_path={good} weights=ema:none",
    "sample.py ckpt_path={good} output_dir={other}",
    "evaluate.py ckpt_path={good} sampler=heunn",
    "evaluate.py ckpt_path={good} mode=compare",
    "evaluate.py images={other}",
]


def commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield a description and the command."""
    good = write_checkpoint(folder / "good.ckpt", *IMAGES)
    other = folder / "other"
    other.mkdir()
    (other / "notes.txt").write_text("nothing of ours")
    for line in CONFIGURATIONS:
        yield line.format(good="FILE", other="FOLDER"), line.format(good=good, other=other).split()


def interrupted(folder: Path) -> Iterator[tuple[str, Ended]]:
    """Yield runs that are told to stop, and a second run in a folder that is in use."""
    run = [
        "train.py",
        *TINY,
        "callbacks=minimal",
        "callbacks.last_checkpoint.every_n_steps=5",
        "callbacks.last_checkpoint.keep=-1",
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [*run, "trainer.max_steps=100000", f"name={number.name}", f"paths.log_dir={folder}/logs"]
        started = Started(command, folder / "output")
        while not list(folder.rglob(f"{number.name}/*/checkpoints/*.ckpt")):
            time.sleep(0.1)
        if number == signal.SIGTERM:
            (place,) = folder.glob(f"logs/{number.name}/*")
            second = Started([*command, f"ckpt_path={place}"], folder / "output").wait()
            yield "train.py in the folder of a running training", second
        started.send(number)
        yield f"train.py after {number.name}", started.wait()


def row(what: str, ended: Ended, folder: Path) -> str:
    lines = ended.err.splitlines()
    message = lines[0].removeprefix("error: ") if len(lines) == 1 and ended.code else f"**{len(lines)} lines**"
    message = message.replace(f"{folder}/", "").replace(str(folder), ".").replace(f"{ROOT}/", "").replace("|", r"\|")
    return f"| `{what}` | {ended.code} | {message} |\n"


def rows(folder: Path) -> Iterator[str]:
    for what, command in commands(folder):
        own = any(part.startswith("paths.log_dir") for part in command)
        places = [] if own else [f"paths.log_dir={folder}/logs"]
        yield row(what, Started([*command, *places], folder / "output").wait(), folder)
    for what, ended in interrupted(folder):
        yield row(what, ended, folder)


def main() -> None:
    sys.stdout.write("| command | exit code | line |\n|---|---|---|\n")
    with tempfile.TemporaryDirectory() as made:
        for line in rows(Path(made)):
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
