"""The picture of the few-step study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.io.atomic import replacing

_COLORS = {"VE net": "C3", "EDM net": "C0", "exact": "0.3", "constant": "0.6"}
_MORE_COLORS = ("C1", "C4", "C5", "C8", "C9")
_WORDS = {"exact": "exact score", "constant": "the mean image"}


def draw(path: Path, levels: Sequence[float], results: Mapping[str, Any]) -> None:
    """Draw three panels over the noise level: error, answer to excess noise (same colors), noise along the path."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(14, 4.6), layout="constrained")
    error, answer, along = figure.subplots(1, 3)
    for panel, part in ((error, "error"), (answer, "answer")):
        for name, values in results[part].items():
            style = "--" if name in _WORDS else "-"
            panel.plot(levels, values, style, color=_COLORS[name], label=_WORDS.get(name, name))
        for (name, measured), color in zip(results.get("trained otherwise", {}).items(), _MORE_COLORS, strict=False):
            panel.plot(levels, measured[part], color=color, lw=1, label=f"VE net, {name}")
    answer.axhline(0.5, color="0.8", zorder=0)
    answer.set(title="answer to 10 % more noise", ylabel="share recognized as noise", ylim=(0, 1.1))
    error.set(title="error of the data prediction", ylabel="root mean square", yscale="log", ylim=(0.01, 2))
    for (name, points), color in zip(results["path"].items(), ("C3", "0.3", "C2"), strict=True):
        along.plot(*zip(*points, strict=True), color=color, label=name)
    along.set(title="noise in the states", ylabel="relative to the correct noise", yscale="log")
    for panel in (error, answer, along):
        panel.set(xscale="log", xlabel="sigma, for data in [0, 1]")
        panel.invert_xaxis()
    for panel in (error, along):
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_formatter(NullFormatter())
    for panel in (error, answer, along):
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.grid(True, alpha=0.3)
    for panel in (error, along):
        panel.legend(frameon=False, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
