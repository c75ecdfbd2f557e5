"""The picture of a comparison: every draw of every training, the means of the groups, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....io.atomic import replacing
from ....sinks.record import Result


def draw_comparison(path: Path, groups: Sequence[Result], pairs: Sequence[Result], score: str) -> None:
    """Write the picture as a PNG; raise UserError if the file cannot be written.

    Args:
        path: file to write.
        groups: results of ``spreads``.
        pairs: results of ``differences``; none for a single group.
        score: name of the score.
    """
    # Imported here because the import takes a second.
    from matplotlib.figure import Figure

    height = 1.4 + 0.5 * max(len(pairs), 6)
    figure = Figure(figsize=(11 if pairs else 7, height), layout="constrained")
    panels = figure.subplots(1, 2 if pairs else 1, width_ratios=[3, 2] if pairs else None, squeeze=False)[0]
    left, ticks = panels[0], []
    at = 0.0
    for i, group in enumerate(groups):
        first, color = at, f"C{i % 10}"
        for row in group.details.values():
            left.plot([at] * len(row), row, ".", color=color, alpha=0.5, ms=6)
            left.plot([at - 0.3, at + 0.3], [sum(row) / len(row)] * 2, color=color, lw=1.5)
            at += 1
        mean = group.values["mean"]
        assert mean is not None
        left.plot([first - 0.4, at - 0.6], [mean, mean], color="0.25", lw=1)
        if "mean" in group.intervals:
            left.fill_between([first - 0.4, at - 0.6], *group.intervals["mean"], color=color, alpha=0.15, lw=0)
        ticks.append(((first + at - 1) / 2, group.label))
        at += 1
    left.set_xticks([x for x, _ in ticks], [_wrapped(name) for _, name in ticks])
    left.set(ylabel=score, title="draws (points), trainings (lines), 95 % interval of the setting's mean")
    left.title.set_fontsize(9)
    left.grid(axis="y", alpha=0.3)
    if pairs:
        right = panels[1]
        right.axvline(0, color="0.4", lw=1)
        for i, pair in enumerate(pairs):
            value = pair.values["difference"]
            assert value is not None
            for name, offset, color, text in (
                ("difference", 0.0, "C0", "for new trainings"),
                ("difference_of_these_trainings", 0.22, "C1", "of these trainings, for new draws"),
            ):
                ends = pair.intervals.get(name)
                error = None if ends is None else [[max(value - ends[0], 0)], [max(ends[1] - value, 0)]]
                right.errorbar(
                    [value], [i + offset], xerr=error, fmt="o", color=color, capsize=4, label=text if i == 0 else None
                )
        right.set_yticks(range(len(pairs)), [_wrapped(pair.label) for pair in pairs])
        right.set_ylim(len(pairs) - 0.4, -0.6)
        right.set(xlabel=f"difference of {score}")
        right.legend(fontsize=8, frameon=False, loc="best")
        right.grid(axis="x", alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _wrapped(text: str) -> str:
    return "\n".join(part[:36] for part in text.replace(" - ", "\nless ").split(" "))[:160]
