"""Real runs for reports: four checkpoints of a tiny net, with the scores that evaluate.py gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from src.checkpoint.read import peek_checkpoint
from src.tasks.train.history import RunHistory
from tests.tasks.evaluation_example import evaluate, make_run

LEARNING_RATES = (1e-3, 1e-3, 2e-3, 2e-3)


@pytest.fixture(scope="session")
def real_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two settings, two trainings of each; the first has a memorization sheet."""
    sweep = tmp_path_factory.mktemp("logs") / "digits" / "sweep"
    for i, rate in enumerate(LEARNING_RATES):
        run = sweep / str(i)
        (path,) = make_run(run, (10 + 2 * i,), cache=sweep / "statistics")
        config = dict(peek_checkpoint(path)["config"])
        config["optimizer"] = {**config["optimizer"], "lr": rate}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        RunHistory(run, ["experiment=digits"], None).end("finished", 10)
        evaluate(f"ckpt_path={run}", "seed=3", f"output_dir={run}/evaluation/own", f"memorization={i == 0}")
    (sweep / "sweep.csv").write_text("job\n")
    return sweep
