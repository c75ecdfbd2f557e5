"""What a score was measured with, in one line for a paper and as facts for a program.

    fid50k · inception-tf-resize · cifar10 train · no flips · round · ema · heun-18

Scores compare only if all that concerns the measurement agrees; weights and sampler are what is compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MEASUREMENT = ("samples", "extractor", "resize", "reference", "reference_samples", "flips", "quantization")
GENERATION = ("weights", "sampler", "labels", "guidance", "temperature")


def facts_of(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions of a score that belong to its protocol; unknown ones are left out."""
    return {name: conditions[name] for name in (*MEASUREMENT, *GENERATION) if name in conditions}


def why_incomparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Return why two scores cannot be compared, such as ``resize tf and clean``; None if they can.

    Facts that are missing on one side, as in older results, are not compared.
    """
    for name in MEASUREMENT:
        if None not in (a.get(name), b.get(name)) and a[name] != b[name]:
            return f"{name} {a[name]} and {b[name]}"
    return None


def text_of(score: str, conditions: Mapping[str, Any]) -> str:
    """The protocol of a score in one line.

    Args:
        score: name of the score, such as ``fid``.
        conditions: conditions of the score, from ``Scores`` and from whoever generated the samples.
    """
    facts = facts_of(conditions)
    parts = [
        f"{score}{_count(facts['samples'])}" if score == "fid" else f"{score} {_count(facts['samples'])}",
        _extractor(str(facts.get("extractor", "unknown")), str(facts.get("resize", "none"))),
        str(facts.get("reference", "unknown")),
        "no flips" if facts.get("flips") == "none" else "flips unknown",
        str(facts.get("quantization", "unknown")),
        *(str(facts[name]) for name in ("weights",) if name in facts),
        *(_sampler(str(facts[name])) for name in ("sampler",) if name in facts),
        *(f"{name} {facts[name]}" for name in ("labels", "guidance", "temperature") if name in facts),
    ]
    return " · ".join(parts)


def _count(samples: Any) -> str:
    if isinstance(samples, int) and samples >= 1000 and samples % 1000 == 0:
        return f"{samples // 1000}k"
    return str(samples)


def _extractor(fingerprints: str, resize: str) -> str:
    # A fingerprint starts with the name of the extractor.
    names = "+".join(fingerprint.split("-")[0] for fingerprint in fingerprints.split("+"))
    return names if resize == "none" else f"{names}-{resize}-resize"


def _sampler(described: str) -> str:
    """``Heun 18 steps`` as ``heun-18``."""
    return re.sub(r"[, ]+", "-", re.sub(r" (\d+) steps", r"-\1", described.lower())).replace("-)", ")")
