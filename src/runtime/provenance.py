"""Origin of a result: commit, versions, host, hardware and command."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "lightning", "torchmetrics", "hydra-core", "numpy")
_PATIENCE = 5.0


def provenance() -> dict[str, Any]:
    """Return plain values: ``started``, ``command``, ``host``, ``hardware``, ``commit`` and ``versions``."""
    return {
        "started": datetime.now().isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "host": socket.gethostname(),
        "hardware": hardware(),
        "commit": commit(),
        "versions": versions(),
    }


def hardware() -> dict[str, str]:
    """The processor with its number of cores, and the GPUs if this process uses torch."""
    found = {"processor": f"{_processor()}, {os.cpu_count() or 1} cores"}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["gpus"] = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, of this project and of the libraries that results depend on, if installed."""
    found = {"python": platform.python_version()}
    for package in ("score-sde", *_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # A checkout is not installed.
            continue
    return found


def commit() -> str | None:
    """Return the commit of the checkout that contains this file, with ``+changes`` if files differ; None outside of
    one.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if changed else head


def _git(root: Path, *arguments: str) -> str:
    ended = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=_PATIENCE
    )
    return ended.stdout.strip()
