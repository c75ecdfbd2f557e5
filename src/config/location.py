"""Location of the configuration files: next to the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

IS_INSTALLED = (_PACKAGE / "conf").is_dir()
"""Whether this package was installed from a wheel; a checkout has ``conf`` and the scripts next to it."""

CONFIG_DIR = _PACKAGE / "conf" if IS_INSTALLED else _PACKAGE.parent / "conf"


def program_command(name: str) -> str:
    """Return what a user types to run a command.

    Args:
        name: a command of ``score-sde``, or a module of this package that can be run itself.
    """
    if "." in name:
        return f"python -m {__name__.partition('.')[0]}.{name}"
    if IS_INSTALLED:
        return f"score-sde {name}"
    script = f"{name}.py"
    return f"python {script}" if (CONFIG_DIR.parent / script).is_file() else f"python -m src {name}"
