"""Score checkpoints or images: ``python evaluate.py ckpt_path=last``, ``python evaluate.py --help``."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from src.cli.arguments import of_checkpoint
from src.cli.entry import entry
from src.config_dir import CONFIG_DIR


@entry("evaluate")
def main(cfg: DictConfig) -> float | None:
    """A table and ``metrics.json`` in a folder; the first value of the last row."""
    # Heavy libraries only once the command line is known to be good.
    from src.tasks.evaluate.task import Evaluation

    with Evaluation(cfg) as evaluation:
        evaluation.check()
        evaluation.plan()
        evaluation.launch()
        evaluation.open_record()
        evaluation.prepare()
        evaluation.run()
        evaluation.report()
        return evaluation.finish()


if __name__ == "__main__":
    sys.argv[1:] = of_checkpoint(sys.argv[1:], CONFIG_DIR)
    main()
