import pytest
import torch
from torch import nn
from torchmetrics.image.inception import InceptionScore as TheirScore

from src.metrics import InceptionScore, PixelFeatures
from src.metrics.distances.inception_score import divergences
from src.noise import permutation
from tests.metrics.examples import score


def inception_score(probabilities):
    return divergences(probabilities).mean().exp()


@pytest.mark.parametrize("classes", [2, 10])
def test_confident_and_diverse_gives_the_number_of_classes(classes):
    assert float(inception_score(torch.eye(classes).double().repeat(5, 1))) == pytest.approx(classes)


def test_uncertain_or_single_class_gives_one():
    assert float(inception_score(torch.full((30, 10), 0.1).double())) == pytest.approx(1)
    assert float(inception_score(torch.eye(10)[:1].repeat(30, 1).double())) == pytest.approx(1)


def test_agrees_with_torchmetrics(held_out, digit_features):
    class Logits(nn.Module):
        def forward(self, images):
            return digit_features.net.head(digit_features(images)).double()

    theirs = TheirScore(Logits(), splits=1)
    theirs.update(held_out[0])
    with pytest.warns(UserWarning, match="degrees of freedom"):
        expected, _ = theirs.compute()
    ours = score(InceptionScore(splits=1), digit_features(held_out[0]), extractor=digit_features)
    assert ours["inception_score"] == pytest.approx(float(expected), rel=1e-5)
    assert ours["inception_score_std"] == 0


def test_splits_are_deterministic_and_keep_the_random_state(held_out, digit_features):
    state = torch.get_rng_state()
    features = digit_features(held_out[0])
    first, again = (score(InceptionScore(splits=5), features, extractor=digit_features) for _ in range(2))
    assert first == again and first["inception_score_std"] > 0
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("count", "splits", "sizes"), [(11, 5, [3, 2, 2, 2, 2]), (21, 10, [3, *9 * [2]]), (5, 4, [3, 2])]
)
def test_split_sizes(count, splits, sizes, held_out, digit_features):
    features = digit_features(held_out[0][:count])
    shuffled = digit_features.probabilities(features).double()[permutation(0, "inception-score", 0, count)]
    expected = torch.stack([inception_score(part) for part in shuffled.split(sizes)])
    scores = score(InceptionScore(splits=splits), features, extractor=digit_features)
    assert scores["inception_score"] == pytest.approx(float(expected.mean()))
    assert scores["inception_score_std"] == pytest.approx(float(expected.std(correction=0)))


def test_an_extractor_without_probabilities_is_refused():
    with pytest.raises(ValueError, match="not a classifier"):
        score(InceptionScore(), torch.zeros(5, 4), extractor=PixelFeatures((1, 2, 2)))
