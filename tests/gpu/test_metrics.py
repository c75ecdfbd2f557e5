"""Features and distances on the device match the CPU, in full precision even if TF32 and autocast are enabled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.metrics import (
    DigitFeatures,
    FeatureExtractor,
    FrechetDistance,
    InceptionFeatures,
    MetricSuite,
    PrecisionRecall,
    Reference,
    statistics_of,
)
from src.metrics.extractors.digits import digit_images
from src.runtime.precision import set_float32_precision
from tests.gpu.conftest import Record
from tests.support.golden import relative
from tests.support.inception import save_random_inception


def features(extractor: FeatureExtractor, images: Tensor) -> Tensor:
    """Compute features on the device of ``images``, with TF32 and autocast enabled."""
    set_float32_precision("high")
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        found = extractor.to(images.device)(images)
    assert found.device == images.device and found.dtype == torch.float32
    return found.cpu()


def test_digit_features_and_scores(device: torch.device, record: Record) -> None:
    images, _ = digit_images()
    exact = DigitFeatures().double()
    with torch.no_grad():
        expected = exact.net.body(images[:256].double() / 127.5 - 1)
    extractor = DigitFeatures()
    error = relative(features(extractor, images[:256].to(device)).double(), expected)
    plain, found = scores(images), scores(images.to(device))
    record(features=error, frechet=found["frechet_digits"] / plain["frechet_digits"] - 1)
    assert error < 1e-5
    assert found == pytest.approx(plain, rel=1e-3)


def scores(images: Tensor) -> dict[str, float]:
    """Return scores of some digits compared with others."""
    extractor = DigitFeatures()
    kept = features(extractor, images[:400])
    reference = Reference(statistics_of(kept, extractor.fingerprint, "digits"), kept)
    suite = MetricSuite(extractor, {"frechet": FrechetDistance(), "precision_recall": PrecisionRecall()})
    for part in images[400:800].split(150):
        suite.update(part)
    return dict(suite.compute({"main": reference}, quantization="round").values)


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    save_random_inception(path)
    return path


def test_inception_features(device: torch.device, record: Record, inception_file: Path) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    extractor = InceptionFeatures(inception_file)
    found = features(extractor, images.to(device))
    # One image at a time changes the order of computation.
    expected = torch.cat([features(extractor, images[i : i + 1]) for i in range(4)])
    error = relative(found, expected)
    record(features=error)
    assert error < 1e-4
