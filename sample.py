"""Sample from a checkpoint: ``python sample.py ckpt_path=last num_samples=1000``, ``python sample.py --help``."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from src.cli.arguments import of_checkpoint
from src.cli.entry import entry
from src.config_dir import CONFIG_DIR


@entry("sample")
def main(cfg: DictConfig) -> float | None:
    """Images, a grid and a manifest in a folder; the first score, if there is one."""
    # Heavy libraries only once the command line is known to be good.
    from src.tasks.sample.task import SamplingRun

    with SamplingRun(cfg) as run:
        run.check()
        run.restore()
        run.launch()
        run.open_folder()
        run.generate()
        run.finish_folder()
        run.draw()
        run.score()
        return run.finish()


if __name__ == "__main__":
    sys.argv[1:] = of_checkpoint(sys.argv[1:], CONFIG_DIR)
    main()
