"""Variance components and verdicts on simulated scores with known variances."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from src.metrics.variance import difference, mean_squares, spread, trainings_needed

TRIALS = 4000


def simulated(k: int, n: int, training: float, draw: Tensor, rest: float, generator: torch.Generator) -> Tensor:
    """Return scores (TRIALS, k, n) with these standard deviations around the effects of the draws (TRIALS, n)."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(TRIALS, *shape, generator=generator, dtype=torch.float64)

    return 10 + training * normal(k, 1) + draw[:, None] + rest * normal(k, n)


def groups(k: int, m: int, n: int, training: float, shared: float, own: float, rest: float) -> tuple[Tensor, Tensor]:
    """Return two equal settings; draws have an effect shared by both settings and one of their own."""
    generator = torch.Generator().manual_seed(0)
    common, *each = torch.randn(3, TRIALS, n, generator=generator, dtype=torch.float64)
    a, b = (
        simulated(count, n, training, shared * common + own * x, rest, generator)
        for count, x in zip((k, m), each, strict=True)
    )
    return a, b


@pytest.mark.parametrize(
    ("k", "m", "n", "training", "shared", "own", "rest"),
    [
        (6, 6, 6, 1.0, 1.0, 0.0, 1.0),
        (6, 6, 6, 3.0, 1.0, 0.0, 1.0),
        (3, 3, 3, 1.0, 5.0, 0.0, 0.5),
        (6, 3, 6, 1.0, 1.0, 0.5, 0.5),
        (6, 6, 6, 0.3, 1.0, 1.0, 0.5),
        (6, 6, 1, 1.0, 5.0, 0.0, 1.0),
    ],
)
def test_false_positive_rate_is_about_five_percent(
    k: int, m: int, n: int, training: float, shared: float, own: float, rest: float
) -> None:
    a, b = groups(k, m, n, training, shared, own, rest)
    found = difference(a, b)
    wrong = ((found.settings.low > 0) | (found.settings.high < 0)).double().mean()
    assert 0.03 < float(wrong) < 0.07
    torch.testing.assert_close(((found.p_value < 0.05).double().mean()), wrong)


def test_pooled_t_test_has_too_many_false_positives() -> None:
    a, b = groups(6, 6, 6, 3.0, 1.0, 0.0, 1.0)
    p = stats.ttest_ind(a.flatten(1).numpy(), b.flatten(1).numpy(), axis=1).pvalue
    assert (p < 0.05).mean() > 0.3


def test_power_matches_the_recommended_number_of_trainings() -> None:
    generator = torch.Generator().manual_seed(1)
    draw = torch.randn(TRIALS, 6, generator=generator, dtype=torch.float64)
    a, b = (simulated(12, 6, 1.0, draw, 0.1, generator) for _ in range(2))
    size = (1.96 + 0.84) * math.sqrt(2 / 12)
    found = difference(a + size, b).settings
    assert 0.72 < float((found.low > 0).double().mean()) < 0.86
    flat = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert trainings_needed(flat, flat + 1) == math.ceil(2.8**2 * 1.0)
    assert trainings_needed(flat, flat) is None and trainings_needed(flat[:1], flat) is None


def test_intervals_cover_the_true_mean_and_deviations() -> None:
    generator = torch.Generator().manual_seed(2)
    draw = 0.5 * torch.randn(TRIALS, 6, generator=generator, dtype=torch.float64)
    scores = simulated(6, 6, 2.0, draw, 1.0, generator)
    found = spread(scores)
    truth = (10.0, 2.0, math.sqrt(0.5**2 + 1))
    for estimate, true in zip(found, truth, strict=True):
        held = ((estimate.low <= true) & (true <= estimate.high)).double().mean()
        assert 0.93 < float(held) < 0.97
    variances = [float(x.value.square().mean()) for x in found[1:]]
    assert variances == pytest.approx([4.0, 1.25], rel=0.05)


def test_mean_squares_match_the_definition() -> None:
    y = torch.tensor([[1.0, 2.0, 4.0], [3.0, 3.0, 6.0]], dtype=torch.float64)
    rows, columns, mean = y.mean(1), y.mean(0), y.mean()
    of = mean_squares(y)
    assert float(of.trainings) == pytest.approx(3 * float((rows - mean).square().sum()))
    assert float(of.draws) == pytest.approx(2 * float((columns - mean).square().sum()) / 2)
    residual = y - rows[:, None] - columns + mean
    assert float(of.rest) == pytest.approx(float(residual.square().sum()) / 2)


def test_one_draw_gives_the_welch_test() -> None:
    a = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    b = torch.tensor([[3.0], [5.0], [9.0], [4.0]], dtype=torch.float64)
    expected = stats.ttest_ind(a[:, 0].numpy(), b[:, 0].numpy(), equal_var=False)
    found = difference(a, b)
    low, high = expected.confidence_interval(0.95)
    assert float(found.p_value) == pytest.approx(expected.pvalue)
    assert [float(found.settings.low), float(found.settings.high)] == pytest.approx([low, high])
    assert found.trainings.low.isnan()


def test_one_training_gives_an_interval_over_draws_only() -> None:
    a, b = torch.tensor([[1.0, 2.0, 3.5]]), torch.tensor([[0.0, 1.5, 2.0]])
    found = difference(a, b)
    expected = stats.ttest_rel(a[0].double().numpy(), b[0].double().numpy()).confidence_interval(0.95)
    assert [float(found.trainings.low), float(found.trainings.high)] == pytest.approx(list(expected))
    assert found.settings.low.isnan() and found.p_value.isnan()


def test_equal_scores_have_an_interval_of_length_zero() -> None:
    y = torch.ones(3, 4)
    found = difference(y, y + 1).settings
    assert [float(x) for x in found] == [-1.0, -1.0, -1.0]
    assert [float(x) for x in spread(y).mean] == [1.0, 1.0, 1.0]
