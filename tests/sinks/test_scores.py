"""Scores of samples while they are generated."""

from __future__ import annotations

from pathlib import Path

import torch

from src.metrics import FrechetDistance, MetricSuite, PixelFeatures
from src.sampling.statistics import Statistics
from src.sinks.scores import Scoring
from src.stored_values import StoredValues
from tests.sinks.batches import batch


def test_the_protocol_names_the_depth_of_the_samples(tmp_path: Path) -> None:
    suite = MetricSuite(PixelFeatures((1, 2, 2)), {"frechet": FrechetDistance()}, cache_dir=tmp_path)
    images = (torch.arange(24).reshape(6, 1, 2, 2) * 9 % 251).byte()
    scoring = Scoring(suite, suite.reference([images], "x", "x"), StoredValues("uint16", 0, 4095), "truncate", "cpu")
    made = Statistics()
    generated = batch(torch.arange(6), images)
    made.add(generated)
    scoring.add(generated)
    scoring.finish(made)
    assert scoring.scores is not None
    assert scoring.scores.conditions["quantization"] == "truncate to bytes of 12 bits"
    assert abs(scoring.scores.values["frechet_pixel"]) < 1e-6
