"""Mean and covariance of features: accumulated in float64, merged, and stored in npz files.

Files contain ``mu`` (d,) and ``sigma`` (d, d), like those of pytorch-fid and EDM. Files written here also contain
``n``, ``fingerprint`` and ``source``. Files of raw ``pool_3`` features (N, d) can be read as well.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...io.npz import read_npz, write_npz
from .origin import RULES, advice, resize_of

_log = logging.getLogger(__name__)

_LARGEST = 1e100
_LONGEST_NAME = 200


@dataclass(frozen=True)
class GaussianStatistics:
    """The two moments that a Fréchet distance compares.

    Args:
        mu: (d,) float64 mean.
        sigma: (d, d) float64 covariance, normalized by n - 1.
        n: number of samples; None if the file, of another program, does not contain it.
        fingerprint: fingerprint of the extractor; None if unknown.
        source: the data, such as ``cifar10 train``.
    """

    mu: Tensor
    sigma: Tensor
    n: int | None
    fingerprint: str | None
    source: str = "unknown"

    @cached_property
    def factor(self) -> Tensor:
        """F (d, r) with F F^T = sigma and r the numerical rank; ValueError if sigma is not a covariance."""
        values, vectors = torch.linalg.eigh(self.sigma)
        largest = values[-1].clamp(min=0)
        # sigma is a sum over n samples minus the square of the mean: if all samples are equal, only rounding remains.
        eps = torch.finfo(torch.float64).eps
        rounding = eps * (len(self.mu) * largest + (len(self.mu) + (self.n or 0)) * self.mu.square().sum())
        if values[0] < -1e-6 * largest - rounding:
            raise ValueError("it has negative eigenvalues")
        # Smaller eigenvalues are rounding errors; their roots would not be small.
        kept = values > rounding
        factor: Tensor = vectors[:, kept] * values[kept].sqrt()
        return factor

    def cpu(self) -> GaussianStatistics:
        """A copy on the CPU."""
        return replace(self, mu=self.mu.cpu(), sigma=self.sigma.cpu())

    def save(self, path: str | Path) -> None:
        """Write an npz file; a reader sees either the old file or the complete new one."""
        write_npz(path, self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """The named arrays of the npz file."""
        arrays = {"mu": self.mu.numpy(), "sigma": self.sigma.numpy(), "source": np.array(self.source)}
        if self.n is not None:
            arrays["n"] = np.array(self.n)
        if self.fingerprint is not None:
            arrays["fingerprint"] = np.array(self.fingerprint)
        return arrays


@dataclass(frozen=True)
class Reference:
    """A reference, seen through one extractor.

    Args:
        statistics: moments of the reference features.
        features: (M, d) the features themselves, or None if no metric needs them.
    """

    statistics: GaussianStatistics
    features: Tensor | None = None

    def required_features(self) -> Tensor:
        """The features; raises UserError if only moments are known, as from a statistics file."""
        if self.features is None:
            raise UserError(
                "the reference has only mu and sigma, but KID, precision and recall need its features: "
                "compute the reference from the data set, or leave these metrics out"
            )
        return self.features


class StatisticsAccumulator:
    """Sums from which the moments follow, so that parts computed separately can be merged.

    Args:
        num_features: d.
        device: device of the sums; it must support float64.
    """

    def __init__(self, num_features: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.sum = torch.zeros(num_features, dtype=torch.float64, device=device)
        self.outer = torch.zeros(num_features, num_features, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> None:
        """Add features (B, d)."""
        features = features.detach().to(self.sum)
        self.count += len(features)
        self.sum += features.sum(dim=0)
        self.outer.addmm_(features.T, features)

    def merge(self, other: StatisticsAccumulator) -> None:
        """Add the samples of another accumulator."""
        self.count += other.count
        self.sum += other.sum
        self.outer += other.outer

    def statistics(self, fingerprint: str | None, source: str = "unknown") -> GaussianStatistics:
        """Moments of all added features; raises UserError below two samples."""
        return statistics_from_sums(self.sum, self.outer, self.count, fingerprint, source)


def statistics_from_sums(
    total: Tensor, outer: Tensor, count: int, fingerprint: str | None, source: str = "unknown"
) -> GaussianStatistics:
    """Moments from the sum (d,), the sum of outer products (d, d) and the count, all float64."""
    if count < 2:
        raise UserError(f"a covariance needs at least 2 images, got {count}: raise the number of samples")
    mu = total / count
    sigma = (outer - count * torch.outer(mu, mu)) / (count - 1)
    if not bool(torch.isfinite(sigma).all()):
        raise UserError(f"features of {source} are not finite: check the images and the extractor's weights")
    return GaussianStatistics(mu, (sigma + sigma.T) / 2, count, fingerprint, source)


def statistics_of(
    features: Tensor, fingerprint: str | None, source: str = "unknown", device: torch.device | str = "cpu"
) -> GaussianStatistics:
    """Moments of features (N, d), on ``device``."""
    accumulator = StatisticsAccumulator(features.shape[1], device)
    for part in torch.split(features, 4096):
        accumulator.update(part)
    return accumulator.statistics(fingerprint, source)


def load_statistics(
    path: str | Path, fingerprint: str | None = None, num_features: int | None = None, resize: str | None = None
) -> GaussianStatistics:
    """Read statistics from an npz file of this project, pytorch-fid, EDM, or one of ``pool_3`` features.

    Args:
        path: the file.
        fingerprint: fingerprint of the extractor. A file with another fingerprint is refused; a file without one is
            accepted with a warning in the log.
        num_features: the expected d.
        resize: rule of the extractor; a file that is known to use another rule is refused.

    Raises:
        UserError: the file is missing, damaged, of another extractor, resize rule or size, or contains no covariance.
    """
    # Song's files for 256 pixels and more contain a pickled None there; that array is not used.
    arrays = read_npz(path, skip=("logits",))
    statistics = parse_statistics(arrays, path, fingerprint, num_features)
    if statistics.fingerprint is None and fingerprint is not None:
        known = resize_of(path, arrays)
        if resize in RULES and known is not None and known != resize:
            raise UserError(
                f"{path} was made with resize={known}, but the extractor has resize={resize}: "
                f"set metric.extractor.resize={known}, or choose another file"
            )
        doubt = advice(path) if resize in RULES and known is None else "check its documentation"
        _log.warning("%s does not name its extractor; assuming %s; %s", path, fingerprint, doubt)
    return statistics


def parse_statistics(
    arrays: dict[str, np.ndarray], path: str | Path, fingerprint: str | None, num_features: int | None
) -> GaussianStatistics:
    """Check arrays that were read from ``path``, for ``load_statistics``."""
    again = "compute it again or choose another file"
    kinds = {"mu": "iuf", "sigma": "iuf", "pool_3": "iuf", "n": "iu", "fingerprint": "U", "source": "U"}
    wrong = [key for key, kind in kinds.items() if key in arrays and arrays[key].dtype.kind not in kind]
    wrong += [key for key in ("n", "fingerprint", "source") if key in arrays and arrays[key].ndim > 0]
    if wrong or ("n" in arrays and arrays["n"] < 2):
        raise UserError(f"{path} has the wrong type for {', '.join(wrong) or 'n'}: {again}")
    stored = str(arrays["fingerprint"])[:_LONGEST_NAME] if "fingerprint" in arrays else None
    if stored is not None and fingerprint is not None and stored != fingerprint:
        raise UserError(f"{path} was computed with {stored}, but the extractor is {fingerprint}: {again}")
    source = str(arrays.get("source", Path(path).name))
    if "mu" in arrays and "sigma" in arrays:
        mu, sigma = _float64(arrays["mu"]), _float64(arrays["sigma"])
        n = int(arrays["n"]) if "n" in arrays else None
        statistics = GaussianStatistics(mu, sigma, n, stored, source)
    elif "pool_3" in arrays and arrays["pool_3"].ndim == 2:
        statistics = statistics_of(_float64(arrays["pool_3"]), stored, source)
    else:
        raise UserError(f"{path} contains {sorted(arrays)}, not mu and sigma or pool_3: {again}")
    _check(statistics, path, num_features, again)
    return statistics


def _float64(array: np.ndarray) -> Tensor:
    # Files from other systems may be big-endian or of any number type.
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def _check(statistics: GaussianStatistics, path: str | Path, num_features: int | None, again: str) -> None:
    mu, sigma = statistics.mu, statistics.sigma
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"{path} has mu {tuple(mu.shape)} and sigma {tuple(sigma.shape)}, not (d,) and (d, d): {again}")
    if num_features is not None and len(mu) != num_features:
        raise UserError(f"{path} has {len(mu)} features, but the extractor has {num_features}: {again}")
    # Squares of larger numbers are not finite.
    if not all(bool((values.abs() < _LARGEST).all()) for values in (mu, sigma)):
        raise UserError(f"{path} contains numbers that are not finite or too large: {again}")
    if not torch.allclose(sigma, sigma.T, rtol=0, atol=1e-6 * float(sigma.abs().max())):
        raise UserError(f"sigma in {path} is not symmetric, so it is not a covariance: {again}")
    try:
        # Stored for the distances that need it.
        _ = statistics.factor
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"sigma in {path} is not a covariance ({error}): {again}") from error
