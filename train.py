"""Train a score model: ``python train.py experiment=digits``, ``python train.py --help``."""

from __future__ import annotations

from omegaconf import DictConfig

from src.cli.entry import entry


@entry("train")
def main(cfg: DictConfig) -> float | None:
    """One training run; the optimised metric, for a sweeper."""
    # Heavy libraries only once the command line is known to be good.
    from src.tasks.train import Run

    with Run(cfg) as run:
        run.check()
        run.prepare_data()
        run.build()
        run.fit()
        run.test()
        return run.finish()


if __name__ == "__main__":
    main()
