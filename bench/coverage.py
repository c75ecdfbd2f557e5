"""``python -m bench.coverage``: do the 95 % intervals of the scores contain their target in 95 % of trials?

Every trial draws new Gaussian features; the metrics are those that score images. Distances have a closed form; for the
other scores the target is the mean over the trials. Writes ``docs/results/coverage.json`` and
``docs/images/coverage.png``.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.io.atomic import replacing, write_json
from src.metrics import (
    ClassifierReport,
    DensityCoverage,
    FeatureExtractor,
    FeatureMetric,
    FrechetDistance,
    GaussianStatistics,
    InceptionScore,
    KernelDistance,
    PrecisionRecall,
    Reference,
    frechet_distance,
)
from src.metrics.intervals import Estimate

_log = logging.getLogger(__name__)

RESULTS, PICTURE = Path("docs/results/coverage.json"), Path("docs/images/coverage.png")


class Features(FeatureExtractor):
    """Extractor of given features; class probabilities are the softmax of three times the first ten features."""

    fingerprint = "gaussian"
    distance_name = "frechet"

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def features(self, images: Tensor) -> Tensor:
        raise AssertionError("features are given")

    def probabilities(self, features: Tensor) -> Tensor:
        return (3 * features[:, :10]).softmax(dim=1)


@dataclass(frozen=True)
class Gaussian:
    """N(mu, diag(variances))."""

    mu: Tensor
    variances: Tensor

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw samples (count, d), float64."""
        noise = torch.randn(count, len(self.mu), generator=generator, dtype=torch.float64)
        return self.mu + noise * self.variances.sqrt()

    def statistics(self) -> GaussianStatistics:
        """Return the exact moments."""
        return GaussianStatistics(self.mu, self.variances.diag(), None, "gaussian", "exact")


def pair(d: int, far: float) -> tuple[Gaussian, Gaussian]:
    """Return the distributions of samples and reference; ``far`` = 0 makes them equal."""
    variances = torch.linspace(0.2, 2, d, dtype=torch.float64).square()
    stretched = variances * (1 + far * torch.linspace(-1, 1, d, dtype=torch.float64))
    zero = torch.zeros(d, dtype=torch.float64)
    return Gaussian(zero + far, stretched), Gaussian(zero, variances)


def kernel_mean(p: Gaussian, q: Gaussian) -> float:
    """Return E (x y / d + 1)^3 for independent x ~ p, y ~ q: given x, x y / d is N(a, b) with a, b polynomials in x."""
    d = len(p.mu)
    m, s, n, r = p.mu, p.variances, q.mu, q.variances
    a, var_a = float((m * n).sum()) / d, float((s * n.square()).sum()) / d**2
    b = float((s * r).sum() + (m.square() * r).sum()) / d**2
    ab = a * b + 2 * float((m * r * s * n).sum()) / d**3
    return 1 + 3 * a + 3 * (a**2 + var_a + b) + (a**3 + 3 * a * var_a + 3 * ab)


@dataclass(frozen=True)
class Case:
    """A metric on samples of one distribution, with another as reference.

    Args:
        metric: returns a new metric.
        d: number of features.
        samples: N.
        far: distance of the distributions.
        reference: M reference features, drawn once; 0 for exact moments.
        redraw: draw the reference in every trial.
        targets: true values by score name; for other scores the mean over the trials is the target.
    """

    metric: Callable[[], FeatureMetric]
    d: int
    samples: int
    far: float
    reference: int = 0
    redraw: bool = False
    targets: Callable[[Gaussian, Gaussian], dict[str, float]] = lambda p, q: {}

    def trials(self, count: int, seed: int = 0) -> Iterator[dict[str, Estimate]]:
        """Yield the estimates of ``count`` trials."""
        generator = torch.Generator().manual_seed(seed)
        p, q = pair(self.d, self.far)
        fixed = q.draw(self.reference, generator)
        extractor = Features(self.d)
        for _ in range(count):
            real = q.draw(self.reference, generator) if self.redraw else fixed
            metric = self.metric()
            metric.attach(extractor, Reference(q.statistics(), real))
            metric.update({"main": p.draw(self.samples, generator)}, torch.arange(self.samples))
            yield {name: score for name, score in metric.compute().items() if isinstance(score, Estimate)}

    def run(self, count: int, seed: int = 0) -> list[dict[str, object]]:
        """Return one row per score: the share of trials in which the interval contains the target."""
        every = list(self.trials(count, seed))
        known = self.targets(*pair(self.d, self.far))
        rows: list[dict[str, object]] = []
        for name in every[0]:
            value, low, high = (torch.stack([trial[name][i] for trial in every]) for i in range(3))
            target = known.get(name, float(value.mean()))
            held = float(((low <= target) & (target <= high)).double().mean())
            rows.append(
                {
                    "score": name,
                    "features": self.d,
                    "samples": self.samples,
                    "target": target,
                    "target_is": "closed form" if name in known else "mean of the trials",
                    "mean": float(value.mean()),
                    "deviation": float(value.std()),
                    "mean_half_width": float((high - low).mean() / 2),
                    "trials": count,
                    "coverage": held,
                }
            )
        return rows


