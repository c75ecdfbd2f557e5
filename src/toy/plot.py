"""A picture of a score model of points in the plane."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from .view import REACH, ScoreField, ToyView

_DATA = "#b9bfc9"
_LEARNED = "#d1495b"
_EXACT = "#2e4057"
_SAMPLES = "#1f78b4"
_DENSITY = "Blues"
_DOTS = 3000
# Contours and the color scale are relative to the highest density.
_CONTOURS = (0.02, 0.2, 0.6)
_LOG_P_SPAN = 8.0


def plot(view: ToyView, title: str) -> Tensor:
    """Return the picture (3, H, W) uint8 of a view.

    Args:
        view: what to show.
        title: title of the picture.
    """
    figure = Figure(figsize=(13.2, 9.2), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, color=_EXACT)
    axes = figure.subplots(2, 3)
    _points(axes[0, 0], view)
    for column, field in enumerate(view.fields, start=1):
        _score(axes[0, column], field)
    _trajectories(axes[1, 0], view)
    _density(axes[1, 1], view)
    (_likelihoods if view.exact_log_p is not None else _histogram)(axes[1, 2], view)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return torch.from_numpy(np.array(Image.open(buffer).convert("RGB"))).movedim(-1, 0)


def _points(axes: Axes, view: ToyView) -> None:
    axes.scatter(view.data[:_DOTS, 0], view.data[:_DOTS, 1], s=9, color=_DATA, linewidths=0, label="data")
    axes.scatter(
        view.samples[:_DOTS, 0], view.samples[:_DOTS, 1], s=5, color=_SAMPLES, alpha=0.55, linewidths=0, label="samples"
    )
    _square(axes, "data and samples")
    axes.legend(loc="upper right", markerscale=2, fontsize=9, framealpha=0.9)


def _score(axes: Axes, field: ScoreField) -> None:
    # Except for a few, the longest arrows reach to the next one.
    longest = float((field.learned if field.exact is None else field.exact).norm(dim=1).quantile(0.9))
    lengths: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": max(longest, 1e-6) / field.spacing}
    if field.exact is not None:
        axes.quiver(*field.points.T, *field.exact.T, color=_DATA, width=0.011, label="exact", **lengths)
    axes.quiver(*field.points.T, *field.learned.T, color=_LEARNED, width=0.0035, label="learned", **lengths)
    _square(axes, rf"score at noise level $\sigma/\alpha$ = {field.level:g}")
    axes.legend(loc="upper right", fontsize=9, framealpha=0.9)


def _trajectories(axes: Axes, view: ToyView) -> None:
    paths = view.paths.movedim(1, 0).numpy()
    segments = np.concatenate([paths[:, :-1, None], paths[:, 1:, None]], axis=2)
    progress = np.broadcast_to(np.linspace(0.15, 1, segments.shape[1]), segments.shape[:2])
    lines = LineCollection(
        list(segments.reshape(-1, 2, 2)), cmap="viridis_r", array=progress.ravel(), linewidths=0.9, alpha=0.9
    )
    lines.set_clim(0, 1)
    axes.add_collection(lines)
    axes.scatter(
        paths[:, 0, 0],
        paths[:, 0, 1],
        s=10,
        facecolors="white",
        edgecolors=_EXACT,
        linewidths=0.7,
        zorder=3,
        label="prior",
    )
    axes.scatter(paths[:, -1, 0], paths[:, -1, 1], s=12, color=_EXACT, linewidths=0, zorder=3, label="data")
    _square(axes, "probability-flow ODE, scaled to unit variance")
    axes.legend(loc="upper right", fontsize=9, framealpha=0.9)


def _density(axes: Axes, view: ToyView) -> None:
    extent = (-REACH, REACH, -REACH, REACH)
    reference = view.density if view.exact_density is None else view.exact_density
    top = float(reference.max().exp())
    axes.imshow(
        view.density.exp(), origin="lower", extent=extent, cmap=_DENSITY, vmin=0, vmax=top, interpolation="bicubic"
    )
    title = "learned density"
    if view.exact_density is not None:
        axis = np.linspace(-REACH, REACH, len(view.exact_density))
        levels = [share * top for share in _CONTOURS]
        axes.contour(axis, axis, view.exact_density.exp(), levels=levels, colors=_EXACT, linewidths=0.8)
        title += ", contours of the exact one"
    _square(axes, title)


def _likelihoods(axes: Axes, view: ToyView) -> None:
    assert view.exact_log_p is not None
    exact, learned = view.exact_log_p, view.log_p
    high = float(exact.max()) + 0.8
    low = high - _LOG_P_SPAN
    axes.plot([low, high], [low, high], color=_EXACT, linewidth=1, zorder=1)
    axes.scatter(exact, learned.clamp(min=low), s=10, color=_LEARNED, alpha=0.6, linewidths=0)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel("exact ln p / nats", fontsize=9)
    axes.set_ylabel("learned ln p / nats", fontsize=9)
    axes.set_title("log-likelihood of data", fontsize=11)
    axes.text(
        0.04,
        0.96,
        f"mean    exact {exact.mean():.3f}\n      learned {learned.mean():.3f}",
        transform=axes.transAxes,
        va="top",
        family="monospace",
        fontsize=9,
    )
    _soften(axes)


def _histogram(axes: Axes, view: ToyView) -> None:
    high = float(torch.cat([view.log_p, view.log_p_samples]).max())
    bins = np.linspace(high - _LOG_P_SPAN, high, 41).tolist()
    for values, color, name in ((view.log_p, "#8d96a5", "data"), (view.log_p_samples, _SAMPLES, "samples")):
        label = f"{name}, mean {values.mean():.3f}"
        axes.hist(values.clamp(min=bins[0]), bins, histtype="step", color=color, linewidth=1.6, label=label)
    axes.set_xlabel("learned ln p / nats", fontsize=9)
    axes.set_title("log-likelihood", fontsize=11)
    axes.set_box_aspect(1)
    axes.legend(loc="upper left", fontsize=9, framealpha=0.9)
    _soften(axes)


def _square(axes: Axes, title: str) -> None:
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    axes.set_title(title, fontsize=11)
    _soften(axes)


def _soften(axes: Axes) -> None:
    axes.tick_params(labelsize=8, color=_DATA)
    for spine in axes.spines.values():
        spine.set_color(_DATA)
