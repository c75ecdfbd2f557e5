"""The setting ``weights``: its forms, and what a checkpoint must contain for each."""

from __future__ import annotations

import pytest

from src.checkpoint.weights import parse_weights
from src.errors import UserError


@pytest.mark.parametrize(
    ("text", "chosen"), [("raw", None), ("ema", "first"), ("ema:second", "second"), ("ema:", "first")]
)
def test_weights_select_an_average(text: str, chosen: str | None) -> None:
    assert parse_weights(text).average(["first", "second"]) == chosen


@pytest.mark.parametrize("text", ["", "raw:x", "EMA", "first", "posthoc"])
def test_unknown_weights_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"weights={text} is unknown: choose ema, ema:<name> or raw"):
        parse_weights(text)


def test_weights_missing_in_the_checkpoint_are_refused() -> None:
    assert parse_weights("raw").average([]) is None
    with pytest.raises(UserError, match=r"a\.ckpt has no averaged weights: choose weights=raw"):
        parse_weights("ema").average([], "a.ckpt")
    with pytest.raises(UserError, match="the checkpoint has no average 'third': choose one of first, second"):
        parse_weights("ema:third").average(["first", "second"])
