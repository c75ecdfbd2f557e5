"""Copy the project, for tests that add files to it."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_of_project(folder: Path) -> Path:
    """Copy code, configurations and tests into ``folder``."""
    for name in ("src", "conf", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "train.py", "sample.py", "evaluate.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder
