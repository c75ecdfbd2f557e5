"""Sentences that say which suspicion explains a score."""

from __future__ import annotations

from .changes import VIDEO_LEVELS
from .evidence.base import CERTAIN, Evidence
from .examination import SAMPLES, Examination, Finding

FAMILIES = {
    SAMPLES: "the number of samples",
    "range": "the range of the values",
    "channels": "the order of the channels",
    "quantize": "rounding or truncation",
    "jpeg": "JPEG compression",
    "resize": "resizing",
    "flips": "mirrored images",
    "split": "the split of the reference",
    "classes": "the balance of the classes",
    "weights": "averaged or raw weights",
    "denoise": "the last denoising step",
}
"""What each family of suspicions is about, for the reader."""

_ERRORS = 4.0
_SHARE, _SHARE_OF_NET = 0.5, 0.25
_OF_NET = ("weights", "denoise")


def suspect(found: Examination) -> Finding | Evidence | None:
    """Return the suspicion or the trace that explains the score; None if nothing exceeds chance.

    A gain must exceed four standard errors, because many suspicions are tried. In this order:
    the largest gain, if the score is larger than the number of samples explains and the gain is at least half of
    the excess (a quarter for settings of a net, whose samples are generated again and not imitated);
    a trace that only one fault leaves;
    if the number of samples explains at least half of the score: a small gain that exceeds six standard errors, another
    trace, or else the number of samples;
    another trace.
    """
    excess = found.value - (found.bias or 0.0)
    error = (found.bias_error**2 + ((found.high - found.value) / 2) ** 2) ** 0.5
    gains = [f for f in found.findings if f.family != SAMPLES and f.gain > _ERRORS * f.error and _possible(found, f)]
    enough = [f for f in gains if f.gain >= _least_share(f) * excess]
    best = max(enough, key=lambda f: f.gain, default=None)
    if excess > 3 * error and best is not None:
        return best
    traces = sorted(found.evidence or [], key=lambda e: -e.errors)
    if (certain := next((e for e in traces if e.certain), None)) is not None:
        return certain
    samples = [f for f in found.findings if f.family == SAMPLES]
    # With fewer images than features, a gain depends on the images that happen to be there.
    sure = [f for f in gains if f.gain > CERTAIN * f.error] if found.samples >= found.features else []
    small = max(sure, key=lambda f: f.gain, default=None)
    if found.bias is not None and samples and (excess < 3 * error or found.bias > found.value / 2):
        return small or next(iter(traces), samples[-1])
    return next(iter(traces), None)


def _least_share(finding: Finding) -> float:
    return _SHARE_OF_NET if finding.family in _OF_NET else _SHARE


def _possible(found: Examination, finding: Finding) -> bool:
    """JPEG and video levels always leave a trace; without one, a gain only says that images are smooth or pale."""
    traced = finding.family == "jpeg" or finding.text == VIDEO_LEVELS
    return not traced or found.evidence is None or any(e.family == finding.family for e in found.evidence)


def closest(found: Examination, claimed: float) -> Finding | None:
    """Return the suspicion whose score is closest to the claim and whose interval contains it, or None."""
    inside = [f for f in found.findings if f.low <= claimed <= f.high and _possible(found, f)]
    return min(inside, key=lambda f: abs(f.value - claimed), default=None)


def named(found: Examination, claimed: float | None = None) -> str:
    """Return the family of the suspicion that explains the score or its gap to the claim, or ``none``."""
    best = suspect(found) if claimed is None else closest(found, claimed)
    return "none" if best is None else best.family


def sentences(found: Examination, score: str, claimed: float | None = None) -> list[str]:
    """Describe the findings, the most important first."""
    said = [_of_claim(found, score, claimed)] if claimed is not None else []
    if found.samples < found.features:
        said.append(
            f"{found.samples} images are fewer than the {found.features} features: do not trust this verdict, and give "
            f"at least {2 * found.features} images"
        )
    best = suspect(found)
    if best is None:
        said.append(f"no suspicion explains {score} {found.value:.4g}")
    elif isinstance(best, Evidence):
        gain = max((f.gain for f in found.findings if f.family == best.family), default=0.0)
        said.append(
            f"{FAMILIES.get(best.family, best.family)} left a trace, see below; no suspicion of this kind lowers "
            f"{score} {found.value:.4g} by more than {max(gain, 0.0):.2g}"
        )
    elif best.family == SAMPLES:
        said.append(
            f"{FAMILIES[SAMPLES]} explains {_share(best.gain, found.value)} of {score} {found.value:.4g}: as many real "
            f"images score {found.bias:.4g}. No other suspicion explains the rest"
        )
    elif best.gain < _least_share(best) * (found.value - (found.bias or 0.0)):
        said.append(
            f"{FAMILIES[SAMPLES]} explains most of {score} {found.value:.4g}: as many real images score "
            f"{found.bias:.4g}. {FAMILIES.get(best.family, best.family)} has a small but certain effect: with "
            f'"{best.text}" {score} falls by {best.gain:.2g}'
        )
    else:
        rest = found.value - (found.bias or 0.0)
        said.append(
            f'{FAMILIES.get(best.family, best.family)} explains {score}: with "{best.text}" it falls from '
            f"{found.value:.4g} to {best.value:.4g}, {_share(best.gain, rest)} of what the number of samples leaves"
        )
    return [*said, *(f"trace: {e.text} ({e.errors:.0f} standard errors)" for e in found.evidence or [])]


def _of_claim(found: Examination, score: str, claimed: float) -> str:
    gap = found.value - claimed
    if found.low <= claimed <= found.high:
        return f"there is no gap: the claimed {claimed:.4g} is inside the interval of {score} {found.value:.4g}"
    best = closest(found, claimed)
    if best is not None:
        return (
            f"{FAMILIES.get(best.family, best.family)} explains the gap of {gap:.4g} to the claimed {claimed:.4g}: "
            f'"{best.text}" {score} is {best.value:.4g} ({best.low:.4g} to {best.high:.4g})'
        )
    near = min(found.findings, key=lambda f: abs(f.value - claimed), default=None)
    if near is None:
        return f"nothing could be tried to explain the gap of {gap:.4g} to the claimed {claimed:.4g}"
    return (
        f"no single suspicion explains the gap of {gap:.4g} to the claimed {claimed:.4g}: closest is "
        f'"{near.text}" with {near.value:.4g} ({_share(near.gain, gap)} of the gap)'
    )


def _share(part: float, whole: float) -> str:
    return f"{min(100 * part / whole, 100.0):.0f} %" if whole > 0 else "all"
