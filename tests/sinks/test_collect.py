"""Samples of all processes are gathered in the order of their index, for any shares."""

from __future__ import annotations

import pytest
import torch

from src.sampling.statistics import Statistics
from src.sinks.collect import Collect
from tests.sinks.batches import batch
from tests.tasks.ranks import on_ranks


@pytest.mark.parametrize("shares", [([3, 0], [1], [2]), ([1, 0], [], []), ([], [0], [])])
def test_every_process_gets_all_samples_in_order(
    shares: tuple[list[int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def collected(rank: int) -> Collect:
        made = Collect((1, 2, 2))
        for i in shares[rank]:
            image = torch.full((1, 1, 2, 2), i, dtype=torch.uint8)
            made.add(batch(torch.tensor([i]), image, trajectory=torch.stack([image + 10, image])))
        made.finish(Statistics())
        return made

    expected = sorted(i for share in shares for i in share)
    for made in on_ranks(collected, monkeypatch, len(shares)):
        assert isinstance(made, Collect)
        assert made.samples[:, 0, 0, 0].tolist() == expected and made.samples.dtype == torch.uint8
        assert made.frames[:, :, 0, 0, 0].tolist() == [[i + 10 for i in expected], expected]


def test_invalid_samples_are_replaced() -> None:
    for shape, blank in (((1, 2, 2), 0.0), ((2,), float("nan"))):
        made = Collect(shape)
        shown = torch.ones(3, *shape, dtype=made.samples.dtype)
        one = batch(torch.arange(3), shown)
        one.valid[1] = False
        made.add(one)
        made.finish(Statistics())
        wanted = shown.clone()
        wanted[1] = blank
        torch.testing.assert_close(made.with_blanks(), wanted, equal_nan=True)
        assert len(made.frames) == 0 and torch.equal(made.samples, shown)
