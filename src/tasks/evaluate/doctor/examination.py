"""The Fréchet distance of images under one change after the other, and what each change explains.

A change either undoes a fault of the images (swapped channels) or repeats it on the other side (a reference compressed
as the images were). If the fault is present, the distance falls. All changes are scored on the same images, so the
error of a gain is far smaller than that of a score: with the influences L of ``frechet_expansion``, the gain F - F' has
the variance Var(L - L') / N.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ....errors import UserError
from ....metrics import FeatureExtractor, GaussianStatistics, statistics_of
from ....metrics.distances.frechet_expansion import Expansion, expansion
from ....metrics.intervals import Z95
from ....noise import uniform
from ....progress import LongCall
from .changes import Change, changes, mirror
from .evidence.asymmetry import asymmetry
from .evidence.base import Evidence, Images
from .evidence.compression import compression
from .evidence.levels import levels
from .evidence.resampling import resampling

SAMPLES = "samples"
_DRAWS = 5
_LABELED = 4000
_PUBLISHED = 50_000


@dataclass(frozen=True)
class Finding:
    """The score under one suspicion.

    Attributes:
        family: kind of fault or difference.
        text: description of the suspicion.
        value: the score if the suspicion is true.
        low, high: its 95 % interval.
        gain: how far the score falls.
        error: standard error of the gain, from the choice of images only.
    """

    family: str
    text: str
    value: float
    low: float
    high: float
    gain: float
    error: float


@dataclass
class Examination:
    """All findings.

    Attributes:
        value: the score of the unchanged images.
        low, high: its 95 % interval.
        bias: the score of as many real images against this reference; None if unknown.
        bias_error: standard deviation of ``bias``.
        findings: one for each suspicion.
        features: number of features.
        samples: number of images.
        skipped: suspicions that could not be tried, with the reason.
        evidence: traces of faults in the images themselves; None if they were not searched, as in older records.
    """

    value: float
    low: float
    high: float
    bias: float | None = None
    bias_error: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    evidence: list[Evidence] | None = None
    features: int = 0
    samples: int = 0


class Examiner:
    """Score images under suspicions.

    Args:
        extractor: extractor of the features.
        images: the images to examine.
        splits: the reference images by split; empty if only ``statistics`` are given.
        split: name of the reference's split.
        statistics: statistics of the reference, if its images are not given.
        others: other extractors, by a description of the difference such as ``resize rule clean``.
        samples: other samples of the same net, such as those of raw weights, by family and description.
        processed: whether somebody may have processed the images: a folder may be compressed or resized, but samples of
            a net that are compared with its own training data are not. If false, such faults are not searched.
        done: called after each suspicion.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        images: Images,
        splits: Mapping[str, Images],
        split: str,
        statistics: GaussianStatistics | None = None,
        others: Mapping[str, FeatureExtractor] | None = None,
        samples: Mapping[str, Mapping[str, Images]] | None = None,
        processed: bool = True,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        self.extractor, self.images, self.splits, self.split = extractor, images, dict(splits), split
        self.others, self.samples, self.done = dict(others or {}), dict(samples or {}), done
        self.processed = processed
        with LongCall("extracting features of images and reference"):
            self._features = self._of(images)
            self._reference = self._of(self.splits[split]) if self.splits else None
        compared = statistics if self._reference is None else self._moments(self._reference)
        if compared is None:
            raise UserError("the doctor compares with a reference: give reference=<a data set, images or statistics>")
        self._statistics = compared
        self._base = self._expand(self._features, compared)

    def run(self) -> Examination:
        """Try every suspicion."""
        count, width = self._features.shape
        found = Examination(*self._interval(self._base), features=width, samples=count)
        bias = self._number_of_samples(found)
        channels = next(self.images.batches())[0].shape[1]
        tried = {
            family: members for family, members in changes(channels).items() if self.processed or family == "flips"
        }
        for family, members in tried.items():
            for text, (side, change) in members.items():
                with LongCall(f"trying {family}: {text}"):
                    self._try(found, family, text, side, change)
        self._other_splits(found, bias)
        self._class_balance(found)
        for text, extractor in self.others.items():
            self._other_extractor(found, text, extractor)
        for family, variants in self.samples.items():
            for text, images in variants.items():
                self._add(found, family, text, self._expand(self._of(images), self._statistics))
        if self.processed:
            with LongCall("looking for traces in the images"):
                found.evidence = self._evidence(channels)
        return found

    def _evidence(self, channels: int) -> list[Evidence]:
        reference = self.splits[self.split] if self.splits else None
        found = [*levels(self.images, reference), *resampling(self.images, reference)]
        if channels in (1, 3):
            found += compression(self.images, reference)
        if reference is not None and self._reference is not None:
            mirrored = self._of(self.images, mirror), self._of(reference, mirror)
            found += asymmetry(self._features - mirrored[0], self._reference - mirrored[1])
        return found

    def _try(self, found: Examination, family: str, text: str, side: str, change: Change) -> None:
        if side in ("images", "both ways"):
            where = text if side == "images" else f"the reference has {text}"
            self._add(found, family, where, self._expand(self._of(self.images, change), self._statistics))
        if side in ("reference", "both ways"):
            if self._reference is None:
                found.skipped.append(f"{text}: needs the images of the reference")
                return
            changed = self._of(self.splits[self.split], change)
            self._add(found, family, text, self._expand(self._features, self._moments(changed)))

    def _number_of_samples(self, found: Examination) -> float:
        """Add the score of as many real images, drawn with replacement from the reference.

        The bias of a distance is B / N + B / M for N images and M reference images. The draws measure B / N.

        Returns:
            B; 0 if it is unknown.
        """
        if self._reference is None:
            found.skipped.append("number of samples: needs the images of the reference")
            return 0.0
        count, total = self.images.count, len(self._reference)
        scores = []
        for j in range(_DRAWS):
            u = uniform(0, "doctor draws", j, torch.arange(count))
            chosen = self._reference[(u.double() * total).long().clamp(max=total - 1)]
            scores.append(float(self._expand(chosen, self._statistics).distance))
        drawn = torch.tensor(scores, dtype=torch.float64)
        bias, deviation = float(drawn.mean()), float(drawn.std())
        found.bias, found.bias_error = bias * (1 + count / total), deviation * (1 + count / total)
        for text, share in ((f"{_PUBLISHED:,} samples", 1 - count / _PUBLISHED), ("infinitely many samples", 1.0)):
            if share > 0:
                gain = share * bias
                ends = (found.low - gain, found.high - gain)
                found.findings.append(Finding(SAMPLES, text, found.value - gain, *ends, gain, share * deviation))
        self.done()
        return bias * count

    def _other_splits(self, found: Examination, bias: float) -> None:
        """Score against other splits, less the difference of ``bias / M``: a smaller split has a higher score."""
        for name, images in self.splits.items():
            if name != self.split:
                text = f"reference split {name}, not {self.split}"
                expansion = self._expand(self._features, self._moments(self._of(images)))
                excess = bias * (1 / images.count - 1 / self.splits[self.split].count)
                self._add(found, "split", text, expansion._replace(distance=expansion.distance - excess))

    def _class_balance(self, found: Examination) -> None:
        """Reweight the reference to the class proportions of the images; classes are those of the nearest reference
        images.
        """
        labels = self.splits[self.split].labels if self.splits else None
        if labels is None or self._reference is None or int(labels.max()) < 1:
            found.skipped.append("class balance: the reference has no classes")
            return
        classes = int(labels.max()) + 1
        there = torch.bincount(labels, minlength=classes).double()
        counted = _nearest_labels(self._features, self._reference, labels)
        # Apply the same method to the reference itself, so that its errors cancel.
        expected = _nearest_labels(self._reference, self._reference, labels)
        ratio = counted.bincount(minlength=classes).double() / len(counted)
        ratio /= (expected.bincount(minlength=classes).double() / len(expected)).clamp(min=1e-9)
        weights = (ratio * (there > 0))[labels]
        moments = _weighted(self._reference, weights, self._statistics)
        self._add(found, "classes", "classes in other proportions", self._expand(self._features, moments))

    def _other_extractor(self, found: Examination, text: str, extractor: FeatureExtractor) -> None:
        if not self.splits:
            found.skipped.append(f"{text}: needs the images of the reference")
            return
        reference = statistics_of(self._of(self.splits[self.split], None, extractor), extractor.fingerprint)
        self._add(found, "resize", text, self._expand(self._of(self.images, None, extractor), reference))

    def _add(self, found: Examination, family: str, text: str, expansion: Expansion) -> None:
        paired = self._base.samples == expansion.samples
        own = (self._base.influence, expansion.influence)
        variance = (own[0] - own[1]).var() if paired else own[0].var() + own[1].var()
        error = math.sqrt(float(variance) / min(self._base.samples, expansion.samples))
        value, low, high = self._interval(expansion)
        found.findings.append(Finding(family, text, value, low, high, found.value - value, error))
        self.done()

    def _of(self, images: Images, change: Change | None = None, extractor: FeatureExtractor | None = None) -> Tensor:
        extractor = self.extractor if extractor is None else extractor
        parts = []
        for batch, index in images.batches():
            changed = batch if change is None else change(batch, index)
            parts.append(extractor(changed.to(extractor.device)).cpu())
        return torch.cat(parts)

    def _moments(self, features: Tensor) -> GaussianStatistics:
        return statistics_of(features, self.extractor.fingerprint, "reference")

    def _expand(self, features: Tensor, reference: GaussianStatistics) -> Expansion:
        device = self.extractor.device
        return expansion(features, reference, torch.device("cpu") if device.type == "mps" else device)

    @staticmethod
    def _interval(expansion: Expansion) -> tuple[float, float, float]:
        value, half = max(float(expansion.distance), 0.0), Z95 * math.sqrt(float(expansion.variance))
        return value, max(value - half, 0.0), value + half


def _nearest_labels(features: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
    """The class of the nearest other reference image, for evenly spaced rows of the features."""
    chosen = torch.linspace(0, len(features) - 1, min(len(features), _LABELED)).long()
    distances = torch.cdist(features[chosen].float(), reference.float())
    if features is reference:
        distances[torch.arange(len(chosen)), chosen] = math.inf
    return labels[distances.argmin(dim=1)]


def _weighted(features: Tensor, weights: Tensor, like: GaussianStatistics) -> GaussianStatistics:
    x, w = features.double(), weights.double() / weights.double().sum()
    mu = w @ x
    centered = x - mu
    return GaussianStatistics(mu, centered.T @ (centered * w[:, None]), like.n, like.fingerprint, like.source)
