"""The classifier trained on demand: training, metadata in its file, and refused files."""

import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

from src.errors import UserError
from src.metrics import ClassifierFeatures
from src.metrics.extractors.train_classifier import _augment, main, train_classifier


def test_training_reaches_the_accuracy_stored_in_the_file(digits, classifier_file):
    images, labels = (values[1500:] for values in digits)
    extractor = ClassifierFeatures(classifier_file)
    probabilities = extractor.probabilities(extractor(images))
    accuracy = float((probabilities.argmax(1) == labels).double().mean())
    with safe_open(classifier_file, framework="pt") as file:
        assert float(file.metadata()["test_accuracy"]) == pytest.approx(accuracy, abs=1.5 / len(labels))
    assert accuracy > 0.85
    assert (extractor.num_features, extractor.num_classes) == (64, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(images)))


def test_deterministic_and_keeps_the_random_state(digits_npz, classifier_file, tmp_path):
    state = torch.get_rng_state()
    ClassifierFeatures(classifier_file)
    made = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, seed in zip(made, (0, 0, 1), strict=True):
        train_classifier(digits_npz, path, epochs=1, width=2, batch=500, flip=True, seed=seed)
    assert torch.equal(state, torch.get_rng_state())
    prints = [ClassifierFeatures(path).fingerprint for path in made]
    assert prints[0] == prints[1] != prints[2]


def test_augmentation_crops_and_mirrors():
    torch.manual_seed(0)
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    padded = torch.nn.functional.pad(image.float() / 127.5 - 1, (1, 1, 1, 1))
    crops = {
        (mirrored, i, j): crop.flip(-1) if mirrored else crop
        for mirrored in (False, True)
        for i in range(3)
        for j in range(3)
        for crop in (padded[..., i : i + 8, j : j + 8],)
    }
    for flip in (False, True):
        seen = set()
        for made in _augment(image.expand(300, -1, -1, -1), flip).split(1):
            (found,) = [key for key, crop in crops.items() if torch.equal(crop, made)]
            seen.add(found)
        assert len(seen) == (18 if flip else 9)


@pytest.mark.parametrize("content", [None, b"", b"rubbish", "cut"])
def test_missing_or_damaged_weights_are_refused(classifier_file, tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(classifier_file.read_bytes()[:5000] if content == "cut" else content)
    with pytest.raises(UserError, match=r"missing or damaged: run python -m .*train_classifier"):
        ClassifierFeatures(path)


def test_a_wrong_number_of_channels_is_refused(classifier_file):
    with pytest.raises(ValueError, match="1 channels, not 3"):
        ClassifierFeatures(classifier_file)(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_the_command_reports_missing_arrays(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((4, 1, 8, 8), np.uint8))
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(tmp_path / "x.npz"), "--out", str(tmp_path / "y")])
    with pytest.raises(UserError, match=r"x\.npz has no array train_labels"):
        main()
    assert not (tmp_path / "y").exists()
