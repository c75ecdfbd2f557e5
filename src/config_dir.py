"""Location of the configuration files: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

IS_INSTALLED = (_PACKAGE / "conf").is_dir()
"""Whether this package was installed from a wheel; a checkout has ``conf`` and the scripts beside it."""

CONFIG_DIR = _PACKAGE / "conf" if IS_INSTALLED else _PACKAGE.parent / "conf"


def how_to_run(name: str) -> str:
    """What a user types for a command.

    Args:
        name: of a command of ``score-sde``, or of a module of this package that is run by itself.
    """
    if "." in name:
        return f"python -m {__name__.partition('.')[0]}.{name}"
    if IS_INSTALLED:
        return f"score-sde {name}"
    script = f"{name}.py"
    return f"python {script}" if (CONFIG_DIR.parent / script).is_file() else f"python -m src {name}"
