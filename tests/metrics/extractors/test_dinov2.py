import pytest
import torch
import torchvision.transforms.functional as TF

from src.errors import UserError
from src.metrics import DinoFeatures


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_features_of_the_network_on_normalized_images(dino_file, images):
    net = DinoFeatures("l", dino_file)
    state = torch.load(dino_file)
    x = TF.normalize(images / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pooled = torch.nn.functional.avg_pool2d(x, 56).flatten(1)
    torch.testing.assert_close(net(images), pooled @ state["2.weight"].T + state["2.bias"], atol=1e-4, rtol=1e-4)
    gray = images[:, :1]
    assert torch.equal(net(gray), net(gray.repeat(1, 3, 1, 1)))
    assert net.fingerprint.startswith("dinov2-l-") and net.distance_name == "fd_dinov2"


def test_other_weights_have_another_fingerprint(dino_file):
    first = DinoFeatures("l", dino_file).fingerprint
    state = {name: value + 1 for name, value in torch.load(dino_file).items()}
    torch.save(state, dino_file)
    assert DinoFeatures("l", dino_file).fingerprint != first


def test_errors_are_one_clear_line(dino_file, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"cannot be loaded \(Name or service not known\): copy .* weights_path="):
        DinoFeatures("l")
    with pytest.raises(UserError, match=r"none\.pth is missing, damaged or not of dinov2_vitl14"):
        DinoFeatures("l", tmp_path / "none.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not of dinov2_vitl14"):
        DinoFeatures("l", tmp_path / "other.pth")
    with pytest.raises(UserError, match="size=xl: choose one of s, b, l, g"):
        DinoFeatures("xl")
    with pytest.raises(ValueError, match="1 or 3 channels"):
        DinoFeatures("l", dino_file)(torch.zeros(1, 2, 8, 8, dtype=torch.uint8))


def test_building_keeps_the_random_state(dino_file):
    state = torch.get_rng_state()
    DinoFeatures("l", dino_file)
    assert torch.equal(state, torch.get_rng_state())
