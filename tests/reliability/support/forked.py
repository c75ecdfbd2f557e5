"""What processes of the fork server share: parsed configuration files and the plotting library of reports."""

from __future__ import annotations

from src.interop.song.experiments import composed
from src.tasks.report.page import plotting_library
from src.tasks.report.settings import differences_from_default
from tests.reliability.support.runs import TINY
from tests.support import quick_hydra

quick_hydra.parse_files_once()
composed(TINY)
differences_from_default({})
plotting_library()
