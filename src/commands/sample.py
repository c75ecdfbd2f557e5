"""Sample from a checkpoint: ``score-sde sample ckpt_path=last``, in a checkout ``python sample.py ckpt_path=last``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cli.arguments import checkpoint_arguments
from ..cli.entry import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry("sample", arguments=checkpoint_arguments)
def main(cfg: DictConfig) -> float | None:
    """Write images, a grid and a manifest to a folder; return the first score, if there is one."""
    # Import heavy libraries only once the command line is known to be valid.
    from ..tasks.sample.plan import check_sampling, plan_sampling
    from ..tasks.sample.task import start_sampling

    request = check_sampling(cfg)
    plan = plan_sampling(request)
    with start_sampling(plan) as run:
        run.generate()
        run.draw()
        scores = run.score()
        return run.finish(scores)


if __name__ == "__main__":
    main()