def infinity(p: Gaussian, q: Gaussian) -> dict[str, float]:
    """Return the distance of the distributions."""
    return {"frechet_infinity": frechet_distance(p.statistics(), q.statistics())}


def squared_mmd(p: Gaussian, q: Gaussian) -> dict[str, float]:
    """Return the population value of KID."""
    return {"kid": kernel_mean(p, p) + kernel_mean(q, q) - 2 * kernel_mean(p, q)}


def cases() -> list[Case]:
    """Return all cases of the study."""
    two = lambda: FrechetDistance(parts=2)  # noqa: E731
    distances = [
        Case(FrechetDistance if n >= 32 * d else two, d, n, far, targets=infinity)
        for d, n in ((8, 500), (16, 1000), (32, 400), (64, 100), (64, 40))
        for far in (0.3, 0.05, 0.0)
    ]
    kernels = [
        Case(lambda: KernelDistance(20, 200), 16, n, far, reference=400, redraw=True, targets=squared_mmd)
        for n in (200, 600)
        for far in (0.3, 0.05)
    ]
    shares = [
        Case(metric, 4, 400, far, reference=400) for metric in (PrecisionRecall, DensityCoverage) for far in (0.3, -0.4)
    ]
    classes = [
        Case(lambda: InceptionScore(splits=5), 12, 1000, 0.3),
        Case(ClassifierReport, 12, 400, 0.3),
    ]
    return [*distances, *kernels, *shares, *classes]


def extremes(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the smallest and the largest coverage of each score."""
    found = {
        str(row["score"]): [float(other["coverage"]) for other in rows if other["score"] == row["score"]]
        for row in rows
    }
    return {score: [min(values), max(values)] for score, values in found.items()}


def draw(path: Path, rows: list[dict[str, object]]) -> None:
    """Draw the coverage of each row as a point, with the accepted range."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["score"] != "classes_present"]
    figure = Figure(figsize=(8, 0.26 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(92, 98, color="C2", alpha=0.15, lw=0, label="92 to 98 %")
    axes.axvline(95, color="C2", lw=1)
    for i, row in enumerate(rows):
        color = "C0" if row["target_is"] == "closed form" else "C1"
        axes.plot(100 * float(str(row["coverage"])), i, "o", color=color)
    axes.plot([], [], "o", color="C0", label="target in closed form")
    axes.plot([], [], "o", color="C1", label="target: mean of the trials")
    axes.set_yticks(
        range(len(rows)),
        [f"{row['score']}, d {row['features']}, N {row['samples']}, {float(str(row['target'])):.3g}" for row in rows],
    )
    axes.set(xlim=(85, 100), xlabel=f"trials of {rows[0]['trials']} whose 95 % interval contains the target (%)")
    axes.invert_yaxis()
    axes.legend(loc="lower left", fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main() -> None:
    """Run the study."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    start = time.monotonic()
    rows = []
    for case in cases():
        for row in case.run(trials):
            rows.append(row)
            _log.info("%(score)-18s d %(features)3d N %(samples)5d target %(target)9.4f coverage %(coverage).3f", row)
    command = f"python -m bench.coverage --trials {trials}"
    write_json(RESULTS, {"command": command, "range": extremes(rows), "rows": rows})
    draw(PICTURE, rows)
    _log.info("%.0f s: %s and %s", time.monotonic() - start, RESULTS, PICTURE)


if __name__ == "__main__":
    main()
