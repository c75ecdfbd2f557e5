"""``python -m bench.compare_digits``: does ``mode=compare`` detect which settings differ?

Trains a small net on the 8 x 8 digits with three settings, six times each: 160 steps, 40 steps, and 40 steps with
another Adam epsilon, which has no visible effect. Six draws of samples from each training are compared. Writes
``docs/results/compare_digits.json`` and ``docs/images/compare_digits.png``. After an interruption, run it again to
continue.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from src.cli.run_dir import register_resolvers
from src.commands.evaluate import main as evaluate
from src.config.location import CONFIG_DIR
from src.io.atomic import write_json
from src.tasks.train.plan import check_training
from src.tasks.train.task import start_training

_log = logging.getLogger(__name__)

RESULTS, PICTURE = Path("docs/results/compare_digits.json"), Path("docs/images/compare_digits.png")
BASE = ["experiment=digits", "net.nf=8", "datamodule.global_batch_size=64", "scheduler.steps=20"]
SETTINGS = {
    "long": ["trainer.max_steps=160"],
    "short": ["trainer.max_steps=40"],
    "short-eps": ["trainer.max_steps=40", "optimizer.eps=1e-9"],
}
QUICK = [
    "callbacks=minimal",
    "callbacks.last_checkpoint.every_n_steps=1000",
    "logger=csv",
    "++trainer.limit_val_batches=0",
]


def composed(name: str, overrides: list[str]) -> DictConfig:
    """Return the configuration that the command line would give."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(name, overrides=[*overrides])


def train_once(folder: Path, settings: list[str]) -> None:
    """Train once; do nothing if ``folder`` has a finished run."""
    if (folder / "result.json").exists():
        return
    cfg = composed("train", [*settings, f"paths.run_dir={folder}"])
    check_training(cfg)
    with start_training(cfg) as run:
        run.finish(run.fit())


def main() -> None:
    """Run the study."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m bench.compare_digits", description=__doc__)
    parser.add_argument("--trainings", type=int, default=6)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--folder", type=Path, default=Path("logs/compare_digits"))
    asked = parser.parse_args()
    register_resolvers()
    for i, (name, settings) in enumerate(SETTINGS.items()):
        for j in range(asked.trainings):
            # Different seeds for all trainings; equal seeds would correlate trainings of two settings.
            train_once(asked.folder / name / str(j), [*BASE, *QUICK, *settings, f"seed={i * asked.trainings + j}"])
    home = asked.folder / "evaluation"
    groups = "{" + ", ".join(f"{name}: {asked.folder / name}" for name in SETTINGS) + "}"
    command = ["mode=compare", f"groups={groups}", "sampler=heun", "sampler.grid.steps=6", f"draws={asked.draws}"]
    command += [f"num_samples={asked.samples}", "metrics=[frechet]"]
    overrides = [f"++{c}" if c.startswith("sampler.") else c for c in command]
    evaluate.__wrapped__(  # type: ignore[attr-defined] # the command without its command line
        composed(
            "evaluate",
            [*overrides, f"batch_size={asked.samples}", f"output_dir={home}", "accelerator=cpu", "devices=1"],
        )
    )
    record = json.loads((home / "metrics.json").read_text())
    kept = [result for result in record["results"] if result["task"] in ("spread", "compare")]
    training = {name: " ".join([*BASE, *settings]) for name, settings in SETTINGS.items()}
    content = {"command": "python -m bench.compare_digits", "evaluation": " ".join(command), "training": training}
    write_json(RESULTS, {**content, "results": kept})
    shutil.copy(home / "compare.png", PICTURE)
    _log.info("%s and %s", RESULTS, PICTURE)


if __name__ == "__main__":
    main()
