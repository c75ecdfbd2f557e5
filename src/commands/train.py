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
    from ..tasks.train import Run

    with Run(cfg) as run:
        run.check()
        run.prepare_data()
        run.build()
        run.fit()
        run.test()
        value = run.finish()
    run.report()
    return value


if __name__ == "__main__":
    main()
