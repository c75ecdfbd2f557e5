"""The picture of a comparison of samplers: distance against function evaluations, and against seconds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from ....io.atomic import replacing
from ....sinks.record import Result
from ..pareto import front

_MARKERS = "osD^vP*X<>"
_APART = 0.06
"""Smallest distance of two labels, as a share of the axis."""

_COSTS = {"nfe": "function evaluations (NFE) per image", "seconds_per_image": "seconds per image"}


def draw_scores(path: Path, entries: Sequence[Result], value: str, caption: str) -> None:
    """Write ``figure`` as a PNG; raise UserError if the file cannot be written."""
    drawn = figure(entries, value, caption)
    with replacing(path) as temporary:
        drawn.savefig(temporary, format="png", dpi=150)


def figure(entries: Sequence[Result], value: str, caption: str) -> Any:
    """Return a matplotlib figure: a curve for each checkpoint and sampler; the best point of every budget shows its
    value.

    Args:
        entries: the points; entries without the value are left out.
        value: name of the value to draw.
        caption: what all points have in common.
    """
    # Imported here because the import takes a second.
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(13, 5.8), layout="constrained")
    panels: Any = drawn.subplots(1, len(_COSTS), sharey=True)
    shown = [entry for entry in entries if entry.values.get(value) is not None]
    for panel, (cost, words) in zip(panels, _COSTS.items(), strict=True):
        _curves(panel, shown, value, cost)
        _annotate(panel, shown, value, cost)
        panel.set(xscale="log", yscale="log", xlabel=words)
        panel.margins(0.1, 0.14)
        _plain_ticks(panel, [entry.conditions[cost] for entry in shown] if cost == "nfe" else [])
        panel.grid(True, which="major", alpha=0.3)
    panels[0].set_ylabel(value)
    panels[-1].legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1))
    drawn.suptitle(_wrapped(caption), fontsize=8, color="0.35")
    return drawn


def _curves(panel: Any, entries: Sequence[Result], value: str, cost: str) -> None:
    several = len({entry.about["name"] for entry in entries}) > 1
    groups: dict[tuple[str, str], list[Result]] = {}
    for entry in entries:
        groups.setdefault((entry.about["name"], entry.subject["sampler"]), []).append(entry)
    # One color and marker for each sampler, one line style for each checkpoint.
    styles = dict(zip(dict.fromkeys(name for name, _ in groups), cycle(("-", "--", ":", "-.")), strict=False))
    looks = {sampler: i for i, sampler in enumerate(dict.fromkeys(sampler for _, sampler in groups))}
    for name, sampler in groups:
        look = looks[sampler]
        points = sorted(groups[name, sampler], key=lambda e: e.conditions[cost])
        panel.plot(
            [point.conditions[cost] for point in points],
            [point.values[value] for point in points],
            color=f"C{look % 10}",
            marker=_MARKERS[look % len(_MARKERS)],
            linestyle=styles[name],
            markersize=6,
            linewidth=1.6,
            label=f"{sampler}, {name}" if several else sampler,
        )


def _annotate(panel: Any, entries: Sequence[Result], value: str, cost: str) -> None:
    best_of = front(entries, value, cost)
    costs = [entry.conditions[cost] for entry in entries]
    apart = (max(costs, default=1) / min(costs, default=1)) ** _APART
    above: float | None = None
    for best in reversed(best_of):
        # If two labels would overlap, the better point gets its label.
        if above is not None and above < best.conditions[cost] * apart:
            continue
        above = best.conditions[cost]
        panel.annotate(
            f"{best.values[value]:.3g}",
            (best.conditions[cost], best.values[value]),
            xytext=(0, -13),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            fontweight="bold",
        )


def _plain_ticks(panel: Any, costs: Sequence[float]) -> None:
    """Format numbers for reading."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    if costs and max(costs) < 20 * min(costs):
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _wrapped(text: str, width: int = 170) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
