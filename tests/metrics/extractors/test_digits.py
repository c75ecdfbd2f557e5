import pytest
import torch
from safetensors import safe_open

from src.errors import UserError
from src.metrics import DigitFeatures
from src.metrics.extractors.digits import WEIGHTS, digit_split
from src.metrics.extractors.train_digits import train_digits


def test_accuracy_of_the_shipped_weights_matches_the_file(held_out, digit_features):
    images, labels = held_out
    accuracy = float((digit_features.probabilities(digit_features(images)).argmax(1) == labels).double().mean())
    with safe_open(WEIGHTS, framework="pt") as file:
        assert float(file.metadata()["test_accuracy"]) == pytest.approx(accuracy, abs=0.5 / 297)
    assert accuracy >= 0.985
    assert WEIGHTS.stat().st_size < 300_000


def test_split_is_a_partition():
    learn, test = digit_split(1797)
    assert (len(learn), len(test)) == (1500, 297)
    assert torch.equal(torch.cat([learn, test]).sort().values, torch.arange(1797))


def test_gray_levels_are_scaled_to_bytes(digits):
    images, _ = digits
    assert images.unique().tolist() == [round(level * 255 / 16) for level in range(17)]


def test_training_reaches_80_percent_accuracy(tmp_path):
    state = torch.get_rng_state()
    assert train_digits(tmp_path / "w.safetensors", epochs=3) > 0.8
    assert torch.equal(state, torch.get_rng_state())
    assert DigitFeatures(tmp_path / "w.safetensors").fingerprint != DigitFeatures().fingerprint


def test_building_keeps_the_random_state():
    state = torch.get_rng_state()
    DigitFeatures()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("content", [None, b"", b"rubbish", WEIGHTS.read_bytes()[:5000]])
def test_missing_or_damaged_weights_are_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="missing or damaged"):
        DigitFeatures(path)


def test_features_do_not_depend_on_autocast_and_batch_size(held_out, digit_features):
    images = held_out[0][:50]
    plain = digit_features(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(digit_features(images), plain)
    torch.testing.assert_close(torch.cat([digit_features(part) for part in images.split(7)]), plain)


def test_other_images_are_refused(digit_features):
    with pytest.raises(ValueError, match=r"\(1, 8, 8\), not \(3, 8, 8\)"):
        digit_features(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        digit_features(torch.zeros(2, 1, 8, 8))
