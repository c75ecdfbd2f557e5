"""``python -m bench.predictors``: standard deviation of samples on VP with the exact score of N(0.25, 0.5^2).

There is no corrector, and the last step denoises. The exact result is 0.5. Writes ``docs/results/predictors.json``.
"""

from __future__ import annotations

from pathlib import Path

import torch

from src.io.atomic import write_json
from src.noise import AddressedNoise, normal
from src.sampling import (
    AncestralSampling,
    EulerMaruyama,
    LinearGrid,
    NoCorrector,
    PredictorCorrector,
    ReverseDiffusion,
)
from src.sampling.solvers.predictors import Predictor
from src.sde import VPSDE
from tests.support.gaussian import GaussianScore

RESULTS = Path("docs/results/predictors.json")
SAMPLES, DIMENSIONS = 4000, 16
TIMES = (10, 30, 100)
PREDICTORS: dict[str, Predictor] = {
    "ancestral": AncestralSampling(),
    "ancestral, sampler.predictor.variance=posterior": AncestralSampling("posterior"),
    "predictor_only": ReverseDiffusion(),
    "euler_maruyama": EulerMaruyama(),
}


def deviation(predictor: Predictor, times: int) -> float:
    """Return the standard deviation of samples that a predictor draws with a number of times."""
    index, sde = torch.arange(SAMPLES), VPSDE()
    sampler = PredictorCorrector(LinearGrid(times, 1e-3), predictor, NoCorrector())
    start = sde.prior_sample(normal(0, "prior", 0, index, (DIMENSIONS,)))
    return float(sampler(GaussianScore(sde), start, AddressedNoise(0, index)).samples.std())


def main() -> None:
    """Measure and write every deviation, by number of times and predictor."""
    rows = {str(times): {name: deviation(one, times) for name, one in PREDICTORS.items()} for times in TIMES}
    error = 0.5 / (2 * SAMPLES * DIMENSIONS) ** 0.5
    write_json(RESULTS, {"command": "python -m bench.predictors", "sampling_error": error, "rows": rows})


if __name__ == "__main__":
    main()
