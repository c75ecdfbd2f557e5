"""Figures of a report as plain containers in plotly's format; the page sets colors and fonts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ...io.results import FILE, is_finite
from .comparison import Comparison
from .folder import Folder

COLORS = ("#2b8cd6", "#e0641b", "#17a57c", "#cc79a7", "#d99a00", "#4fb0e3", "#9a78c9", "#8a8f98")
"""Close to the colors of Okabe and Ito, which color-blind readers can distinguish; visible on white and on black."""

_MOST_POINTS = 1500
_SMOOTHED_FROM, _WINDOWS = 30, 25
_HIDDEN = ("epoch", "time")
_NOISY = ("loss", "grad_norm")
_TITLES = {"loss": "Loss", "lr": "Learning rate", "grad_norm": "Gradient norm"}

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Figure:
    """A figure with its title; ``content`` has plotly's ``data`` and ``layout``."""

    title: str
    content: Mapping[str, Any]


def curves(folders: Sequence[Folder]) -> list[Figure]:
    """Return figures of everything that training logged against the step: all losses in one, every other value in its
    own.
    """
    scored = {name for folder in folders for name in _training_scores(folder)}
    ends = {f"{name}_{end}" for name in scored for end in ("low", "high")}
    names = dict.fromkeys(name for folder in folders for name in folder.columns)
    groups: dict[str, list[str]] = {"loss": [], "lr": [], "grad_norm": []}
    for name in names:
        if name not in (*_HIDDEN, *scored, *ends):
            groups.setdefault(name.rpartition("/")[2], []).append(name)
    return [_curve(folders, last, columns) for last, columns in groups.items() if columns]


def score_curves(folders: Sequence[Folder]) -> list[Figure]:
    """Scores that training computed at several steps, with their intervals; a figure for each."""
    found = [_training_scores(folder) for folder in folders]
    # The spread of a score over subsets is not a score.
    names = dict.fromkeys(name for scores in found for name in scores if not name.endswith("_std"))
    figures = []
    for name in names:
        traces = [
            _with_interval(scores[name], folder.label, COLORS[i % len(COLORS)])
            for i, (folder, scores) in enumerate(zip(folders, found, strict=True))
            if len(scores.get(name, ())) > 1
        ]
        if traces:
            figures.append(_figure(name, traces, "step", name, legend=len(folders) > 1))
    return figures


