import logging
import threading
import time

import pytest
import torch

from src.errors import UserError
from src.metrics import PixelFeatures, reference_statistics, statistics_of
from src.metrics.reference.cache import cache_path


class Batches:
    """Iterable of batches that counts its passes."""

    def __init__(self, images):
        self.images, self.passes = images, 0

    def __iter__(self):
        self.passes += 1
        time.sleep(0.05)
        return iter(self.images.split(100))


@pytest.fixture
def batches(digits):
    return Batches(digits[0])


@pytest.fixture
def pixels():
    return PixelFeatures((1, 8, 8))


def test_statistics_are_computed_once(batches, pixels, tmp_path):
    first, again = (
        reference_statistics(batches, {"pixel": pixels}, tmp_path, "digits", source="digits all")["pixel"]
        for _ in range(2)
    )
    expected = statistics_of(pixels(batches.images), pixels.fingerprint)
    torch.testing.assert_close(first.statistics.sigma, expected.sigma, rtol=1e-10, atol=1e-14)
    assert torch.equal(first.statistics.sigma, again.statistics.sigma)
    assert again.statistics.n == 1797 and again.statistics.source == "digits all" and again.features is None
    assert batches.passes == 1


def test_cache_files_depend_on_data_and_extractor(batches, pixels, digit_features, tmp_path):
    paths = {cache_path(tmp_path, e, d, k) for e in (pixels, digit_features) for d in "ab" for k in (True, False)}
    assert len(paths) == 8


def test_features_are_cached_on_request(batches, pixels, tmp_path):
    for _ in range(2):
        reference = reference_statistics(
            batches, {"pixel": pixels}, tmp_path, "d", source="digits", keep_features={"pixel"}
        )["pixel"]
        assert torch.equal(reference.features, pixels(batches.images))
    assert batches.passes == 1


@pytest.mark.parametrize("keep_features", [False, True])
def test_a_damaged_cache_is_recomputed(batches, pixels, tmp_path, caplog, keep_features):
    def run():
        kept = {"pixel"} if keep_features else ()
        return reference_statistics(batches, {"pixel": pixels}, tmp_path, "d", source="digits", keep_features=kept)[
            "pixel"
        ]

    first = run()
    path = cache_path(tmp_path, pixels, "d", keep_features)
    path.write_bytes(path.read_bytes()[:-500])
    with caplog.at_level(logging.WARNING):
        second = run()
    assert "cannot be read" in caplog.text and str(path) in caplog.text
    assert torch.equal(first.statistics.sigma, second.statistics.sigma)
    run()
    assert batches.passes == 2


def test_concurrent_jobs_compute_once(batches, pixels, tmp_path):
    results = []

    def job():
        references = reference_statistics(batches, {"pixel": pixels}, tmp_path, "d", source="digits")
        results.append(references["pixel"].statistics.n)

    jobs = [threading.Thread(target=job) for _ in range(4)]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join()
    assert results == [1797] * 4 and batches.passes == 1


def test_too_few_images_and_an_unwritable_folder_are_refused(pixels, digits, tmp_path):
    with pytest.raises(UserError, match="at least 2"):
        reference_statistics([digits[0][:1]], {"pixel": pixels}, tmp_path, "d", source="digits")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache_dir"):
        reference_statistics([digits[0]], {"pixel": pixels}, tmp_path / "file" / "x", "d", source="digits")


def test_several_extractors_share_one_pass_and_have_separate_files(batches, pixels, digit_features, tmp_path):
    both = {"pixel": pixels, "main": digit_features}
    alone = reference_statistics(batches, {"pixel": pixels}, tmp_path, "d", source="digits")
    together = reference_statistics(batches, both, tmp_path, "d", source="digits", keep_features={"main"})
    assert batches.passes == 2
    assert torch.equal(together["pixel"].statistics.sigma, alone["pixel"].statistics.sigma)
    assert together["pixel"].features is None and len(together["main"].features) == 1797
    again = reference_statistics(batches, both, tmp_path, "d", source="digits", keep_features={"main"})
    assert batches.passes == 2 and torch.equal(again["main"].features, together["main"].features)
