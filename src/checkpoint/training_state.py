"""Check optimizer, schedule and loop state of a checkpoint before loading them.

torch and Lightning load such states without checks: a moment of another shape crashes the interpreter, a count that is
not a number ends in a traceback, a non-finite moment destroys the net.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import UserError
from .read import OpenCheckpoint

NEEDED = ("loops", "optimizer_states", "lr_schedulers", "callbacks")


def check_complete(opened: OpenCheckpoint) -> None:
    """Raise UserError if the checkpoint contains weights only."""
    lacking = [key for key in NEEDED if key not in opened.content]
    if lacking:
        raise UserError(
            f"{opened.path} lacks {', '.join(lacking)}, so training cannot resume from it: "
            "start from its weights with init_from, or use a checkpoint that this version wrote"
        )


def check_training_state(
    opened: OpenCheckpoint,
    weights: Mapping[str, Tensor],
    optimizer: Optimizer,
    make_optimizer: Callable[[list[nn.Parameter]], Optimizer],
    schedule: Mapping[str, Any] | None,
    loops: Mapping[str, Any],
) -> None:
    """Compare every state in a checkpoint with that of a new run: structure, shapes, types, finite values.

    Args:
        opened: the checkpoint.
        weights: ``state_dict`` of the module.
        optimizer: optimizer of the module, before its first step.
        make_optimizer: creates another optimizer with the same settings.
        schedule: ``state_dict`` of the schedule of a new run; None if there is no schedule.
        loops: ``state_dict`` of the loops of a new run, by name.

    Raises:
        UserError: one line with the first problem.
    """
    content = opened.content
    problems = [
        *_weights(content["state_dict"], weights),
        *_averages(content.get("ema") or {}, weights),
        *_optimizers(content["optimizer_states"], optimizer, make_optimizer),
        *_schedules(content["lr_schedulers"], schedule),
        *_like(content["loops"].get("fit_loop"), loops["fit_loop"], "loops.fit_loop"),
        *_counters(content),
        *_callbacks(content["callbacks"]),
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise UserError(
            f"{opened.path} does not fit this run: {problems[0]}{more}; resume with the configuration and the version "
            "of the run, use another checkpoint, or start from its weights with init_from"
        )


def _weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    for name in [*expected, *(name for name in found if name not in expected)]:
        if name not in found or name not in expected:
            yield f"state_dict.{name} {'is missing' if name not in found else 'does not fit this net'}"
        else:
            yield from _tensor(found[name], expected[name].shape, expected[name].dtype, f"state_dict.{name}")


def _averages(found: Mapping[str, Mapping[str, Tensor]], weights: Mapping[str, Tensor]) -> Iterator[str]:
    for average, tensors in found.items():
        for name, value in tensors.items():
            expected = weights.get(f"model.net.{name}")
            if expected is None:
                yield f"ema.{average}.{name} does not fit this net"
            elif value.shape != expected.shape or not value.is_floating_point():
                yield f"ema.{average}.{name} is {_kind(value)} instead of {tuple(expected.shape)} float32"
            elif not value.isfinite().all():
                yield f"ema.{average}.{name} is not finite"


def _optimizers(
    found: Any, optimizer: Optimizer, make_optimizer: Callable[[list[nn.Parameter]], Optimizer]
) -> Iterator[str]:
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], Mapping):
        yield "optimizer_states is not the state of a single optimizer"
        return
    states, groups = found[0].get("state"), found[0].get("param_groups")
    expected = optimizer.state_dict()["param_groups"]
    if not isinstance(states, Mapping) or not isinstance(groups, list) or len(groups) != len(expected):
        yield "optimizer_states has other groups of parameters"
        return
    for i, (group, fresh) in enumerate(zip(groups, expected, strict=True)):
        where = f"optimizer_states.param_groups.{i}"
        if not isinstance(group, Mapping) or group.get("params") != fresh["params"]:
            yield f"{where} has different parameters"
            continue
        for key, value in fresh.items():
            if key != "params" and key in group:
                yield from _like(group[key], value, f"{where}.{key}", same_length=True)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    template = _state_of_one_step(make_optimizer)
    for i, state in states.items():
        if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < len(parameters):
            yield f"optimizer_states.state.{i} belongs to no parameter"
            continue
        yield from _state(state, template, parameters[i], f"optimizer_states.state.{i}")


def _state_of_one_step(make_optimizer: Callable[[list[nn.Parameter]], Optimizer]) -> Mapping[str, Any] | None:
    """Return the optimizer state of a parameter of shape (2, 3); None if the optimizer cannot step on this device."""
    probe = nn.Parameter(torch.zeros(2, 3))
    probe.grad = torch.ones(2, 3)
    try:
        optimizer = make_optimizer([probe])
        optimizer.step()
    except (RuntimeError, TypeError, ValueError):
        # Settings for another device, such as `capturable`.
        return None
    return dict(optimizer.state[probe])


def _state(state: Any, template: Mapping[str, Any] | None, parameter: Tensor, where: str) -> Iterator[str]:
    if not isinstance(state, Mapping):
        yield f"{where} is not a state"
        return
    if template is not None and state.keys() != template.keys():
        yield f"{where} contains {', '.join(map(str, state)) or 'nothing'} instead of {', '.join(template)}"
        return
    for key, value in state.items():
        fresh = None if template is None else template[key]
        if isinstance(value, Tensor):
            like = value.shape == parameter.shape if value.ndim else True
            if isinstance(fresh, Tensor):
                like = value.shape == (parameter.shape if fresh.shape == (2, 3) else fresh.shape)
            if not like or not value.is_floating_point() or value.layout != torch.strided:
                yield f"{where}.{key} is {_kind(value)} for a parameter of shape {tuple(parameter.shape)}"
            elif not value.isfinite().all():
                yield f"{where}.{key} is not finite"
            elif key == "step" and float(value) < 0:
                yield f"{where}.step is negative"
        elif isinstance(fresh, Tensor):
            # Older versions of torch count steps with numbers.
            if fresh.ndim or isinstance(value, bool) or not isinstance(value, int | float):
                yield f"{where}.{key} is not a tensor"
        elif fresh is not None:
            yield from _like(value, fresh, f"{where}.{key}")


def _schedules(found: Any, schedule: Mapping[str, Any] | None) -> Iterator[str]:
    expected = [] if schedule is None else [schedule]
    if not isinstance(found, list) or len(found) != len(expected):
        yield f"lr_schedulers has {len(found) if isinstance(found, list) else 'no'} states instead of {len(expected)}"
        return
    for state, fresh in zip(found, expected, strict=True):
        yield from _like(state, fresh, "lr_schedulers", same_length=True)


def _counters(content: Mapping[str, Any]) -> Iterator[str]:
    for key in ("epoch", "global_step"):
        value = content.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            yield f"{key} is {value!r}"
            return
    try:
        progress = content["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]
        counted = progress["optimizer"]["step"]["total"]["completed"]
    except (KeyError, TypeError):
        return
    if counted != content["global_step"]:
        yield f"the loops have counted {counted} steps, global_step is {content['global_step']}"


def _callbacks(states: Any) -> Iterator[str]:
    if not isinstance(states, Mapping):
        yield "callbacks is not a mapping"
        return
    for name, state in states.items():
        if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
            yield f"callbacks.{name} is not a state"
            continue
        for key, value in state.items():
            # The best score of a run without scores is infinite.
            if isinstance(value, float) and math.isnan(value):
                yield f"callbacks.{name}.{key} is not a number"
    updates = states.get("EMA", {"updates": 0})
    count = updates.get("updates") if isinstance(updates, Mapping) else None
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        yield f"callbacks.EMA.updates is {count!r}"


def _like(found: Any, fresh: Any, where: str, same_length: bool = False) -> Iterator[str]:
    """List the problems of ``found`` compared with ``fresh``; only the numbers may differ."""
    if isinstance(fresh, Mapping):
        if not isinstance(found, Mapping):
            yield f"{where} is {_kind(found)} instead of a mapping"
            return
        for key, value in fresh.items():
            if key not in found:
                yield f"{where}.{key} is missing"
            else:
                yield from _like(found[key], value, f"{where}.{key}", same_length)
    elif isinstance(fresh, list | tuple):
        if not isinstance(found, list | tuple) or (same_length and len(found) != len(fresh)):
            yield f"{where} is {_kind(found)} instead of {len(fresh)} values"
            return
        for i, (value, each) in enumerate(zip(found, fresh, strict=False)):
            yield from _like(value, each, f"{where}.{i}", same_length)
    elif isinstance(fresh, bool) or fresh is None or isinstance(fresh, str):
        # Switches that are null choose automatically.
        if fresh is not None and found is not None and type(found) is not type(fresh):
            yield f"{where} is {_kind(found)} instead of {type(fresh).__name__}"
    elif isinstance(fresh, int | float):
        if isinstance(found, Tensor) and found.ndim == 0:
            found = found.item()
        if isinstance(found, bool) or not isinstance(found, int | float):
            yield f"{where} is {_kind(found)} instead of a number"
        elif not math.isfinite(found) or (isinstance(fresh, int) and (found < 0 or not isinstance(found, int))):
            yield f"{where} is {found}"


def _tensor(found: Tensor, shape: Sequence[int], dtype: torch.dtype, where: str) -> Iterator[str]:
    if tuple(found.shape) != tuple(shape) or found.is_floating_point() != dtype.is_floating_point:
        yield f"{where} is {_kind(found)} instead of {tuple(shape)} {str(dtype).removeprefix('torch.')}"
    elif found.is_floating_point() and not found.isfinite().all():
        yield f"{where} is not finite"


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"
