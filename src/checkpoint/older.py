"""Configurations of checkpoints that older versions wrote: classes that moved keep their old names there."""

from __future__ import annotations

from typing import Any

_MOVED = {
    f"src.sampling.{name}.": f"src.sampling.{folder}.{name}."
    for folder, names in {
        "solvers": "correctors dpm_solver dpm_solver_sde heun pc predictors schedule unipc",
        "ode": "bits_per_dim likelihood",
        "conditioning": "control guidance inverse operators thresholding",
    }.items()
    for name in names.split()
} | {"src.sampling.ode.ProbabilityFlowODE": "src.sampling.ode.flow.ProbabilityFlowODE"}


def up_to_date(node: Any) -> Any:
    """A copy of a configuration, at any depth, in which every ``_target_`` is the class's present name.

    Args:
        node: plain containers; everything but the names of moved classes stays as it is.
    """
    if isinstance(node, dict):
        return {key: _present(value) if key == "_target_" else up_to_date(value) for key, value in node.items()}
    return [up_to_date(value) for value in node] if isinstance(node, list) else node


def _present(target: Any) -> Any:
    for old, new in _MOVED.items():
        if isinstance(target, str) and target.startswith(old):
            return new + target.removeprefix(old)
    return target