def pareto(results: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The first score of results of ``mode=pareto`` against evaluations of the net; None if there are none."""
    shown = [r for r in results if {"sampler", "steps"} <= r["subject"].keys() and r.get("conditions", {}).get("nfe")]
    if len(shown) < 2:
        return None
    value = next(iter(shown[0]["values"]))
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in shown:
        if is_finite(result["values"].get(value)):
            name = result.get("about", {}).get("name", "")
            groups.setdefault(f"{result['subject']['sampler']} {name}".strip(), []).append(result)
    traces = []
    for i, (label, members) in enumerate(groups.items()):
        members.sort(key=lambda result: result["conditions"]["nfe"])
        points = [(r["conditions"]["nfe"], r["values"][value], r.get("intervals", {}).get(value)) for r in members]
        traces.append(_with_interval(points, label, COLORS[i % len(COLORS)], "evaluations"))
    return _figure(f"{value} against cost", traces, "evaluations of the net per image", value, log_x=True, log_y=True)


def by_samples(results: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Each Fréchet distance against 1 / N with its extrapolation to infinitely many samples, by name."""
    traces: dict[str, list[dict[str, Any]]] = {}
    ticks: dict[str, dict[float, str]] = {}
    for result in results:
        details = result.get("details", {})
        for name in result["values"]:
            counts, values = (details.get(f"{name}_curve{end}") for end in ("_samples", ""))
            end = result["values"].get(f"{name}_infinity")
            if not (isinstance(counts, list) and isinstance(values, list) and is_finite(end) and counts):
                continue
            points = [(1 / count, value, None) for count, value in zip(counts, values, strict=False)]
            points.append((0.0, end, result.get("intervals", {}).get(f"{name}_infinity")))
            group = traces.setdefault(name, [])
            shown = _with_interval(points, str(result["label"]), COLORS[len(group) % len(COLORS)])
            hover = [f"{count:,.0f} samples" for count in counts] + ["infinitely many samples"]
            group.append(shown | {"text": hover, "hovertemplate": "%{text}<br>%{y:.4~g}"})
            ticks.setdefault(name, {0.0: "∞"}).update({1 / count: f"{count:,.0f}" for count in counts})
    found = {}
    for name, group in traces.items():
        found[name] = _figure(name, group, "number of samples", name, legend=len(group) > 1)
        found[name].content["layout"]["xaxis"].update(tickvals=list(ticks[name]), ticktext=list(ticks[name].values()))
    return found


def draws(found: Comparison) -> list[Figure]:
    """Every draw of every training, by group, and the mean of each group with its interval; none without a verdict."""
    spreads = {result["label"]: result for result in found.results if result["task"] == "spread"}
    traces: list[dict[str, Any]] = []
    at, ticks = 0, []
    for i, (name, rows) in enumerate((found.groups or {}).items()):
        places = range(at, at + len(rows))
        traces.append(
            {
                **{"type": "scatter", "mode": "markers", "name": escape(name), "showlegend": False},
                "x": [place for place, row in zip(places, rows, strict=True) for _ in row],
                "y": [value for row in rows for value in row],
                "marker": {"size": 8, "opacity": 0.6, "color": COLORS[i % len(COLORS)]},
                "hovertemplate": f"{escape(name)}<br>%{{y:.4~g}}",
            }
        )
        result = spreads[name]
        mean = [(at + len(rows), result["values"]["mean"], result["intervals"].get("mean"))]
        shown = _with_interval(mean, name, COLORS[i % len(COLORS)])
        hover = "mean %{y:.4~g} (%{customdata[0]:.4~g} to %{customdata[1]:.4~g})"
        traces.append(shown | {"mode": "markers", "marker": {"size": 10, "symbol": "diamond"}, "hovertemplate": hover})
        ticks.append(at + len(rows) / 2)
        at += len(rows) + 2
    if not traces:
        return []
    names = [escape(name.replace(" ", "\n")).replace("\n", "<br>") for name in found.groups or {}]
    figure = _figure(
        f"{found.score}: draws of each training, mean of each setting", traces, "", found.score, legend=False
    )
    figure.content["layout"]["xaxis"].update(tickvals=ticks, ticktext=names, zeroline=False)
    return [figure]


def _curve(folders: Sequence[Folder], last: str, columns: Sequence[str]) -> Figure:
    traces: list[dict[str, Any]] = []
    everything: list[float] = []
    for column in columns:
        for folder in folders:
            points = [(x, y) for x, y in folder.columns.get(column, ()) if math.isfinite(y)]
            if not points:
                continue
            everything += [y for _, y in points]
            color = COLORS[(len(traces) if len(folders) == 1 else folders.index(folder)) % len(COLORS)]
            label = column if len(folders) == 1 else f"{folder.label} {column}" if len(columns) > 1 else folder.label
            dash = "solid" if len(folders) == 1 or columns.index(column) == 0 else "dot"
            traces += _line(points, label, color, dash, noisy=last in _NOISY)
    low, high = min(everything, default=1.0), max(everything, default=1.0)
    title = _TITLES.get(last, last)
    several = sum("showlegend" not in trace for trace in traces) > 1
    return _figure(title, traces, "step", "", several, log_y=low > 0 and high > 20 * low and last != "lr")


def _line(points: Points, label: str, color: str, dash: str, noisy: bool) -> Iterator[dict[str, Any]]:
    """Draw a curve; a long noisy curve is drawn faint, with its average on top."""
    smooth = noisy and len(points) >= _SMOOTHED_FROM
    line = {"color": color, "dash": dash, "width": 2}
    shown = {"type": "scatter", "name": escape(label), "legendgroup": label}
    if smooth:
        faint = {"line": {**line, "width": 1}, "opacity": 0.3, "showlegend": False, "hoverinfo": "skip"}
        yield {**shown, **_xy(points), **faint, "mode": "lines"}
    drawn = _smoothed(points) if smooth else points
    mode = "lines" if len(points) > 12 else "lines+markers"
    yield {**shown, **_xy(drawn), "line": line, "mode": mode, "hovertemplate": "step %{x:,}<br>%{y:.4~g}"}


def _with_interval(
    points: Sequence[tuple[float, float, Any]], label: str, color: str, unit: str = "step"
) -> dict[str, Any]:
    ends = [e if isinstance(e, list) and len(e) == 2 and all(map(is_finite, e)) else [y, y] for _, y, e in points]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(label),
        "x": [x for x, _, _ in points],
        "y": [y for _, y, _ in points],
        "line": {"color": color, "width": 2},
        "marker": {"size": 7},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [max(high - y, 0.0) for (_, y, _), (_, high) in zip(points, ends, strict=True)],
            "arrayminus": [max(y - low, 0.0) for (_, y, _), (low, _) in zip(points, ends, strict=True)],
            "thickness": 1.2,
            "width": 4,
        },
        "customdata": ends,
        "hovertemplate": unit + " %{x:,}<br>%{y:.4~g} (%{customdata[0]:.4~g} to %{customdata[1]:.4~g})",
    }


def _figure(
    title: str,
    traces: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    legend: bool = True,
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    layout = {
        "xaxis": {"title": {"text": escape(x)}, "type": "log" if log_x else "linear"},
        "yaxis": {"title": {"text": escape(y)}, "type": "log" if log_y else "linear"},
        "showlegend": legend,
    }
    return Figure(title, {"data": list(traces), "layout": layout})


def _training_scores(folder: Folder) -> dict[str, list[tuple[float, float, Any]]]:
    """(step, value, interval) of each score in ``scores.jsonl``."""
    found: dict[str, list[tuple[float, float, Any]]] = {}
    for path, result in folder.results:
        step = result["subject"].get("step")
        if path.name != FILE and is_finite(step):
            for name, value in result["values"].items():
                if is_finite(value):
                    found.setdefault(str(name), []).append((step, value, result.get("intervals", {}).get(name)))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in found.items()}


def _smoothed(points: Points) -> list[tuple[float, float]]:
    """Exponential average over about a twenty-fifth of the curve, with bias correction."""
    keep = 1 - 1 / max(2.0, len(points) / _WINDOWS)
    total = weight = 0.0
    found = []
    for x, y in points:
        total, weight = keep * total + (1 - keep) * y, keep * weight + (1 - keep)
        found.append((x, total / weight))
    return found


def _xy(points: Points) -> dict[str, list[float]]:
    # Always keep the last point, which readers look for.
    stride = math.ceil(len(points) / _MOST_POINTS)
    kept = [*points[::stride], *(points[-1:] if (len(points) - 1) % stride else ())]
    return {"x": [x for x, _ in kept], "y": [y for _, y in kept]}
