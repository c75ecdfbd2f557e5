"""Checkpoints as safetensors: weights in a file that cannot run code, the configuration in its header.

Tensors are named ``raw.<name>`` for the weights of the optimizer and ``ema.<average>.<name>`` for the averages, <name>
as in the state dict of the net. The header contains ``format`` (``score-sde``), ``global_step`` and ``config``, the
resolved training configuration as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..checkpoint.read import NET_PREFIX
from ..errors import UserError
from ..io.safetensors import write_safetensors
from ..io.untrusted import check_readable

SUFFIX = ".safetensors"
_FORMAT = "score-sde"


def write_checkpoint_file(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Write weights, averages and configuration of a checkpoint; the states of optimizer and callbacks are left out.

    Raises:
        UserError: the file cannot be written.
    """
    tensors = {
        f"raw.{name.removeprefix(NET_PREFIX)}": tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(NET_PREFIX)
    }
    for average, weights in (checkpoint.get("ema") or {}).items():
        tensors |= {f"ema.{average}.{name}": tensor for name, tensor in weights.items()}
    # The format does not allow tensors that share memory.
    separate = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {
        "format": _FORMAT,
        "global_step": str(int(checkpoint["global_step"])),
        "config": json.dumps(checkpoint["config"]),
    }
    write_safetensors(path, separate, metadata)


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the checkpoint in such a file: ``config``, ``state_dict``, ``ema`` and ``global_step``.

    Raises:
        UserError: the file is missing, damaged, or from another program.
    """
    tensors: dict[str, Tensor] = {}
    check_readable(path, f"give a {SUFFIX} file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # The format is checked first: the file may be a large one from another program.
            if metadata.get("format") == _FORMAT:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # no mapping
        config, step = json.loads(metadata.get("config", "null")), int(metadata.get("global_step", 0))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): export it again") from error
    if not isinstance(config, dict) or not tensors:
        raise UserError(f"{path} has no configuration of this project in its header: export it with this project")
    ema: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "ema":
            average, _, parameter = rest.partition(".")
            ema.setdefault(average, {})[parameter] = tensor
    raw = {f"{NET_PREFIX}{name[4:]}": tensor for name, tensor in tensors.items() if name.startswith("raw.")}
    return {"config": config, "state_dict": raw, "ema": ema, "global_step": step}
