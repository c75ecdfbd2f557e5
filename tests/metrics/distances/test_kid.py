import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from src.errors import UserError
from src.metrics import KernelDistance, Reference, statistics_of
from tests.metrics.examples import Given, attached, score


@pytest.fixture
def sets():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(300, 8, generator=generator), torch.randn(400, 8, generator=generator)


def test_agrees_with_torchmetrics(sets):
    x, y = sets[0], sets[1][:300] + 0.2
    theirs = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=300)
    theirs.update(y, real=True)
    theirs.update(x, real=False)
    expected, _ = theirs.compute()
    assert score(KernelDistance(1, 300), x, y)["kid"] == pytest.approx(float(expected), rel=1e-4)


def test_point_masses_have_a_closed_form():
    result = score(KernelDistance(1, 3), torch.zeros(3, 2), torch.ones(5, 2))
    assert result["kid"] == pytest.approx(1 + 8 - 2)


def test_small_subsets_are_unbiased(sets):
    same = score(KernelDistance(subsets=200, subset_size=10), *sets)
    shifted = score(KernelDistance(subsets=200, subset_size=10), sets[0] + 0.5, sets[1])
    standard_error = same["kid_std"] / 200**0.5
    assert abs(same["kid"]) < 4 * standard_error + 0.005
    assert shifted["kid"] > 0.2


def test_deterministic_and_keeps_the_random_state(sets):
    state = torch.get_rng_state()
    assert score(KernelDistance(5, 50), *sets) == score(KernelDistance(5, 50), *sets)
    assert score(KernelDistance(5, 50), *sets) != score(KernelDistance(5, 50, seed=1), *sets)
    assert torch.equal(state, torch.get_rng_state())


def test_sets_smaller_than_a_subset_are_noted(sets):
    assert attached(KernelDistance(3, 1000), sets[0][:7], sets[1]).notes(7) == ["KID over 3 subsets of 7"]


def test_statistics_only_and_single_images_are_refused(sets):
    metric = attached(KernelDistance(), *sets)
    metric.attach(Given(8), Reference(statistics_of(sets[1], "given")))
    with pytest.raises(UserError, match="only mu and sigma"):
        metric.compute()
    with pytest.raises(UserError, match="at least 2"):
        score(KernelDistance(), sets[0][:1], sets[1])
