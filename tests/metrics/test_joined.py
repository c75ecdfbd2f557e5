"""Scores of joined features are those of each extractor alone."""

from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.metrics import (
    ClassifierReport,
    DigitFeatures,
    FeatureExtractor,
    Frechet,
    JoinedFeatures,
    MetricSuite,
    OfPart,
    PixelFeatures,
    PrecisionRecall,
)


def images(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def scores(tmp_path, extractor: FeatureExtractor, metrics: dict) -> dict[str, float]:
    suite = MetricSuite(extractor, metrics, cache_dir=tmp_path)
    reference = suite.reference([images(150, 0)], "data", "noise")
    suite.update(images(120, 1))
    return suite.compute(reference, quantisation="round").values


def test_parts_score_as_alone(tmp_path) -> None:
    joined = JoinedFeatures({"digits": DigitFeatures(), "pixel": PixelFeatures((1, 8, 8))})
    per_part = {"digits": [Frechet(), PrecisionRecall(), ClassifierReport()], "pixel": [Frechet()]}
    together = scores(
        tmp_path, joined, {f"{part}{i}": OfPart(part, m) for part, ms in per_part.items() for i, m in enumerate(ms)}
    )
    alone = {
        **scores(tmp_path, DigitFeatures(), {str(i): m for i, m in enumerate(per_part["digits"])}),
        **scores(tmp_path, PixelFeatures((1, 8, 8)), {"0": per_part["pixel"][0]}),
    }
    assert together == pytest.approx(alone, rel=1e-9)
    assert together["frechet_pixel"] != together["frechet_digits"]


def test_an_unknown_part_is_named(tmp_path) -> None:
    joined = JoinedFeatures({"pixel": PixelFeatures((1, 8, 8))})
    with pytest.raises(UserError, match="no features digits"):
        scores(tmp_path, joined, {"x": OfPart("digits", Frechet())})
