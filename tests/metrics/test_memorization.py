"""Planted copies of training images are found; fresh images of the same distribution are not flagged."""

import pytest
import torch

from src.errors import UserError
from src.metrics import PixelFeatures
from src.metrics.extractors.digits import digit_split
from src.metrics.memorization import memorization

PIXELS = PixelFeatures((1, 8, 8))


@pytest.fixture(scope="module")
def sets(digits):
    """Training digits, test digits, and digits in neither set."""
    images, _ = digits
    learn, test = digit_split(len(images))
    return images[learn[:1200]], images[test], images[learn[1200:]]


def perturbed(images, level):
    noise = torch.randint(-level, level + 1, images.shape, generator=torch.Generator().manual_seed(0))
    return (images.int() + noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("space", ["pixels", "features"])
@pytest.mark.parametrize("level", [0, 8])
def test_planted_copies_are_found(sets, digit_features, space, level):
    train, test, fresh = sets
    features = PIXELS if space == "pixels" else digit_features
    planted = torch.arange(40, 80)
    samples = torch.cat([fresh[:260], perturbed(train[planted], level)])
    found = memorization(features(samples), features(train), features(test))
    assert found.flagged
    assert found.nearest[260:, 0].tolist() == planted.tolist()
    copies = found.ratio[260:] <= found.threshold
    assert copies.all() and (found.ratio[:260] <= found.threshold).double().mean() < 0.04
    if level == 0:
        assert float(found.ratio[260:].max()) < 1e-3


@pytest.mark.parametrize("space", ["pixels", "features"])
def test_fresh_images_are_not_flagged(sets, digit_features, space):
    train, test, fresh = sets
    features = PIXELS if space == "pixels" else digit_features
    found = memorization(features(fresh), features(train), features(test))
    assert not found.flagged
    assert found.auth_pct.low < found.test_auth_pct.value < found.auth_pct.high


def test_copies_of_a_small_training_set_are_flagged(sets, digit_features):
    train, test, _ = sets
    few = train[:64]
    repeated = perturbed(few.repeat(5, 1, 1, 1), 8)
    found = memorization(digit_features(repeated), digit_features(few), digit_features(test))
    assert found.flagged and float(found.share.value) > 0.9
    assert float(found.auth_pct.value) < 5 < float(found.test_auth_pct.value)


def test_auth_pct_and_ratio_by_hand():
    # Training images 0, 1 and 10: their nearest neighbors are at distances 1, 1 and 9.
    train = torch.tensor([[0.0], [1.0], [10.0]])
    samples = torch.tensor([[0.5], [3.0], [11.0], [30.0]])
    found = memorization(samples, train, samples, neighbors=2)
    # Distances to the nearest training image: 0.5, 2, 1, 20; authentic: 2 > 1 and 20 > 9.
    assert float(found.auth_pct.value) == 50
    assert found.ratio.tolist() == pytest.approx([1.0, 2 / 2.5, 1 / 5.5, 20 / 24.5])
    assert found.nearest[:, 0].tolist()[1:] == [1, 2, 2]


def test_agrees_with_the_definition_in_loops(sets):
    train, test, fresh = (PIXELS(images[:60]).double() for images in sets)
    found = memorization(fresh, train, test, neighbors=5)
    authentic = 0
    for sample, ratio in zip(fresh, found.ratio, strict=True):
        distances = sorted((float((sample - image).norm()), i) for i, image in enumerate(train))
        assert float(ratio) == pytest.approx(distances[0][0] / (sum(d for d, _ in distances[:5]) / 5))
        nearest = train[distances[0][1]]
        apart = min(float((nearest - other).norm()) for i, other in enumerate(train) if i != distances[0][1])
        authentic += apart < distances[0][0]
    assert float(found.auth_pct.value) == pytest.approx(100 * authentic / 60)


def test_one_test_image_is_refused():
    with pytest.raises(UserError, match="1 test images cannot be compared"):
        memorization(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(1, 2))
