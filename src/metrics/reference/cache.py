"""Reference statistics, computed once per data set and extractor and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...io.hashing import text_hash
from ...io.npz import read_npz, write_npz
from ...progress import Progress
from ..extractors.base import FeatureExtractor
from .statistics import Reference, StatisticsAccumulator, parse_statistics

_log = logging.getLogger(__name__)
_REPORT_EVERY = 10.0
"""Seconds between two lines."""


def reference_statistics(
    batches: Iterable[Tensor],
    extractors: Mapping[str, FeatureExtractor],
    cache_dir: str | Path,
    data_fingerprint: str,
    *,
    source: str,
    keep_features: Collection[str] = (),
    device: torch.device | str = "cpu",
) -> dict[str, Reference]:
    """Statistics of a data set under several extractors, from the cache or computed in one pass and put there.

    Of several processes or jobs the first computes while the others wait at a file lock. A damaged cache file is
    computed again. Every process must see all batches: no sharding.

    Args:
        batches: uint8 images (B, C, H, W); iterated once, and only when a cache file is missing.
        extractors: by name.
        cache_dir: folder of the cache files.
        data_fingerprint: changes with anything that changes the images: files, split, resize, quantization.
        source: the data as a label, such as ``cifar10 train``; part of every score.
        keep_features: names of the extractors whose features are stored too, for KID, precision and recall (N x d
            float32).
        device: where the extractors run.

    Returns:
        A reference for each extractor.

    Raises:
        UserError: fewer than two images, or the cache cannot be written.
    """
    from filelock import FileLock

    paths = {name: cache_path(cache_dir, e, data_fingerprint, name in keep_features) for name, e in extractors.items()}

    def cached(names: Collection[str]) -> dict[str, Reference]:
        found = {name: _cached(paths[name], extractors[name], name in keep_features) for name in names}
        return {name: reference for name, reference in found.items() if reference is not None}

    references = cached(extractors)
    if len(references) == len(extractors):
        return references
    with ExitStack() as locks:
        # Locks are taken in the order of the paths, so that two jobs with the same files cannot deadlock.
        for path in sorted(paths[name] for name in extractors if name not in references):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                locks.enter_context(FileLock(path.with_suffix(".lock")))
            except OSError as error:
                raise UserError(
                    f"{path.parent} cannot be written ({error.strerror}): choose another cache_dir"
                ) from error
        references |= cached([name for name in extractors if name not in references])
        missing = {name: extractor for name, extractor in extractors.items() if name not in references}
        if missing:
            computed = _compute(batches, missing, source, keep_features, torch.device(device))
            for name, reference in computed.items():
                _save(paths[name], reference)
            references |= computed
    return references


def cache_path(
    cache_dir: str | Path, extractor: FeatureExtractor, data_fingerprint: str, keep_features: bool = False
) -> Path:
    """The cache file of a data set under an extractor."""
    digest = text_hash(f"{data_fingerprint}\n{extractor.fingerprint}")[:16]
    kind = "features" if keep_features else "statistics"
    return Path(cache_dir) / f"{extractor.fingerprint.split('-')[0]}-{digest}-{kind}.npz"


def _cached(path: Path, extractor: FeatureExtractor, keep_features: bool) -> Reference | None:
    """The reference in ``path``, or None if the file is missing or unusable."""
    if not path.exists():
        return None
    try:
        arrays = read_npz(path)
        statistics = parse_statistics(arrays, path, extractor.fingerprint, extractor.num_features)
        features = arrays.get("features")
        if keep_features and (features is None or features.shape != (statistics.n, extractor.num_features)):
            raise UserError(f"{path} lacks its features")
    except UserError as error:
        _log.warning("%s; computing it again", error)
        return None
    return Reference(statistics, torch.from_numpy(features) if keep_features and features is not None else None)


def _compute(
    batches: Iterable[Tensor],
    extractors: Mapping[str, FeatureExtractor],
    source: str,
    keep_features: Collection[str],
    device: torch.device,
) -> dict[str, Reference]:
    accumulators = {name: StatisticsAccumulator(extractor.num_features) for name, extractor in extractors.items()}
    kept: dict[str, list[Tensor]] = {name: [] for name in extractors if name in keep_features}
    _log.info("computing the reference statistics of %s (once; they are cached)", source)
    with Progress("reference statistics", None, every=_REPORT_EVERY, terminal=False) as progress:
        for batch in batches:
            images = batch.to(device)
            for name, extractor in extractors.items():
                features = extractor.to(device)(images)
                accumulators[name].update(features)
                if name in kept:
                    kept[name].append(features.cpu())
            progress.add(len(batch))
    return {
        name: Reference(
            accumulators[name].statistics(extractor.fingerprint, source),
            torch.cat(kept[name]) if name in kept else None,
        )
        for name, extractor in extractors.items()
    }


def _save(path: Path, reference: Reference) -> None:
    arrays: dict[str, np.ndarray] = reference.statistics.arrays()
    if reference.features is not None:
        arrays["features"] = reference.features.numpy()
    write_npz(path, arrays)
