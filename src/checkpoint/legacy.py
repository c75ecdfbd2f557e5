"""Convert configurations that older versions wrote: moved classes and renamed settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_EXPONENTIAL = "ddim dpm_solver dpm_solver_2s_ancestral dpm_solver_3m_sde dpm_solver_sde unipc"


def _moved(old: str, new: str, modules: str) -> dict[str, str]:
    return {f"{old}.{name}.": f"{new}.{name}." for name in modules.split()}


_MOVED = (
    _moved("src.sampling", "src.sampling.solvers", "correctors heun pc predictors schedule")
    | _moved("src.sampling", "src.sampling.ode", "bits_per_dim likelihood")
    | _moved("src.sampling", "src.sampling.conditioning", "control guidance inverse operators thresholding")
    | _moved("src.sampling", "src.sampling.solvers.exponential", _EXPONENTIAL)
    | _moved("src.sampling.solvers", "src.sampling.solvers.exponential", _EXPONENTIAL)
    | _moved("src.sde", "src.sde.objectives", "consistency stf")
    | _moved("src.callbacks", "src.callbacks.monitors", "accuracy fid sample_images toy_picture")
    | {
        "src.sde.classifier_objective.": "src.sde.objectives.classification.",
        "src.callbacks.averages.": "src.checkpoint.averages.",
    }
)
"""Old prefixes of class names, and the present ones."""

_CLASSES = {
    "src.metrics.Frechet": "src.metrics.FrechetDistance",
    "src.sampling.solvers.mean_flow.MeanFlow": "src.sampling.solvers.mean_flow.MeanFlowSampler",
    "src.sampling.ode.ProbabilityFlowODE": "src.sampling.ode.flow.ProbabilityFlowODE",
}


_RENAMED: dict[str, dict[str, Callable[[Any], tuple[str, Any]]]] = {
    "src.metrics.InceptionFeatures": {"antialias": lambda value: ("resize", "antialias" if value else "tf")},
    "src.metrics.PrecisionRecall": {"neighbours": lambda value: ("neighbors", value)},
    "src.sampling.solvers.pc.PredictorCorrector": {
        "order": lambda value: ("corrector_first", value == "corrector_first"),
    },
    "src.sampling.ode.bits_per_dim.BitsPerDim": {"dequantise": lambda value: ("dequantize", value)},
}
"""For each class, the present form of an old setting and its value."""

_RETIRED = {"src.nets.": ("winograd",)}
"""Settings that no longer exist and never changed a result, by prefix of the class name."""


def upgrade_node(node: Any) -> Any:
    """Copy a configuration at any depth with the present names of classes and settings.

    Args:
        node: plain containers; entries without a new name stay unchanged.
    """
    if isinstance(node, dict):
        extractor = node.get("extractor")
        if isinstance(extractor, dict) and extractor.get("_target_") == "src.metrics.JoinedFeatures":
            return upgrade_node(_several_extractors(node))
        target = _current_target(node.get("_target_"))
        renamed = _RENAMED.get(target, {}) if isinstance(target, str) else {}
        retired = {key for prefix, keys in _RETIRED.items() if str(target).startswith(prefix) for key in keys}
        pairs = (
            renamed[key](value) if key in renamed else (key, value) for key, value in node.items() if key not in retired
        )
        return {key: target if key == "_target_" else upgrade_node(value) for key, value in pairs}
    return [upgrade_node(value) for value in node] if isinstance(node, list) else node


def _several_extractors(suite: dict[str, Any]) -> dict[str, Any]:
    """Return a ``MetricSuite`` node whose extractors were joined into one, with metrics wrapped in ``OfPart``."""
    others = dict(suite["extractor"]["parts"])
    main = next(iter(others))

    def unwrapped(metric: dict[str, Any]) -> dict[str, Any]:
        of_main = metric["part"] == main
        return {**metric["metric"], **({} if of_main else {"features": metric["part"]})}

    return {
        **suite,
        "extractor": others.pop(main),
        "other_extractors": others,
        "metrics": {name: unwrapped(metric) for name, metric in suite["metrics"].items()},
    }


def _current_target(target: Any) -> Any:
    if not isinstance(target, str):
        return target
    if target in _CLASSES:
        return _CLASSES[target]
    for old, new in _MOVED.items():
        if isinstance(target, str) and target.startswith(old):
            return new + target.removeprefix(old)
    return target
