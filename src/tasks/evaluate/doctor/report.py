"""Show what the doctor found: a table, sentences, a picture and an entry of ``metrics.json``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ....distributed import on_rank_zero
from ....io.atomic import replacing
from ....sinks.record import Record, Result
from ....sinks.table import aligned
from .evidence.base import Evidence
from .examination import Examination, Finding
from .job import DOCTOR
from .verdict import closest, sentences, suspect

_log = logging.getLogger(__name__)

PICTURE = "doctor.png"


def report_examination(record: Record, result: Result, claimed: float | None) -> Path:
    """Print and store the findings; all processes call it.

    Args:
        record: results of the output folder.
        result: result of a ``DoctorJob``.
        claimed: the score that was expected; None for the smallest possible one.

    Returns:
        The path of the picture.
    """
    found, score = examination_of(result.about["examination"]), next(iter(result.values))
    said = [*sentences(found, score, claimed), *(f"not tried: {text}" for text in found.skipped)]
    for line in [*_table(found, score), *said]:
        _log.info("%s", line)
    # The record of an earlier call may have another claim.
    values = {name: value for name, value in result.values.items() if name != "claimed"}
    if claimed is not None:
        values["claimed"] = claimed
    kept = replace(result, values=values, notes=said)
    others = [r for r in record.results if r.task == DOCTOR and r.subject != kept.plain()["subject"]]
    on_rank_zero(partial(record.replace, (DOCTOR,), [*others, kept]))
    picture = record.path.parent / PICTURE
    on_rank_zero(partial(draw_examination, picture, found, score, claimed))
    _log.info("picture in %s", picture)
    return picture


def examination_of(stored: Mapping[str, Any]) -> Examination:
    """Rebuild the examination from a record."""
    findings = [Finding(**finding) for finding in stored["findings"]]
    traces = stored.get("evidence")
    evidence = None if traces is None else [Evidence(**trace) for trace in traces]
    return Examination(**{**stored, "findings": findings, "evidence": evidence})


def draw_examination(path: Path, found: Examination, score: str, claimed: float | None) -> None:
    """Draw the score under each suspicion, the lowest first, as a PNG; raise UserError if it cannot be written."""
    # Imported here because the import takes a second.
    from matplotlib.figure import Figure

    findings = sorted(found.findings, key=lambda f: f.value)
    best = suspect(found) if claimed is None else closest(found, claimed)
    figure = Figure(figsize=(9, 1.6 + 0.27 * len(findings)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(found.low, found.high, color="0.5", alpha=0.2, lw=0)
    axes.axvline(found.value, color="0.4", lw=1, label=f"{score} as it is")
    if claimed is not None:
        axes.axvline(claimed, color="C3", lw=1, ls="--", label="claimed")
    for i, finding in enumerate(findings):
        # A distance of nearly zero can lie outside of its own interval.
        error = [[max(finding.value - max(finding.low, 0), 0)], [max(finding.high - finding.value, 0)]]
        color = "C2" if finding is best else "C0"
        axes.errorbar([finding.value], [i], xerr=error, fmt="o", color=color, capsize=3, ms=5)
    axes.set_yticks(range(len(findings)), [f"{f.family}: {f.text}" for f in findings], fontsize=8)
    axes.set_ylim(len(findings) - 0.5, -0.5)
    # Some changes spoil images completely; a logarithmic axis keeps the others readable.
    axes.set_xscale("symlog", linthresh=max(2 * found.value, claimed or 0, 1e-9))
    axes.set(xlabel=f"{score} under each suspicion, 95 % interval")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(axis="x", alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _table(found: Examination, score: str) -> list[str]:
    rows = [["as it is", f"{found.value:.4g}", f"{found.low:.4g} to {found.high:.4g}", ""]]
    for f in sorted(found.findings, key=lambda f: -f.gain):
        gain = f"{f.gain:.3g} ± {1.96 * f.error:.2g}"
        rows.append([f"{f.family}: {f.text}", f"{f.value:.4g}", f"{f.low:.4g} to {f.high:.4g}", gain])
    return aligned(("suspicion", score, "95 % interval", "falls by"), (False, True, True, True), rows)
