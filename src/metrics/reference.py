"""Reference statistics, computed once per data set and extractor and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..io.hashing import text_hash
from ..io.npz import read_npz, write_npz
from .extractor import FeatureExtractor
from .feature_metric import Reference
from .statistics import StatisticsAccumulator, parse_statistics

_log = logging.getLogger(__name__)
_REPORT_EVERY = 10_000


def reference_statistics(
    batches: Iterable[Tensor],
    extractor: FeatureExtractor,
    cache_dir: str | Path,
    data_fingerprint: str,
    *,
    source: str,
    keep_features: bool = False,
    device: torch.device | str = "cpu",
) -> Reference:
    """Statistics of a data set from the cache, or computed and put there.

    Of several processes or jobs the first computes while the others wait at a file lock. A damaged cache file is
    computed again. Every process must see all batches: no sharding.

    Args:
        batches: uint8 images (B, C, H, W); iterated only when the cache misses.
        extractor: makes the features.
        cache_dir: folder of the cache files.
        data_fingerprint: changes with anything that changes the images: files, split, resize, quantisation.
        source: the data in words, as ``cifar10 train``; part of every score.
        keep_features: keep the features too, for KID, precision and recall (N x d float32).
        device: where the extractor runs.

    Raises:
        UserError: fewer than two images, or the cache cannot be written.
    """
    from filelock import FileLock

    path = cache_path(cache_dir, extractor, data_fingerprint, keep_features)
    reference = _cached(path, extractor, keep_features)
    if reference is not None:
        return reference
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written ({error.strerror}): choose another cache_dir") from error
    try:
        reference = _cached(path, extractor, keep_features)
        if reference is None:
            reference = _compute(batches, extractor, source, keep_features, torch.device(device))
            _save(path, reference)
    finally:
        lock.release()
    return reference


def cache_path(
    cache_dir: str | Path, extractor: FeatureExtractor, data_fingerprint: str, keep_features: bool = False
) -> Path:
    """The cache file of a data set under an extractor."""
    digest = text_hash(f"{data_fingerprint}\n{extractor.fingerprint}")[:16]
    kind = "features" if keep_features else "statistics"
    return Path(cache_dir) / f"{extractor.fingerprint.split('-')[0]}-{digest}-{kind}.npz"


def _cached(path: Path, extractor: FeatureExtractor, keep_features: bool) -> Reference | None:
    """The reference in ``path``, or None when there is none that can be used."""
    if not path.exists():
        return None
    try:
        arrays = read_npz(path)
        statistics = parse_statistics(arrays, path, extractor.fingerprint, extractor.num_features)
        features = arrays.get("features")
        if keep_features and (features is None or features.shape != (statistics.n, extractor.num_features)):
            raise UserError(f"{path} lacks its features")
    except UserError as error:
        _log.warning("%s; computing it anew", error)
        return None
    return Reference(statistics, torch.from_numpy(features) if keep_features and features is not None else None)


def _compute(
    batches: Iterable[Tensor], extractor: FeatureExtractor, source: str, keep_features: bool, device: torch.device
) -> Reference:
    extractor.to(device)
    accumulator = StatisticsAccumulator(extractor.num_features)
    kept: list[Tensor] = []
    _log.info("computing the reference statistics of %s (once; they are cached)", source)
    for batch in batches:
        features = extractor(batch.to(device))
        before = accumulator.count // _REPORT_EVERY
        accumulator.update(features)
        if accumulator.count // _REPORT_EVERY > before:
            _log.info("reference statistics of %s: %d images", source, accumulator.count)
        if keep_features:
            kept.append(features.cpu())
    statistics = accumulator.statistics(extractor.fingerprint, source)
    return Reference(statistics, torch.cat(kept) if keep_features else None)


def _save(path: Path, reference: Reference) -> None:
    arrays: dict[str, np.ndarray] = reference.statistics.arrays()
    if reference.features is not None:
        arrays["features"] = reference.features.numpy()
    write_npz(path, arrays)
