"""Names of files that belong to an optimizer step: ``step00001210.ckpt``, ``step00001210.png``."""

from __future__ import annotations

import re

# Older versions wrote `step=00001210`, which a shell or Hydra takes for a setting.
_STEP = re.compile(r"step=?(\d+)")


def step_name(step: int, suffix: str = "") -> str:
    """Return ``step00001210`` followed by ``suffix``; names sort by step."""
    return f"step{step:08d}{suffix}"


def step_of(name: str) -> int | None:
    """Return the step in the name of a file, None for other names; names of older versions are read too."""
    found = _STEP.match(name)
    return int(found[1]) if found else None
