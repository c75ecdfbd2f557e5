"""Why few-step solvers fail on nets that predict noise: ``python -m bench.few_steps ve=<file> edm=<file>``.

Two checkpoints of nets on the 8 x 8 digits: ``ve`` of ``experiment=digits``, ``edm`` of ``experiment=digits_edm``. The
training set is small, so its exact score can be computed. Measured, and written to ``docs/results/few_steps.json``:

- error: RMS error of the denoised image on the true marginals;
- answer: growth of the noise found by the net if the noise in its input is 10 % larger than the stated level;
- path: noise in a solver's states divided by the correct noise, in directions where the data have least variance;
- remedies: pixel Fréchet distance and shares of broken images, for solvers, grids, and partly replaced nets;
- trained otherwise: error, answer, and quality with Heun and with the recommended solver, of further VE nets given as
  ``<name>=<file>``;
- recommended: quality of the recommended solver, with 2,000 samples.

``docs/images/few_steps.png`` is drawn from the file; parts that are in the file are not measured again.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.few_steps.models import Digits, Exact, Rescaled, Swapped
from bench.few_steps.picture import draw
from src.checkpoint import read_checkpoint, restore_model
from src.noise import AddressedNoise, normal, permutation
from src.sampling import DPMSolver, DPMSolverSDE, Heun, KarrasGrid, LogSNRGrid, Sampler, SamplerStep
from src.sampling.conditioning.thresholding import Thresholding
from src.sampling.generation import Generation
from src.sde import ScoreModel, tweedie
from src.sde.score_model import Model

_log = logging.getLogger(__name__)

DOCS = Path(__file__).parent.parent / "docs"
LEVELS = (8.0, 5.6, 4.0, 2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06, 0.03)
EXCESS = 1.1
EPS = 1e-3
SIZE = 256


def main() -> None:
    """Measure the missing parts and draw."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    num_samples, folder = int(given.pop("num_samples", 1000)), Path(given.pop("output", DOCS))
    if not {"ve", "edm"} <= set(given):
        sys.exit(
            "usage: python -m bench.few_steps ve=<checkpoint> edm=<checkpoint> [<name>=<checkpoint> ...] "
            "[num_samples=1000] [output=docs]"
        )
    study = Study(given.pop("ve"), given.pop("edm"), given, num_samples)
    for part in ("images", "results"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    path = folder / "results" / "few_steps.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for part, points in study.parts().items():
        kept = results.setdefault(part, {})
        for name, measure in points.items():
            if name not in kept:
                kept[name] = measure()
                _log.info("%s, %s: %s", part, name, kept[name])
                path.write_text(json.dumps(results, indent=1) + "\n")
    draw(folder / "images" / "few_steps.png", LEVELS, results)


class Study:
    """Measurements of two nets.

    Args:
        ve: checkpoint of a net with Song's parametrization, data in [0, 1].
        edm: checkpoint of a net with EDM's parametrization, data in [-1, 1].
        others: checkpoints of further nets like ``ve``, by name.
        num_samples: samples for Fréchet distances.
    """

    def __init__(self, ve: str, edm: str, others: Mapping[str, str], num_samples: int) -> None:
        self.net, self.edm = (restore_model(read_checkpoint(path)).eval() for path in (ve, edm))
        self.others = dict(others)
        self.digits = Digits()
        self.exact = Exact(self.net.sde, self.digits.train)
        self.num_samples = num_samples
        self.x0 = self.digits.train[:SIZE]
        self.z = normal(0, "few-steps", 0, torch.arange(SIZE), (1, 8, 8))

    def parts(self) -> dict[str, dict[str, Callable[[], Any]]]:
        """Return everything to measure, by part and name."""
        models: dict[str, Model] = {"VE net": self.net, "EDM net": self.edm, "exact": self.exact}
        grid = LogSNRGrid(18, EPS)
        heun, sde = Heun(grid), DPMSolverSDE(LogSNRGrid(35, EPS))
        net, exact = self.net, self.exact
        constant = {"constant": lambda: [self._rms(self.digits.mean - self.x0)] * len(LEVELS)}
        return {
            "error": {name: partial(self.error, model) for name, model in models.items()} | constant,
            "answer": {name: partial(self.answer, model) for name, model in models.items()},
            "path": {
                "Heun, VE net": lambda: self.path(net, Heun(LogSNRGrid(40, EPS))),
                "Heun, exact score": lambda: self.path(exact, Heun(LogSNRGrid(40, EPS))),
                "SDE-DPM-Solver++, VE net": lambda: self.path(net, DPMSolverSDE(LogSNRGrid(40, EPS))),
            },
            "remedies": {
                "drawn from the data": lambda: {"frechet_pixel": self.digits.distance(self._drawn())},
                "Heun": lambda: self.quality(net, heun),
                "Heun, exact score everywhere": lambda: self.quality(exact, heun),
                "Heun, exact score above sigma 1": lambda: self.quality(Swapped(net, exact, 1, math.inf), heun),
                "Heun, exact score above sigma 4": lambda: self.quality(Swapped(net, exact, 4, math.inf), heun),
                "Heun, exact score below sigma 1": lambda: self.quality(Swapped(net, exact, 0, 1), heun),
                "Heun, input rescaled above sigma 0.5": lambda: self.quality(Rescaled(net, self.digits, 0.5), heun),
                "Heun, guidance=threshold": lambda: self.quality(Thresholding(net), heun),
                "Heun, s_churn=100": lambda: self.quality(net, Heun(grid, s_churn=100.0)),
                "DPM-Solver++(2M)": lambda: self.quality(net, DPMSolver(LogSNRGrid(35, EPS))),
                "DPM-Solver++(2M), guidance=threshold": lambda: self.quality(
                    Thresholding(net), DPMSolver(LogSNRGrid(35, EPS))
                ),
                "SDE-DPM-Solver++(2M)": lambda: self.quality(net, sde),
                "Heun, Karras' grid": lambda: self.quality(net, Heun(KarrasGrid(18, EPS))),
                "DPM-Solver++(2M), Karras' grid": lambda: self.quality(net, DPMSolver(KarrasGrid(35, EPS))),
                "SDE-DPM-Solver++(2M), Karras' grid": lambda: self.quality(net, DPMSolverSDE(KarrasGrid(35, EPS))),
            },
            "trained otherwise": {name: partial(self.measure_net, path) for name, path in self.others.items()},
            "recommended": {"SDE-DPM-Solver++(2M)": lambda: self.quality(net, sde, 2000)},
        }

    def error(self, model: Model) -> list[float]:
        """Return the RMS of D - x_0 on the true marginals, at each level."""
        return [self._rms(self._predict(model, 1.0, level) - self.x0) for level in LEVELS]

    def answer(self, model: Model) -> list[float]:
        """Return the growth of the noise found (x - D along the true noise) divided by the growth of the true noise."""
        found = []
        for level in LEVELS:
            noise = [
                ((self.x0 + factor * level * self.z - self._predict(model, factor, level)) * self.z).mean()
                for factor in (1.0, EXCESS)
            ]
            found.append(float((noise[1] - noise[0]) / ((EXCESS - 1) * level * self.z.square().mean())))
        return found

    def path(self, model: Model, sampler: Sampler) -> list[tuple[float, float]]:
        """Return (sigma, std of the states / std of the marginal) in the 16 directions of least data variance."""
        points: list[tuple[float, float]] = []

        def record_state(step: SamplerStep) -> None:
            if step.t > 0:
                sigma = model.sde.sigma(step.t)
                y = (step.x - self.digits.mean).flatten(1).double() @ self.digits.directions[:, :16]
                ratio = y.square().mean(0) / (self.digits.variances[:16] + sigma.square())
                points.append((float(sigma), float(ratio.mean().sqrt())))

        index = torch.arange(SIZE)
        noise = AddressedNoise(0, index)
        x = model.sde.prior_sample(noise("prior", 0, torch.empty(SIZE, 1, 8, 8)))
        sampler(model, x, noise, callback=record_state)
        return points

    def quality(self, model: Model, sampler: Sampler, count: int | None = None) -> dict[str, float]:
        """Return NFE, pixel Fréchet distance, and the shares of images out of range and unreadable.

        Out of range: a value more than 0.1 outside the range. Unreadable: no digit has a probability of 0.3.
        """
        count = count or self.num_samples
        batches = list(Generation(model, sampler, (1, 8, 8), 0, min(500, count)).batches(range(count)))
        samples = torch.cat([batch.samples for batch in batches])
        outside = ((samples < -0.1) | (samples > 1.1)).flatten(1).any(1)
        return {
            "nfe": int(batches[0].nfe[0]),
            "frechet_pixel": self.digits.distance(samples),
            "out_of_range": float(outside.float().mean()),
            "unreadable": float((self.digits.confidence(samples) < 0.3).float().mean()),
            "samples": len(samples),
        }

    def measure_net(self, path: str) -> dict[str, Any]:
        """Return error, answer and quality of the net in ``path``."""
        net = restore_model(read_checkpoint(path)).eval()
        return {
            "error": self.error(net),
            "answer": self.answer(net),
            "Heun": self.quality(net, Heun(LogSNRGrid(18, EPS))),
            "SDE-DPM-Solver++(2M)": self.quality(net, DPMSolverSDE(LogSNRGrid(35, EPS))),
        }

    def _drawn(self) -> Tensor:
        """Return as many training digits as samples, each at most once."""
        return self.digits.train[permutation(0, "few-steps", 0, len(self.digits.train))[: self.num_samples]]

    def _predict(self, model: Model, factor: float, level: float) -> Tensor:
        """Return D at x_0 + factor level z, with the stated noise level ``level``; in units of data in [0, 1]."""
        scale = 2.0 if isinstance(model, ScoreModel) and model.data_range == "centered" else 1.0
        shift = 1.0 if scale == 2.0 else 0.0
        t = model.sde.time_of_log_snr(torch.tensor(-math.log(scale * level), dtype=torch.float64))
        x = scale * (self.x0 + factor * level * self.z) - shift
        with torch.no_grad():
            return (tweedie(model.sde, x, t, model(x, t)) + shift) / scale

    @staticmethod
    def _rms(x: Tensor) -> float:
        return float(x.square().mean().sqrt())


if __name__ == "__main__":
    main()
