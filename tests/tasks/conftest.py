"""A run that several modules evaluate; nobody writes into it except for cached statistics."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.evaluation_example import make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    make_run(folder, (10, 20, 25))
    return folder


@pytest.fixture(scope="session")
def first(run: Path) -> Path:
    return run / "checkpoints" / "step00000010.ckpt"
