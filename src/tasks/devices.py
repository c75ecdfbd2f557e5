"""Processes and devices of sample.py and evaluate.py."""

from __future__ import annotations

import logging
import os
import warnings

from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ..errors import UserError
from ..runtime.precision import check_float32_precision, set_float32_precision

NET_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


def quiet_lightning() -> None:
    """Hide Lightning's messages about itself, so that the messages of the run are not buried."""
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        # Warnings about Lightning's own use of torch.
        r".*isinstance\(treespec, LeafSpec\)",
        # About epochs; this project counts steps.
        r"The number of training batches .* is smaller than",
        # Printed on a cluster's login node, and by jobs that need one process.
        r"The `srun` command is available on your system",
        # A resumed run may leave out callbacks; their settings are compared by this project.
        r"Be aware that when using `ckpt_path`, callbacks used to create the checkpoint",
        # Data without a validation split.
        r"Total length of `.*` across ranks is zero",
        # An existing run folder belongs to this run.
        r"Checkpoint directory .* exists and is not empty",
        r"Experiment logs directory .* exists and is not empty",
    ):
        warnings.filterwarnings("ignore", message=message)


def check_precision(precision: object, float32_precision: str) -> None:
    """Raise UserError if ``precision`` or ``float32_matmul_precision`` is unknown."""
    if precision not in NET_PRECISIONS:
        raise UserError(f"precision={precision}: choose one of {', '.join(NET_PRECISIONS)}")
    check_float32_precision(float32_precision)


def launch(accelerator: str, devices: int | str, precision: str | int, float32_precision: str) -> Fabric:
    """Start one process per device and return this process' Fabric.

    Under ``torchrun`` the processes exist already, and torchrun sets their number.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu``, ...
        devices: number of devices, or ``auto`` for all of them (one process on a CPU).
        precision: precision of the net: ``32-true``, or another one that runs the net under autocast.
        float32_precision: the setting ``float32_matmul_precision``: how float32 matrix products are computed.

    Raises:
        UserError: the precision is unknown, or the devices do not exist.
    """
    check_precision(precision, float32_precision)
    set_float32_precision(float32_precision)
    quiet_lightning()
    nodes = 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    try:
        # Lightning's type lists the allowed precisions; `check_precision` has checked the value.
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision)  # type: ignore[arg-type]
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"accelerator={accelerator} devices={devices}: {error}") from error
    fabric.launch()
    return fabric
