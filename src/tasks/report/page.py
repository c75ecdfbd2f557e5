"""The page: a template filled with facts, plots and pictures; the plotting library is included."""

from __future__ import annotations

import base64
import functools
import gzip
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...io.hashing import text_hash
from . import figures, pictures, tables
from .comparison import comparison
from .findings import findings, mismatches
from .folder import Folder
from .settings import differences_from_default, differing
from .tables import Table

_PARTS = Path(__file__).with_name("page")
_DRAWS = "Draws of each training"
_LISTED = 3
_SCORES = ("scores", "bits_per_dim", "loss")
"""Results of single subjects; tables of other tasks, such as ``compare``, come first on the page."""


class MissingPackage(UserError):
    """A package that only reports need is not installed."""


def page(folders: Sequence[Folder]) -> str:
    """The HTML of a report. All text is escaped, and a policy inside the page forbids any script but its own.

    Raises:
        MissingPackage: jinja2 or plotly is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
    except ImportError as error:
        raise MissingPackage("reports need jinja2: pip install jinja2") from error
    plotly = plotting_library()
    environment = Environment(loader=FileSystemLoader(_PARTS), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    script = (_PARTS / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(bytes.fromhex(text_hash(script))).decode()
    # Markup: these files belong to this package and contain no text of a run.
    return environment.get_template("page.html").render(
        **_facts(folders),
        style=Markup((_PARTS / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        plotly=Markup(plotly),
        written=datetime.now().isoformat(sep=" ", timespec="minutes"),
    )


def _facts(folders: Sequence[Folder]) -> dict[str, Any]:
    everything = [result for folder in folders for _, result in folder.results]
    front = figures.pareto(everything)
    by_samples = figures.by_samples(everything)
    compared = comparison(folders)
    headings = {
        _DRAWS: [] if compared is None else figures.draws(compared),
        "Curves": figures.curves(folders),
        "Scores during training": figures.score_curves(folders),
        "Samplers compared": [] if front is None else [front],
        "Scores and the number of samples": list(by_samples.values()),
    }
    plots: list[tuple[str, list[tuple[int, figures.Figure]]]] = []
    contents: list[Any] = []
    for heading, group in headings.items():
        plots.append((heading, list(enumerate(group, len(contents)))))
        contents += [figure.content for figure in group]
    as_plots = [*(["pareto.png"] if front else []), *(f"{name}_by_samples.png" for name in by_samples)]

    def elsewhere(path: str) -> bool:
        return Path(path).name in as_plots or any(path == sheet.origin for _, sheet in sheets)

    scores = tables.best_known(folders)
    results = tables.results(folders)
    films = [film for folder in folders if (film := pictures.film(folder, len(folders))) is not None]
    sheets = [(folder, sheet) for folder in folders for sheet in pictures.sheets(folder)]
    return {
        "title": _title(folders),
        "subtitle": _subtitle(folders),
        "several": len(folders) > 1,
        "scores": scores,
        "protocols": list(dict.fromkeys(score.protocol for score in scores if score.protocol)),
        "warnings": [
            *mismatches(scores),
            *((folder.label, text) for folder in folders for text in findings(folder)),
        ],
        "verdict": [] if compared is None else compared.said,
        "compared": [] if compared is None else tables.of_comparison(compared.results),
        "verdicts": [table for table in results if table.title.lower().replace(" ", "_") not in _SCORES],
        "results": [table for table in results if table.title.lower().replace(" ", "_") in _SCORES],
        "films": films,
        "draws": plots[0][1],
        "plots": plots[1:],
        "figures": contents,
        "sheets": [(folder.label, sheet) for folder, sheet in sheets],
        "pictures": [(folder.label, pictures.others(folder, elsewhere)) for folder in folders],
        "commands": [(folder.label, tables.commands(folder)) for folder in folders],
        "origin": tables.runs(folders),
        "settings": _settings(folders),
    }


def _title(folders: Sequence[Folder]) -> str:
    if len(folders) > _LISTED:
        names = dict.fromkeys(str(folder.config.get("name") or folder.label) for folder in folders)
        return f"{len(folders)} runs: {', '.join(list(names)[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
    return " and ".join(folder.label for folder in folders)


def _subtitle(folders: Sequence[Folder]) -> str:
    if len(folders) > 1:
        return f"{len(folders)} runs side by side"
    (folder,) = folders
    steps = max((int(points[-1][0]) for points in folder.columns.values() if points), default=0)
    trained = f"{steps:,} steps · " if steps else ""
    return f"{trained}{folder.path}"


def _settings(folders: Sequence[Folder]) -> list[Table]:
    known = [folder for folder in folders if folder.config]
    if len(folders) > 1:
        columns = ["setting", *(folder.label for folder in known)]
        rows = [[key, *values] for key, values in differing([folder.config for folder in known])]
        return [Table("Settings that differ", columns, rows)] if rows else []
    return [
        Table(
            "Settings that differ from the default configuration",
            ["setting", "default", "this run"],
            differences_from_default(folder.config),
        )
        for folder in known
    ]


@functools.cache
def plotting_library() -> str:
    """The plotting library, gzipped in base64: 2.0 MB instead of 4.8 MB."""
    found = find_spec("plotly")
    library = (
        None if found is None or found.origin is None else Path(found.origin).parent / "package_data/plotly.min.js"
    )
    if library is None or not library.is_file():
        raise MissingPackage("reports need plotly: pip install plotly")
    # The highest level takes twice as long for 1% less.
    return base64.b64encode(gzip.compress(library.read_bytes(), 5, mtime=0)).decode()
