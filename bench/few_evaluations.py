"""Sample quality from one evaluation on: ``python -m bench.few_evaluations ve=FILE edm=FILE ect=FILE meanflow=FILE``.

The files are checkpoints of ``experiment=digits``, ``digits_edm``, ``digits_ect`` and ``digits_meanflow``; some may be
left out. Each is sampled with suitable samplers. The pixel Fréchet distance and the recognized share of the samples are
written to ``docs/results/few_evaluations.json`` and drawn in ``docs/images/few_evaluations.png``. Points that are in
the file are not measured again.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.few_steps.models import Digits
from src.checkpoint import read_checkpoint, restore_model
from src.io.atomic import replacing
from src.noise import permutation
from src.sampling import DPMSolverSDE, Heun, KarrasGrid, LogSNRGrid, Sampler
from src.sampling.generation import Generation
from src.sampling.solvers.consistency import Consistency
from src.sampling.solvers.mean_flow import EvenGrid, MeanFlowSampler
from src.sde import ScoreModel

_log = logging.getLogger(__name__)

DOCS = Path(__file__).parent.parent / "docs"
EPS = 2e-3
# Nets by argument: label and color in the picture, and samplers from few to many evaluations.
NETS: dict[str, tuple[str, str, list[Sampler]]] = {
    "ve": ("VE net, dpm_solver_sde", "C3", [DPMSolverSDE(LogSNRGrid(n, 1e-3)) for n in (1, 2, 3, 5, 9, 17)]),
    "edm": ("EDM net, heun", "C0", [Heun(KarrasGrid(n, EPS)) for n in (1, 2, 3, 5, 9)]),
    "ect": ("ECT net, consistency", "C2", [Consistency(KarrasGrid(n, 0.5)) for n in (1, 2, 3)]),
    "meanflow": ("MeanFlow net, meanflow", "C4", [MeanFlowSampler(EvenGrid(n)) for n in (1, 2, 4, 8)]),
}


def main() -> None:
    """Measure the missing points and draw."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    count, folder = int(given.pop("num_samples", 1000)), Path(given.pop("output", DOCS))
    if not given or not set(given) <= set(NETS):
        sys.exit(
            f"usage: python -m bench.few_evaluations [{'=FILE] ['.join(NETS)}=FILE] [num_samples=1000] [output=docs]"
        )
    digits, path = Digits(), folder / "results" / "few_evaluations.json"
    for part in ("images", "results"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"samples": count}
    results["drawn from the data"] = digits.distance(
        digits.train[permutation(0, "few-steps", 0, len(digits.train))[:count]]
    )
    for name, file in given.items():
        label, _, samplers = NETS[name]
        checkpoint = read_checkpoint(file)
        model = restore_model(checkpoint).eval()
        points = results.setdefault(label, {"step": int(checkpoint["global_step"]), "points": []})["points"]
        for sampler in samplers[len(points) :]:
            points.append(quality(model, sampler, digits, count))
            _log.info("%s: %s", label, points[-1])
            path.write_text(json.dumps(results, indent=1) + "\n")
    draw(folder / "images" / "few_evaluations.png", results)


def quality(model: ScoreModel, sampler: Sampler, digits: Digits, count: int) -> dict[str, float]:
    """Return NFE, pixel Fréchet distance, and the share of samples with a class probability above 90 %."""
    made = Generation(model, sampler, (1, 8, 8), 0, min(500, count), model.data_range)
    batches = list(made.batches(range(count)))
    samples = torch.cat([batch.shown for batch in batches]) / 255
    return {
        "nfe": int(batches[0].nfe[0]),
        "frechet_pixel": digits.distance(samples),
        "recognized": float((digits.confidence(samples) > 0.9).float().mean()),
    }


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Draw distance and recognized share over NFE, one line per net."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    for label, color, _ in NETS.values():
        if label not in results:
            continue
        points = results[label]["points"]
        for panel, value in zip(panels, ("frechet_pixel", "recognized"), strict=True):
            panel.plot([p["nfe"] for p in points], [p[value] for p in points], "o-", ms=4, color=color, label=label)
    panels[0].axhline(results["drawn from the data"], color="0.5", ls=":", label="drawn from the data")
    panels[0].set(title="pixel Fréchet distance", yscale="log")
    panels[1].set(title="recognized share", ylim=(0, 1))
    for panel in panels:
        panel.set(xscale="log", xlabel="evaluations of the net", xticks=[1, 2, 4, 8, 16, 32])
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(True, alpha=0.3)
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    panels[0].legend(frameon=False, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


if __name__ == "__main__":
    main()
