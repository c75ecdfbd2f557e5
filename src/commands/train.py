"""Train a score model: ``score-sde train experiment=digits``, in a checkout ``python train.py experiment=digits``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cli.arguments import training_arguments
from ..cli.entry import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry("train", arguments=training_arguments)
def main(cfg: DictConfig) -> float | None:
    """Train once; return the optimized metric, for a sweeper."""
    # Import heavy libraries only once the command line is known to be valid.
    from ..tasks.train.plan import check_training
    from ..tasks.train.task import start_training

    check_training(cfg)
    with start_training(cfg) as run:
        metrics = run.fit()
        metrics |= run.test()
        value = run.finish(metrics)
    run.report()
    return value


if __name__ == "__main__":
    main()
