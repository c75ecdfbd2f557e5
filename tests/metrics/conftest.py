import numpy as np
import pytest
import torch
from torch import nn

from src.metrics.extractors.digits import DigitFeatures, digit_images, digit_split
from src.metrics.extractors.train_classifier import train_classifier
from tests.support.inception import save_random_inception


@pytest.fixture(scope="session")
def digits():
    """Images (uint8) and labels of the digits."""
    return digit_images()


@pytest.fixture(scope="session")
def held_out(digits):
    images, labels = digits
    _, test = digit_split(len(images))
    return images[test], labels[test]


@pytest.fixture(scope="session")
def digit_features():
    return DigitFeatures()


HUBCONF = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(48, 1024))


def dinov2_vitl14(pretrained=True):
    if pretrained:
        raise OSError("Name or service not known")
    return Net()
"""


@pytest.fixture
def dino_file(tmp_path, monkeypatch):
    """Weights of a small net in place of DINOv2, with its code in the torch hub cache."""
    code = tmp_path / "hub" / "facebookresearch_dinov2_main"
    code.mkdir(parents=True)
    (code / "hubconf.py").write_text(HUBCONF)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    net = nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(48, 1024))
    torch.save(net.state_dict(), tmp_path / "dino.pth")
    return tmp_path / "dino.pth"


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """Inception with random weights in the format of the published file."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    save_random_inception(path)
    return path


@pytest.fixture(scope="session")
def digits_npz(digits, tmp_path_factory):
    """The digits as an npz file."""
    images, labels = (values.numpy() for values in digits)
    path = tmp_path_factory.mktemp("npz") / "digits.npz"
    split = {"train": slice(1500), "test": slice(1500, None)}
    np.savez(
        path,
        **{f"{name}_images": images[rows] for name, rows in split.items()},
        **{f"{name}_labels": labels[rows] for name, rows in split.items()},
    )
    return path


@pytest.fixture(scope="session")
def classifier_file(digits_npz):
    """A digits classifier trained for a few seconds."""
    path = digits_npz.with_name("classifier.safetensors")
    train_classifier(digits_npz, path, epochs=4, width=8, batch=50, flip=False)
    return path
