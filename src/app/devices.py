"""Processes and devices outside of training, and how the processes stay in step."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException

from src.errors import UserError
from src.metrics.distributed import on_rank_zero, raise_together, world_size

Value = TypeVar("Value")

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


def check_precision(precision: str | int) -> None:
    """UserError for a precision that is none."""
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision}: choose one of {', '.join(PRECISIONS)}")


def launch(accelerator: str, devices: int | str, precision: str | int) -> Fabric:
    """One process for each device, talking to each other; this one is among them.

    Under ``torchrun`` the processes are there already, and their number is torchrun's.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu``, ...
        devices: how many, or ``auto`` for all (one on a CPU).
        precision: of the net: ``32-true``, or another with autocast around it.

    Raises:
        UserError: an unknown precision, or devices that are not there.
    """
    check_precision(precision)
    # What it has to say about itself, it says twice.
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    nodes = 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision)  # type: ignore[arg-type]
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"accelerator={accelerator} devices={devices}: {error}") from error
    fabric.launch()
    return fabric


def agreed(value: Value) -> tuple[Value, bool]:
    """What the first process has in place of ``value``, and whether all have the same; all processes call it."""
    first = on_rank_zero(lambda: value)
    same = [first == value]
    if world_size() > 1:
        same *= world_size()
        torch.distributed.all_gather_object(same, first == value)
    return first, all(same)


@contextmanager
def failing_together() -> Iterator[None]:
    """A mistake of the user that only some processes meet inside is met by all at the end.

    All processes enter and none waits for another inside: one that has failed would never come.

    Raises:
        UserError: on every process, if one has raised it.
    """
    failure = None
    try:
        yield
    except UserError as error:
        failure = str(error)
    raise_together(failure)
