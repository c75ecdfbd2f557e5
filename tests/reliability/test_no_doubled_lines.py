"""No command says a line twice, on the terminal or in its log."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.support.entry import Started
from tests.reliability.support.runs import EVENTFUL

_TIME = re.compile(r"^\d\d:\d\d:\d\d ")
# Pictures and scores of different steps may have the same rate, and tables the same rules.
_REPEATS = re.compile(r"(pictures|scores|reference statistics): \d|[-─━ ]*$")


def doubled(text: str) -> list[str]:
    """Return lines that appear more than once, without their times."""
    lines = (_TIME.sub("", line) for line in text.splitlines())
    return [line for line, count in Counter(lines).items() if count > 1 and not _REPEATS.match(line)]


def run(arguments: list[str], folder: Path) -> str:
    """Run a command that must succeed; return all it printed."""
    started = Started(arguments, folder / "output")
    ended = started.wait()
    assert ended.code == 0, ended.err
    return ended.out + ended.err


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command printed, and the log of the training."""
    folder = tmp_path_factory.mktemp("lines")
    kept = [f"metric.cache_dir={folder}/cache"]
    few = ["trainer.max_steps=9", "callbacks.fid.every_n_steps=4", f"paths.log_dir={folder}/logs"]
    said = {"train.py": run(["train.py", *EVENTFUL, *few, *kept], folder)}
    (made,) = folder.glob("logs/*/*")
    said["train.log"] = (made / "train.log").read_text()
    drawn = [f"ckpt_path={made}", "num_samples=20", "batch_size=10", "metric=pixel", *kept]
    said["sample.py"] = run(["sample.py", *drawn, "score=true", f"output_dir={folder}/samples"], folder)
    scored = ["loss=true", "limit=20", f"output_dir={folder}/scores"]
    said["evaluate.py"] = run(["evaluate.py", *drawn, *scored], folder)
    return said


@pytest.mark.parametrize("name", ["train.py", "train.log", "sample.py", "evaluate.py"])
def test_no_line_appears_twice(name: str, outputs: dict[str, str]) -> None:
    assert len(outputs[name].splitlines()) > 5
    assert doubled(outputs[name]) == []


def test_the_log_has_the_lines_of_the_terminal(outputs: dict[str, str]) -> None:
    printed = set(outputs["train.py"].splitlines())
    assert [line for line in outputs["train.log"].splitlines() if line not in printed] == []


def test_a_doubled_line_is_found() -> None:
    said = ["00 step 1 of 2", "01 step 1 of 2", "01 scores: 4 of 4", "02 scores: 4 of 4"]
    assert doubled("".join(f"12:00:{line}\n" for line in said)) == ["step 1 of 2"]
