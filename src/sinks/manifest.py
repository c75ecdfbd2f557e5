"""The manifest of a folder of samples: written before the samples, completed after them.

Samples with other settings are never added to such a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoint.legacy import upgrade_node
from ..config.annotations import is_number, is_whole, shortened
from ..io.atomic import write_json
from ..io.untrusted import read_json
from ..runtime.provenance import versions
from .files import ADVICE

FILE = "manifest.json"

_ADDED = ("float32_matmul_precision",)
"""Settings that are missing in manifests and records of earlier versions."""


@dataclass
class Manifest:
    """The record of a folder.

    Attributes:
        settings: plain containers with everything a sample depends on. Samples with other settings do not belong here.
        num_samples: number of samples when complete.
        status: ``running`` or ``complete``.
        invalid: indices of samples that diverged or are not finite; they have no file.
        nfe: mean, least and most evaluations of the net for a sample, once known.
        seconds: sampling time, summed over devices.
        energy: joules by kind of counter, summed over calls; a kind without a readable counter is missing.
        far: number of valid samples that are far outside the data.
        farthest: the largest magnitude among these.
        about: origin of the samples, for the reader.
        versions: versions of the libraries.
    """

    settings: dict[str, Any]
    num_samples: int
    status: str = "running"
    invalid: list[int] = field(default_factory=list)
    nfe: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    energy: dict[str, float] = field(default_factory=dict)
    far: int = 0
    farthest: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``manifest.json`` atomically; raise UserError if the system refuses."""
        write_json(folder / FILE, asdict(self), ADVICE)


def load_manifest(folder: Path) -> Manifest | None:
    """The manifest of ``folder``; None if there is none, or a file of that name that another program wrote."""
    try:
        content = read_json(folder / FILE)
        return Manifest(**content) if _is_manifest(content) else None
    except (ValueError, TypeError):
        return None


def _is_manifest(content: Any) -> bool:
    """Whether ``content`` has the keys and value types that ``Manifest.save`` writes."""
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        return False
    count, invalid = content.get("num_samples"), content.get("invalid", [])
    numbers = [content.get(name, {}) for name in ("nfe", "energy")]
    return (
        is_whole(count)
        and 1 <= count < 2**48
        and content.get("status") in ("running", "complete")
        and isinstance(invalid, list)
        and all(is_whole(i) and 0 <= i < count for i in invalid)
        and all(isinstance(found, dict) and all(map(is_number, found.values())) for found in numbers)
        and is_number(content.get("seconds", 0.0))
    )


def settings_difference(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> str | None:
    """Describe the first difference between recorded settings (of any version) and present ones; None if equal."""
    # Earlier versions did not record settings at their defaults.
    recorded = {key: current[key] for key in _ADDED if key in current} | dict(upgrade_node(dict(recorded)))
    return first_difference(recorded, current)


def first_difference(recorded: Any, current: Any, name: str = "") -> str | None:
    """Describe the first setting that differs, or None."""
    if isinstance(recorded, Mapping) and isinstance(current, Mapping):
        for key in dict.fromkeys([*current, *recorded]):
            path = f"{name}.{key}" if name else str(key)
            found = first_difference(recorded.get(key, "absent"), current.get(key, "absent"), path)
            if found:
                return found
        return None
    return (
        None
        if recorded == current
        else f"{name} is {shortened(json.dumps(recorded))} in the folder and {shortened(json.dumps(current))} now"
    )


def from_json(value: Any) -> Any:
    """Return ``value`` after a round trip through JSON."""
    return json.loads(json.dumps(value))


def numerical_versions() -> dict[str, str]:
    """Return the versions of libraries that can change the last digits of a sample."""
    return {name: found for name, found in versions().items() if name in ("python", "torch", "lightning", "numpy")}
