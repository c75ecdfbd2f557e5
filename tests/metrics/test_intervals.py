"""Coverage of the confidence intervals; ``python -m bench.coverage`` runs 500 trials per case."""

import pytest
import torch

from bench.coverage import Case, Features, infinity, kernel_mean, pair, squared_mmd
from src.metrics import (
    ClassifierReport,
    DensityCoverage,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    PrecisionRecall,
    Reference,
)
from src.metrics.distances.frechet_expansion import Expansion, extrapolate, variance_of_distance
from src.metrics.intervals import normal_interval, wilson_interval


def test_kernel_mean_matches_samples():
    p, q = pair(5, 0.4)
    generator = torch.Generator().manual_seed(0)
    x, y = p.draw(4000, generator), q.draw(4000, generator)
    assert kernel_mean(p, q) == pytest.approx(float(((x @ y.T) / 5 + 1).pow(3).mean()), rel=0.02)


@pytest.mark.parametrize(
    "case",
    [
        Case(lambda: FrechetDistance(parts=2), 8, 300, 0.3, targets=infinity),
        Case(lambda: FrechetDistance(parts=3), 8, 300, 0.0, targets=infinity),
        Case(lambda: FrechetDistance(parts=2), 16, 40, 0.05),
        Case(lambda: KernelDistance(4, 100), 8, 200, 0.05, reference=200, redraw=True, targets=squared_mmd),
        Case(lambda: KernelDistance(1, 150), 8, 150, 0.4, reference=150, redraw=True, targets=squared_mmd),
        Case(lambda: KernelDistance(1, 150), 8, 150, 0.0, reference=150, redraw=True, targets=squared_mmd),
        Case(PrecisionRecall, 4, 200, 0.3, reference=200),
        Case(DensityCoverage, 4, 200, 0.3, reference=200),
        Case(lambda: InceptionScore(splits=2), 12, 300, 0.3),
        Case(ClassifierReport, 12, 200, 0.3),
    ],
    ids=lambda case: f"{type(case.metric()).__name__}-{case.far}",
)
def test_intervals_cover_the_target_in_about_95_percent_of_trials(case):
    for row in case.run(120):
        # Binomial: 95 % of 120 trials minus three standard deviations; the next line limits the length.
        assert row["coverage"] >= 0.89, row
        # The number of classes is an integer, and so are the ends of its interval.
        assert row["score"] == "classes_present" or row["mean_half_width"] < 1.96 * 1.45 * row["deviation"], row


def test_wilson_interval_matches_the_textbook():
    share, low, high = wilson_interval(torch.arange(10) < 8)
    assert (float(share), float(low), float(high)) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    none = wilson_interval(torch.zeros(10, dtype=torch.bool))
    assert none.low == 0 and float(none.high) == pytest.approx(0.2775, abs=1e-4)


def test_intervals_are_clipped_to_the_range_of_the_score():
    value, low, high = normal_interval(torch.tensor(1.0), torch.tensor(1.0), least=0)
    assert (float(value), float(low)) == (1, 0) and float(high) == pytest.approx(2.96, abs=0.001)


def test_extrapolation_is_exact_for_a_line():
    assert float(extrapolate(3 + 0.5 * torch.arange(1.0, 5.0, dtype=torch.float64))) == pytest.approx(3)


def test_the_bias_of_the_jackknife_is_subtracted():
    def halves(variance):
        return [Expansion(torch.tensor(0.0), torch.tensor(variance), 50, torch.zeros(50))] * 2

    whole = Expansion(torch.tensor(0.0), torch.tensor(1.0), 100, torch.zeros(100))
    # The same influence in both halves: no second-order term, Var L / 50 = 2 Var L / 100.
    assert float(variance_of_distance(whole, halves(2.0))) == 1
    assert float(variance_of_distance(whole, halves(2.5))) == 0.875
    assert float(variance_of_distance(whole, halves(9.0))) == 0.5


def test_the_curve_decreases_to_the_extrapolated_value():
    metric = FrechetDistance(parts=5)
    p, q = pair(8, 0.3)
    generator = torch.Generator().manual_seed(0)
    metric.attach(Features(8), Reference(q.statistics()))
    metric.update({"main": p.draw(1000, generator)}, torch.arange(1000))
    result = metric.compute()
    assert result["frechet_curve_samples"].tolist() == pytest.approx([1000, 500, 1000 / 3, 250, 200])
    curve = result["frechet_curve"]
    assert (curve[1:] > curve[:-1]).all() and result["frechet_infinity"].value < curve[0]
    assert float(result["frechet"].value) == pytest.approx(float(curve[0]))
