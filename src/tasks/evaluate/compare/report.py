"""Show the scores of all draws of all trainings: a table, a verdict, a picture, and entries of ``metrics.json``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from ....distributed import on_rank_zero
from ....errors import UserError
from ....sinks.record import Record, Result
from ....sinks.table import table
from .picture import draw_comparison
from .verdict import COMPARE, SPREAD, complete_draws, differences, spreads

_log = logging.getLogger(__name__)

PICTURE = "compare.png"


def report_comparison(
    record: Record, groups: Sequence[tuple[str, int]], draws: int, results: Sequence[Result], score: str
) -> Path:
    """Print and store what the scores show; all processes call it.

    Args:
        record: results of the output folder.
        groups: name and number of trainings of each group.
        draws: number of draws of each training.
        results: one for each draw of each training of each group, in this order.
        score: name of the score that is compared.

    Returns:
        The path of the picture.

    Raises:
        UserError: there is no such score.
    """
    available = dict.fromkeys(name for result in results for name in result.values)
    if score not in available:
        raise UserError(f"distance={score} is not among the scores: choose one of {', '.join(available)}")
    waiting: Iterator[Result] = iter(results)
    grouped = {name: [list(islice(waiting, draws)) for _ in range(count)] for name, count in groups}
    tables = {name: [[r.values.get(score) for r in row] for row in rows] for name, rows in grouped.items()}
    scores, notes = complete_draws(tables)
    base = {name: rows[0][0] for name, rows in grouped.items()}
    spread, pairs = spreads(scores, score, base), differences(scores, score, base)
    for result in [*spread, *pairs]:
        result.notes += notes
    _log.info("%s of each group\n%s", score, "\n".join(table(spread)))
    if not pairs:
        _log.info("there is one group, so nothing is compared: name another, as 'groups=[FOLDER,FOLDER]'")
    for pair in pairs:
        for note in pair.notes:
            _log.info("%s", note)
    picture = record.path.parent / PICTURE
    on_rank_zero(partial(record.replace, (SPREAD, COMPARE), [*spread, *pairs]))
    on_rank_zero(partial(draw_comparison, picture, spread, pairs, score))
    _log.info("picture in %s", picture)
    return picture
