"""Continue a training of the original program here: the entries that Lightning expects in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import lightning
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ...checkpoint import OpenCheckpoint
from ...checkpoint.read import NET_PREFIX
from .resume import advance


def as_own_checkpoint(
    opened: OpenCheckpoint,
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    fit_loop: Mapping[str, Any],
    accumulate: int,
) -> OpenCheckpoint:
    """Return the checkpoint that this run would have written after the same number of steps.

    The position in the data follows from the number of steps, as in every run; the original does not store it.

    Args:
        opened: returned by ``open_song_training``.
        module: the run's module; the optimizer holds its parameters in this order.
        optimizer: optimizer of a fresh run.
        scheduler: scheduler of a fresh run; it is moved to the step of the checkpoint.
        fit_loop: ``state_dict`` of the fit loop of a fresh run.
        accumulate: number of micro-batches per optimizer step.
    """
    content, steps = dict(opened.content), opened.step
    moments = content.pop("adam")
    advance(scheduler, steps)
    names = [name.removeprefix(NET_PREFIX) for name, _ in module.named_parameters()]
    states = {number: moments[name] for number, name in enumerate(names) if name in moments}
    content |= {
        "epoch": 0,
        "pytorch-lightning_version": lightning.__version__,
        "loops": {"fit_loop": _counted(fit_loop, steps, accumulate)},
        "optimizer_states": [{"state": states, "param_groups": deepcopy(optimizer.state_dict()["param_groups"])}],
        "lr_schedulers": [] if scheduler is None else [scheduler.state_dict()],
        "callbacks": {"EMA": {"updates": int(content["foreign"]["num_updates"])}},
    }
    return replace(opened, content=content)


def _counted(fit_loop: Mapping[str, Any], steps: int, accumulate: int) -> dict[str, Any]:
    """The state of a loop that has taken ``steps`` steps and starts an epoch."""
    out = deepcopy(dict(fit_loop))
    progress = out["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    totals = [
        (progress["step"], steps),
        (progress["zero_grad"], steps),
        (out["epoch_loop.scheduler_progress"], steps),
        (out["epoch_loop.batch_progress"], steps * accumulate),
    ]
    for counts, number in totals:
        counts["total"] = dict.fromkeys(counts["total"], number)
    out["epoch_loop.state_dict"] = {"_batches_that_stepped": steps}
    return out
