"""Write ``report.html``: on request, with errors for the user; or after other work, which a failure must not affect."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ...io.atomic import write_text
from .folder import REPORT, read_folders
from .page import MissingPackage, page

_log = logging.getLogger(__name__)

_DEPTH = 2
"""Samples and results are stored in ``samples/<settings>`` and ``evaluation/<settings>`` of a run."""


def write_report(paths: Sequence[str | Path], output: Path | None = None) -> Path:
    """Write the report of runs, or of folders of samples or results.

    Args:
        paths: the folders; for a folder of runs, its newest run is used.
        output: the file; None for ``report.html`` in the folder, or in the working directory for several folders.

    Returns:
        The file.

    Raises:
        UserError: a folder has nothing to report, a package is not installed, or the file cannot be written.
    """
    folders = read_folders(paths)
    if output is None:
        output = folders[0].path / REPORT if len(folders) == 1 else Path(REPORT)
    write_text(output, page(folders))
    return output


def report_afterwards(folder: Path) -> Path | None:
    """Write the report of a run after other work in it; on failure log one line and return None.

    Args:
        folder: a run, or a folder of samples or results; if it is inside a run, that run is reported.
    """
    try:
        return write_report([_run_around(folder)])
    except MissingPackage as error:
        _log.warning("no %s: %s, then score-sde report %s", REPORT, error, folder)
    except Exception as error:
        _log.warning("%s was not written (%s); try score-sde report %s", REPORT, " ".join(str(error).split()), folder)
        _log.debug("report", exc_info=True)
    return None


def _run_around(folder: Path) -> Path:
    around = (folder, *folder.resolve().parents[:_DEPTH])
    return next((home for home in around if (home / "run.json").is_file()), folder)
