"""Settings of a checkpoint against those of the run that resumes from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from src.checkpoint import OpenCheckpoint
from src.errors import UserError
from src.tasks.train.resume import compare


def settings(sigma_max: Any) -> dict[str, Any]:
    return {"sde": {"_target_": "src.sde.VESDE", "sigma_max": sigma_max}, "seed": 0}


@pytest.mark.parametrize("before", [49.0, math.inf, -math.inf, math.nan, None, "50", [50.0]])
def test_another_value_is_another_model(before: Any) -> None:
    opened = OpenCheckpoint(Path("a.ckpt"), "", {"config": settings(before)})
    with pytest.raises(UserError, match=r"other settings: sde\.sigma_max=50\.0 \(the checkpoint has "):
        compare(opened, settings(50.0))


@pytest.mark.parametrize("before", [50.0, 50, 50 * (1 + 1e-9)])
def test_the_last_digits_do_not_count(before: float) -> None:
    assert compare(OpenCheckpoint(Path("a.ckpt"), "", {"config": settings(before)}), settings(50.0)) == []
