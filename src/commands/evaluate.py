"""Score checkpoints or images: ``score-sde evaluate ckpt_path=last``, in a checkout ``python evaluate.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cli.arguments import checkpoint_arguments
from ..cli.entry import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry("evaluate", arguments=checkpoint_arguments)
def main(cfg: DictConfig) -> float | None:
    """Print a table, write ``metrics.json``; return the first value of the last row."""
    # Import heavy libraries only once the command line is known to be valid.
    from ..tasks.evaluate.plan import check_evaluation, plan_evaluation
    from ..tasks.evaluate.task import start_evaluation

    request = check_evaluation(cfg)
    plan = plan_evaluation(request)
    with start_evaluation(plan) as evaluation:
        work = evaluation.prepare()
        results = evaluation.run(work)
        evaluation.report(results)
        return evaluation.finish(results)


if __name__ == "__main__":
    main()
