"""The draws of samples that a comparison needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from omegaconf import DictConfig

from ..environment import ScoringSetups
from ..jobs.scores import ScoresJob
from ..subjects import Subject
from .groups import differing_settings, training_name

_log = logging.getLogger(__name__)


def comparison_jobs(
    cfg: DictConfig, groups: Sequence[tuple[str, int]], subjects: Sequence[Subject], setups: ScoringSetups
) -> Iterator[ScoresJob]:
    """Return one job for each draw of each training; draw j uses the seed ``cfg.seed + j`` for all trainings.

    Args:
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        groups: name and number of trainings of each group.
        subjects: the trainings, one group after the other.
        setups: metrics and data, shared with other jobs.

    Raises:
        UserError: the settings do not fit a checkpoint.
    """
    waiting = iter(subjects)
    for name, count in groups:
        members = list(islice(waiting, count))
        mixed = differing_settings([member.config for member in members])
        if mixed:
            _log.warning("the trainings of %s differ in more than seeds: %s", name, ", ".join(mixed[:4]))
        if len({member.step for member in members}) > 1:
            steps = ", ".join(str(member.step) for member in members)
            _log.warning("the trainings of %s are at different steps: %s", name, steps)
        for member in members:
            labeled = replace(member, label=f"{name} {training_name(member.path)}")
            for j in range(cfg.draws):
                yield ScoresJob(cfg, labeled, setups, None, {"draw": f"draw {j + 1}"}, cfg.seed + j)
