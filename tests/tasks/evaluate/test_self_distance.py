"""evaluate.py: a folder scored against itself has distance zero, for all image modes, bit depths and orientations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datamodules.reading.test_self_distance import SIDE, write
from tests.tasks.evaluation_example import evaluate

KINDS = ["RGBA", "LA", "oriented", "png16-12-1", "png16-3", "png16-4", "tiff32f", "stack"]
DEPTHS = {"png16-12-1": "12 bits", "png16-3": "16 bits", "png16-4": "16 bits", "stack": "10 bits"}


def scored(images: Path, against: Path, channels: int, tmp_path: Path) -> tuple[float, str]:
    """Return the Fréchet distance of pixels and its protocol text."""
    (entry,) = evaluate(
        *(f"images={images}", "datamodule=image_folder", f"datamodule.path={against}", "metric=pixel"),
        *(f"++datamodule.image_size={SIDE}", f"++datamodule.channels={channels}", f"output_dir={tmp_path}/out"),
        *("spectrum=true", f"++datamodule.data_dir={tmp_path}/data", f"++metric.cache_dir={tmp_path}/statistics"),
    )
    spectrum, distance = entry.values["spectrum_db"], entry.values["frechet_pixel"]
    assert (tmp_path / "out" / "spectrum.png").is_file()
    # Both use the full bit depth, so they are zero together.
    assert (abs(spectrum) < 1e-6) == (abs(distance) < 1e-6)
    return distance, entry.protocol["text"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_has_distance_zero_to_itself(kind: str, tmp_path: Path) -> None:
    channels = write(kind, tmp_path / "set")
    distance, protocol = scored(tmp_path / "set", tmp_path / "set", channels, tmp_path)
    # Rounding error: sums of squares of pixels in [0, 1] in another order.
    assert abs(distance) < 1e-6
    if kind in DEPTHS:
        assert f"bytes of {DEPTHS[kind]}" in protocol


def test_another_folder_has_a_positive_distance(tmp_path: Path) -> None:
    write("png16-3", tmp_path / "set")
    write("png16-3", tmp_path / "other")
    assert scored(tmp_path / "other", tmp_path / "set", 3, tmp_path)[0] > 0.1


def test_arrays_of_any_depth(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).normal(3, 2, (12, SIDE, SIDE, 2)).astype(np.float32)
    np.save(tmp_path / "fields.npy", fields)
    distance, protocol = scored(tmp_path / "fields.npy", tmp_path / "fields.npy", 2, tmp_path)
    assert abs(distance) < 1e-6 and "bytes of float32 in [" in protocol
