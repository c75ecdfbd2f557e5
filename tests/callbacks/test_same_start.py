"""Processes that found different checkpoints do not begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from lightning.pytorch import LightningModule, Trainer

from src.callbacks import same_start
from src.errors import UserError

A, B = Path("run/step00000001.ckpt"), Path("run/step00000002.ckpt")


@pytest.mark.parametrize(
    ("others", "same"),
    [([(A, 1)], True), ([(B, 2)], False), ([(A, 1), (A, 2)], False), ([(None, None)], False)],
)
def test_all_go_on_from_one_file(others: list[Any], same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_start, "gather_objects", lambda mine: [mine, *others])
    unused = create_autospec(Trainer, instance=True), create_autospec(LightningModule, instance=True)
    callback = same_start.SameStart(A, 1)
    callback.setup(*unused, "test")
    if same:
        callback.setup(*unused, "fit")
        return
    with pytest.raises(UserError, match="would go on from") as caught:
        callback.setup(*unused, "fit")
    assert caught.value.shared and "\n" not in str(caught.value)
