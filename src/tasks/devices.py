"""Processes and devices of sample.py and evaluate.py."""

from __future__ import annotations

import logging
import os
import warnings

from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ..errors import UserError
from ..precision import check_float32_precision, set_float32_precision

NET_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


def quiet_lightning() -> None:
    """Keep out of the log what Lightning says about itself, so that the news of a run are read."""
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        # Its own use of torch.
        r".*isinstance\(treespec, LeafSpec\)",
        # Epochs, where everything here counts steps.
        r"The number of training batches .* is smaller than",
        # A cluster's login node, or a job that needs one process.
        r"The `srun` command is available on your system",
        # A run folder that exists is this run's.
        r"Checkpoint directory .* exists and is not empty",
        r"Experiment logs directory .* exists and is not empty",
    ):
        warnings.filterwarnings("ignore", message=message)


def check_precision(precision: str | int, of_float32: str) -> None:
    """Raise UserError if ``precision`` or ``float32_matmul_precision`` (``of_float32``) is unknown."""
    if precision not in NET_PRECISIONS:
        raise UserError(f"precision={precision}: choose one of {', '.join(NET_PRECISIONS)}")
    check_float32_precision(of_float32)


def launch(accelerator: str, devices: int | str, precision: str | int, of_float32: str) -> Fabric:
    """Start one process per device and return this process' Fabric.

    Under ``torchrun`` the processes exist already, and their number is torchrun's.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu``, ...
        devices: how many, or ``auto`` for all (one on a CPU).
        precision: of the net: ``32-true``, or another with autocast around it.
        of_float32: how float32 is computed: the setting ``float32_matmul_precision``.

    Raises:
        UserError: an unknown precision, or devices that do not exist.
    """
    check_precision(precision, of_float32)
    set_float32_precision(of_float32)
    quiet_lightning()
    nodes = 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    try:
        # Lightning's type lists the precisions one by one; `check_precision` did.
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision)  # type: ignore[arg-type]
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"accelerator={accelerator} devices={devices}: {error}") from error
    fabric.launch()
    return fabric
