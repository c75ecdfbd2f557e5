"""The picture of a Fréchet distance against the number of samples, with its extrapolation (Chong and Forsyth 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....io.atomic import replacing
from ....sinks.record import Result


def draw_curve(path: Path, results: Sequence[Result], name: str) -> bool:
    """Draw the distance ``name`` of every result that has a curve; return False if none has, raise UserError if the
    file cannot be written.

    The horizontal axis is 1 / N, in which the bias is a straight line; at the left edge it reaches the extrapolated
    value.
    """
    shown = [result for result in results if f"{name}_curve" in result.details]
    if not shown:
        return False
    # Imported here because the import takes a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    for i, result in enumerate(shown):
        counts, values = result.details[f"{name}_curve_samples"], result.details[f"{name}_curve"]
        infinity = result.values[f"{name}_infinity"]
        assert infinity is not None
        low, high = result.intervals[f"{name}_infinity"]
        inverse = [1 / count for count in counts]
        slope = sum((y - infinity) * x for x, y in zip(inverse, values, strict=True)) / sum(x * x for x in inverse)
        color = f"C{i % 10}"
        axes.plot(inverse, values, "o", color=color, label=f"{result.label}: {infinity:.4g} ({low:.4g} to {high:.4g})")
        axes.plot([0, max(inverse)], [infinity, infinity + slope * max(inverse)], color=color, lw=1)
        axes.errorbar([0], [infinity], [[infinity - low], [high - infinity]], fmt="s", color=color, capsize=4)
    counts = shown[0].details[f"{name}_curve_samples"]
    axes.set_xticks([0, *(1 / count for count in counts)], ["∞", *(f"{count:,.0f}" for count in counts)])
    axes.set(xlabel="number of samples", ylabel=name, title=f"{name} at infinitely many samples, 95 % interval")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return True
