"""The training loop of docs/by-hand.md is short, runs as printed, and learns the data."""

from __future__ import annotations

from typing import Any

import torch

from tests.docs.pages import ROOT, blocks


def test_a_plain_loop_learns_the_circle() -> None:
    (block,) = blocks(ROOT / "docs" / "by-hand.md")
    assert len([line for line in block.text.splitlines() if line.strip()]) < 30
    namespace: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(compile(block.text, "by-hand.md", "exec"), namespace)
    radius = namespace["samples"].norm(dim=1)
    assert abs(radius.mean() - 1) < 0.15 and radius.std() < 0.25
    # Samples are spread over the whole circle.
    assert namespace["samples"].mean(dim=0).norm() < 0.4
    assert namespace["denoised"].shape == (64, 2)
