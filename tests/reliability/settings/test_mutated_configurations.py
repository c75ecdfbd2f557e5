"""With random settings a command works or gives one line: no traceback, no hang."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.reliability.support.entry import Ended, train
from tests.reliability.support.figures import Figures
from tests.reliability.support.in_process import call, refusal
from tests.reliability.support.mutations import EVALUATE, SAMPLE, TRAIN, mutation
from tests.reliability.support.runs import TINY, in_folder
from tests.tasks.example import IMAGES, write_checkpoint

CHUNK = 10
"""Configurations per test, so that workers share them."""
FEW, MANY = 30, 600
"""Training configurations in the normal and in the full suite."""
FEW_OTHERS, MANY_OTHERS = 10, 200
"""Configurations of each of the other scripts."""


def chunks(few: int, many: int) -> list[object]:
    firsts = range(0, many, CHUNK)
    return [first if first < few else pytest.param(first, marks=pytest.mark.slow) for first in firsts]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", chunks(FEW, MANY))
def test_training_takes_a_step_or_gives_one_line(first: int, tmp_path: Path, figures: Figures) -> None:
    def run(settings: list[str], folder: Path) -> Ended:
        arguments = [*TINY, "trainer.max_steps=1", *settings, *in_folder(folder)]
        if "trainer=ddp_sim" in settings:
            # A process group cannot be removed from this process.
            return train(*arguments, folder=folder)
        return call(["train.py", *arguments])

    figures("mutated configurations of train.py", outcomes(TRAIN, first, tmp_path, run, "logs/**/result.json"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "step00000007.ckpt", *IMAGES)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", chunks(FEW_OTHERS, MANY_OTHERS))
def test_sampling_makes_samples_or_gives_one_line(
    first: int, checkpoint: Path, tmp_path: Path, figures: Figures
) -> None:
    small = ["num_samples=4", "sampler.grid.steps=2", "datamodule.limit=64"]

    def run(settings: list[str], folder: Path) -> Ended:
        return call(["sample.py", f"ckpt_path='{checkpoint}'", *merged(small, settings), *kept_in(folder)])

    figures("mutated configurations of sample.py", outcomes(SAMPLE, first, tmp_path, run, "out/manifest.json"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", chunks(FEW_OTHERS, MANY_OTHERS))
def test_evaluation_makes_a_table_or_gives_one_line(
    first: int, checkpoint: Path, tmp_path: Path, figures: Figures
) -> None:
    small = ["metric=pixel", "num_samples=128", "sampler.grid.steps=2", "limit=4", "likelihood.likelihood.rtol=0.1"]

    def run(settings: list[str], folder: Path) -> Ended:
        return call(["evaluate.py", f"ckpt_path='{checkpoint}'", *merged(small, settings), *kept_in(folder)])

    figures("mutated configurations of evaluate.py", outcomes(EVALUATE, first, tmp_path, run, "out/metrics.json"))


def outcomes(
    choices: Mapping[str, Sequence[str]],
    first: int,
    folder: Path,
    run: Callable[[list[str], Path], Ended],
    result: str,
) -> Counter[str]:
    """Count the configurations of a chunk that worked (and wrote a file ``result``) and those that gave one line."""
    counts, failures = Counter[str](), []
    for seed in range(first, first + CHUNK):
        settings, place = mutation(choices, seed), folder / str(seed)
        sys.stderr.write(f"{seed} {settings}\n")  # shown if the test hangs
        try:
            ended = run(settings, place)
            if ended.code == 0:
                assert list(place.glob(result)), "no result file was written"
            else:
                sys.stderr.write(f"  {refusal(ended)}\n")
            counts["work done" if ended.code == 0 else "one line"] += 1
        except (Exception, AssertionError) as error:
            failures.append(f"{seed} {' '.join(settings)}: {type(error).__name__}: {error}"[:600])
    assert not failures, "\n".join(failures)
    return counts


def merged(settings: list[str], others: list[str]) -> list[str]:
    """Return ``settings`` without those that ``others`` override, then ``others``."""
    keys = {other.partition("=")[0] for other in others}
    return [setting for setting in settings if setting.partition("=")[0] not in keys] + others


def kept_in(folder: Path) -> list[str]:
    return [f"output_dir={folder}/out", f"paths.log_dir={folder}/logs", f"metric.cache_dir={folder}/cache"]
