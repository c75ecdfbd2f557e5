"""Learning-rate schedules in optimizer steps, as factors of the optimizer's base rate."""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..errors import UserError


def warm_up(optimizer: Optimizer, steps: int = 5000) -> LambdaLR:
    """Increase linearly from 1 / steps at the first step to 1 at step ``steps``, then stay constant.

    The original code counts from 0, so its first step has a rate of zero. All later steps have the same rate up to one
    part in ``steps``.
    """
    _check(steps)
    return LambdaLR(optimizer, partial(warm_up_factor, warm_up_steps=steps))


def warm_up_cosine(optimizer: Optimizer, steps: int, total_steps: int, final: float = 0.0) -> LambdaLR:
    """Warm up linearly over ``steps``, then anneal by half a cosine to ``final`` of the rate at ``total_steps``."""
    _check(steps)
    if total_steps <= steps:
        raise UserError(f"scheduler.total_steps={total_steps} must be larger than its warm-up of {steps} steps")
    return LambdaLR(optimizer, partial(_cosine, warm_up_steps=steps, total_steps=total_steps, final=final))


def _check(steps: int) -> None:
    if steps < 0:
        raise UserError(f"scheduler.steps is {steps}: the warm-up cannot be negative")


def warm_up_factor(done: int, warm_up_steps: int) -> float:
    """Factor of a linear warm-up after ``done`` steps: from 1 / ``warm_up_steps`` to 1."""
    return min(1.0, (done + 1) / max(warm_up_steps, 1))


def annealing_factor(progress: float, final: float) -> float:
    """Factor of half a cosine, from 1 at ``progress`` 0 to ``final`` from 1 on."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _cosine(done: int, warm_up_steps: int, total_steps: int, final: float) -> float:
    if done < warm_up_steps:
        return warm_up_factor(done, warm_up_steps)
    return annealing_factor((done - warm_up_steps) / (total_steps - warm_up_steps), final)
