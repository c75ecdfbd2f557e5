"""``python -m bench.pareto docs/results/few_steps_scores.json docs/images/pareto.png``: draw scores of samplers.

The rows of ``python -m bench.scores`` that are named ``NET SAMPLER STEPS`` are drawn over their function evaluations,
with 95 % intervals: a color for each sampler, a line style for each net.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.io.atomic import replacing

_NAME = re.compile(r"(\w+) (\w+) \d+")
_STYLES = ("-", "--", ":", "-.")


def curves(results: Mapping[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows of each net and sampler, from few to many evaluations."""
    found: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for name, row in results.items():
        if named := _NAME.fullmatch(name):
            found[named[1], named[2]].append(row)
    return {key: sorted(rows, key=lambda row: float(row["evaluations"])) for key, rows in found.items()}


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(9, 5), layout="constrained")
    panel = figure.subplots()
    found = curves(results)
    nets = list(dict.fromkeys(net for net, _ in found))
    samplers = list(dict.fromkeys(sampler for _, sampler in found))
    for (net, sampler), rows in found.items():
        values = [row["values"]["frechet_pixel"] for row in rows]
        low, high = zip(*(row["intervals"]["frechet_pixel"] for row in rows), strict=True)
        spread = [
            [v - one for v, one in zip(values, low, strict=True)],
            [one - v for v, one in zip(values, high, strict=True)],
        ]
        color, style = f"C{samplers.index(sampler)}", _STYLES[nets.index(net)]
        evaluations = [row["evaluations"] for row in rows]
        label = f"{net}: {sampler}"
        panel.errorbar(
            evaluations, values, spread, fmt="o", ls=style, ms=5, capsize=2, elinewidth=0.8, color=color, label=label
        )
    panel.set(xscale="log", yscale="log", xlabel="evaluations of the net per image", ylabel="pixel Fréchet distance")
    for axis, ticks in ((panel.xaxis, (1, 1.5, 2, 3, 5, 7)), (panel.yaxis, (1, 2, 5))):
        axis.set_major_locator(LogLocator(subs=ticks))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    panel.grid(True, alpha=0.3)
    panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), handlelength=3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.pareto", description=__doc__)
    parser.add_argument("results", type=Path, help="results file of python -m bench.scores")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    arguments = parser.parse_args()
    draw(arguments.picture, json.loads(arguments.results.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
