"""Location of the configuration files: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

IS_INSTALLED = (_PACKAGE / "conf").is_dir()
"""Whether this package was installed from a wheel; a checkout has ``conf`` and the scripts beside it."""

CONFIG_DIR = _PACKAGE / "conf" if IS_INSTALLED else _PACKAGE.parent / "conf"
