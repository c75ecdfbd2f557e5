"""The examples of docs/extending.md, written into a copy of the project, pass the tests of their group."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from src.config.build import build
from tests.docs.pages import ROOT, blocks, files, lines, words
from tests.support.checkout import copy_of_project

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project and add the files of the page."""
    folder = copy_of_project(tmp_path_factory.mktemp("checkout"))
    for name, text in files(PAGE).items():
        assert not (folder / name).exists(), f"{name} exists: choose another name for the example"
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(checkout: Path, *command: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def commands() -> list[list[str]]:
    found = [words(line) for block in blocks(PAGE) if block.language == "bash" for line in lines(block.text)]
    assert all(command[0] == "python" for command in found)
    return [command[1:] for command in found]


def test_examples_pass_lint_and_format(checkout: Path) -> None:
    made = [name for name in files(PAGE) if name.endswith(".py")]
    assert len(made) == 6
    run(checkout, "-m", "ruff", "check", *made)
    run(checkout, "-m", "ruff", "format", "--check", *made)


def test_examples_build(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in files(PAGE).items():
        folder = Path(name).parent
        if name.endswith(".py"):
            package = importlib.import_module(".".join(folder.parts))
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(checkout / folder)])
        else:
            node = OmegaConf.create({"datamodule": {"channels": 1, "image_size": 8}, "made": yaml.safe_load(text)})
            built = build(OmegaConf.to_container(node, resolve=True)["made"])
            assert type(built).__name__ in "CubicSDE PlainConv Midpoint ScoreMatching BarsDataModule MetricSuite"


@pytest.mark.slow
def test_examples_pass_the_tests_of_their_group(checkout: Path) -> None:
    tests = [command for command in commands() if command[:2] == ["-m", "pytest"]]
    assert len(tests) == 6
    paths, names = [command[2] for command in tests], [command[4] for command in tests]
    # One process, because each start takes seconds.
    output = run(checkout, "-m", "pytest", "-v", "-p", "no:cacheprovider", *paths, "-k", " or ".join(names))
    passed = [line for line in output.splitlines() if "PASSED" in line]
    assert all(any(f"[{name}]" in line for line in passed) for name in names), output


@pytest.mark.slow
def test_commands_of_the_examples_run(checkout: Path) -> None:
    train = ["trainer.max_steps=2", "~callbacks.fid", "~callbacks.sample_images", "++trainer.limit_val_batches=1"]
    run(checkout, "train.py", "experiment=digits", *train)
    for command in commands():
        if command[0] == "train.py":
            run(checkout, *command, *train)
        elif command[0] != "-m":
            run(checkout, *(word for word in command if "num_samples" not in word), "num_samples=8")
