"""Sample from a checkpoint: ``python sample.py ckpt_path=last num_samples=1000``, ``python sample.py --help``."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from src.cli.arguments import of_checkpoint
from src.cli.entry import entry
from src.config_dir import CONFIG_DIR


@entry("sample")
def main(cfg: DictConfig) -> float | None:
    """Write images, a grid and a manifest to a folder; return the first score, if there is one."""
    # Heavy libraries only once the command line is known to be good.
    from src.tasks.sample.plan import check_sampling, plan_sampling
    from src.tasks.sample.task import start_sampling

    request = check_sampling(cfg)
    plan = plan_sampling(request)
    with start_sampling(plan) as run:
        run.generate()
        run.draw()
        scores = run.score()
        return run.finish(scores)


if __name__ == "__main__":
    sys.argv[1:] = of_checkpoint(sys.argv[1:], CONFIG_DIR)
    main()
