"""Traces that a fault leaves in the images themselves, for ``mode=doctor``."""

from __future__ import annotations

import re

import pytest
import torch

from bench.doctor_matrix.data import pool
from src.tasks.evaluate.doctor.changes import (
    jpeg,
    soften,
)
from src.tasks.evaluate.doctor.evidence.asymmetry import asymmetry
from src.tasks.evaluate.doctor.evidence.compression import compression
from src.tasks.evaluate.doctor.evidence.levels import levels
from src.tasks.evaluate.doctor.evidence.resampling import resampling
from src.tasks.evaluate.doctor.sources import of_tensor

INDEX = torch.arange(20)


@pytest.mark.parametrize("name", ["digits", "color"])
def test_jpeg_leaves_a_dip_at_its_quality(name: str) -> None:
    x = pool(name).images[:16]
    compressed = of_tensor(jpeg(x, INDEX, 75))
    (trace,) = compression(of_tensor(soften(x, INDEX, 0.05)), compressed)
    assert trace.family == "jpeg" and re.match("the reference images were JPEG of quality 7[456]", trace.text)
    # Both sides alike are no difference.
    assert compression(compressed, compressed) == []


def test_levels_tell_truncation_and_video_levels() -> None:
    generator = torch.Generator().manual_seed(0)
    floats = 20 + 215 * torch.rand(400, 1, 8, 8, generator=generator)
    # Images of one brightness, so that half a level is seen in their mean.
    floats += 128 - floats.mean((1, 2, 3), keepdim=True)
    # Peaks at every 16th level: a histogram with fine structure.
    peaks = 16 * (floats / 16).floor() + torch.randn(floats.shape, generator=generator)
    for x in (floats, peaks):
        rounded, cut = of_tensor(x.round().to(torch.uint8)), of_tensor(x.floor().to(torch.uint8))
        assert [(e.family, "seem to be truncated" in e.text) for e in levels(cut, rounded)] == [("quantize", True)]
        assert [(e.family, "seem to be rounded" in e.text) for e in levels(rounded, cut)] == [("quantize", True)]
        assert levels(rounded, rounded) == []
    bright = (2 * floats - 128).clamp(0, 255)
    full, pale = of_tensor(bright.round().to(torch.uint8)), of_tensor((16 + bright * 219 / 255).round().to(torch.uint8))
    assert "range" in [e.family for e in levels(pale, full)] and levels(full, pale) == []


def test_boxes_of_two_widths_leave_an_alternating_pattern() -> None:
    made = pool("color")
    clean, boxed = made.images[:60], made.variants["shrunk by box"][60:120]
    (trace,) = resampling(of_tensor(boxed), of_tensor(clean))
    assert "period of 2 pixels" in trace.text and not trace.certain
    assert resampling(of_tensor(made.images[60:120]), of_tensor(clean)) == []


def test_asymmetry_measures_the_share_of_mirrored_images() -> None:
    generator = torch.Generator().manual_seed(0)
    theirs = torch.randn(800, 4, generator=generator) + torch.tensor([1.0, 0, 0, 0.5])
    ours = torch.randn(600, 4, generator=generator) + torch.tensor([1.0, 0, 0, 0.5])
    assert asymmetry(ours, theirs) == []
    half = torch.where(torch.arange(600)[:, None] % 2 == 0, ours, -ours)
    for mirrored, share in ((half, 50), (-ours, 100)):
        (trace,) = asymmetry(mirrored, theirs)
        assert trace.family == "flips" and abs(float(trace.text.split(" %")[0]) - share) < 6
    # Without a side in the reference, nothing can be said.
    assert asymmetry(half, theirs - theirs.mean(0)) == []
