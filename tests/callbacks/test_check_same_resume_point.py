"""Training does not start if processes found different checkpoints."""

from __future__ import annotations

from typing import Any
from unittest.mock import create_autospec

import pytest
from lightning.pytorch import LightningModule, Trainer

from src.callbacks import check_same_resume_point as module
from src.errors import UserError

A, B, CHANGED = ("run/step1.ckpt", 1, "a"), ("run/step2.ckpt", 2, "b"), ("run/step1.ckpt", 1, "c")


@pytest.mark.parametrize(("others", "same"), [([A], True), ([B], False), ([A, CHANGED], False), ([None], False)])
def test_processes_must_resume_from_the_same_checkpoint(
    others: list[Any], same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "gather_objects", lambda mine: [mine, *others])
    unused = create_autospec(Trainer, instance=True), create_autospec(LightningModule, instance=True)
    callback = module.CheckSameResumePoint(A)
    callback.setup(*unused, "test")
    if same:
        callback.setup(*unused, "fit")
        return
    with pytest.raises(UserError, match="would resume from") as caught:
        callback.setup(*unused, "fit")
    assert caught.value.shared and "\n" not in str(caught.value)
