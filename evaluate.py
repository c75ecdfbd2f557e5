"""Score checkpoints or images: ``python evaluate.py ckpt_path=last``, ``python evaluate.py --help``."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from src.cli.arguments import of_checkpoint
from src.cli.entry import entry
from src.config_dir import CONFIG_DIR


@entry("evaluate")
def main(cfg: DictConfig) -> float | None:
    """Print a table, write ``metrics.json``; return the first value of the last row."""
    # Heavy libraries only once the command line is known to be good.
    from src.tasks.evaluate.plan import check_evaluation, plan_evaluation
    from src.tasks.evaluate.task import start_evaluation

    request = check_evaluation(cfg)
    plan = plan_evaluation(request)
    with start_evaluation(plan) as evaluation:
        work = evaluation.prepare()
        results = evaluation.run(work)
        evaluation.report(results)
        return evaluation.finish(results)


if __name__ == "__main__":
    sys.argv[1:] = of_checkpoint(sys.argv[1:], CONFIG_DIR)
    main()
