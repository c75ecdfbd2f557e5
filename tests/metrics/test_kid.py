import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from src.errors import UserError
from src.metrics import KernelDistance, Measured, PixelFeatures, Reference, statistics_of
from src.metrics.kid import polynomial_mmd


def setup(x, y):
    return Measured(x, PixelFeatures((1, 2, 4))), Reference(statistics_of(y, "f"), y)


@pytest.fixture
def sets():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(300, 8, generator=generator), torch.randn(400, 8, generator=generator)


def test_agrees_with_torchmetrics(sets):
    x, y = sets[0].double(), sets[1][:300].double() + 0.2
    torch.testing.assert_close(polynomial_mmd(x, y), poly_mmd(x, y), rtol=1e-10, atol=0)


def test_point_masses_have_a_closed_form():
    x, y = torch.zeros(3, 2).double(), torch.ones(5, 2).double()
    assert float(polynomial_mmd(x, y)) == pytest.approx(1 + 8 - 2)


def test_is_unbiased_at_any_size(sets):
    metric = KernelDistance(subsets=200, subset_size=10)
    same = metric(*setup(*sets))
    shifted = metric(*setup(sets[0] + 0.5, sets[1]))
    standard_error = same["kid_std"] / 200**0.5
    assert abs(same["kid"]) < 4 * standard_error + 0.005
    assert shifted["kid"] > 0.2


def test_repeats_and_leaves_the_random_state_alone(sets):
    state = torch.get_rng_state()
    measured, reference = setup(*sets)
    assert KernelDistance(5, 50)(measured, reference) == KernelDistance(5, 50)(measured, reference)
    assert KernelDistance(5, 50)(measured, reference) != KernelDistance(5, 50, seed=1)(measured, reference)
    assert torch.equal(state, torch.get_rng_state())


def test_small_sets_are_used_whole_and_that_is_said(sets):
    measured, reference = setup(sets[0][:7], sets[1])
    assert KernelDistance(3, 1000).notes(measured, reference) == ["KID over 3 subsets of 7"]


def test_needs_features_and_two_images(sets):
    measured, reference = setup(*sets)
    with pytest.raises(UserError, match="only mu and sigma"):
        KernelDistance()(measured, Reference(reference.statistics))
    with pytest.raises(UserError, match="at least 2"):
        KernelDistance()(Measured(sets[0][:1], measured.extractor), reference)
