"""A model as a folder: ``model.safetensors`` with one set of weights, ``config.json``, and the card ``README.md``.

Tensors are named as in the state dict of the net. ``config.json`` contains ``weights`` (the name of the average, or
``raw``), ``global_step`` and ``config``, the resolved training configuration without callbacks, loggers and paths. The
header of the weights contains the SHA-256 of ``config.json``'s content, so the hash of the weights file identifies
both.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...checkpoint.find import HUB_CONFIG, HUB_WEIGHTS
from ...checkpoint.read import NET_PREFIX
from ...checkpoint.restore import restore_model
from ...checkpoint.weights import parse_weights
from ...errors import UserError
from ...io.atomic import replacing, write_json, write_text
from ...io.hashing import text_hash
from ...io.safetensors import write_safetensors
from ...io.untrusted import read_json, unreadable_reason
from .card import CARD, PICTURE, Card

_CONFIG_HASH = "score_sde_config"
_PRIVATE = ("paths", "callbacks", "logger", "module", "ckpt_path", "init_from", "hparams_search", "debug", "test")
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def write_hub(
    checkpoint: Mapping[str, Any],
    folder: str | os.PathLike[str],
    card: Card,
    weights: str = "ema",
    dtype: str = "float32",
    sampler: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder, completely or not at all.

    Args:
        checkpoint: from ``open_checkpoint``.
        folder: a new folder.
        card: facts for the model card.
        weights: which weights, named as in ``restore_model``.
        dtype: type of matrices and kernels: ``float32``, ``float16`` or ``bfloat16``. Vectors stay in float32, because
            the frequencies of Fourier features need its precision.
        sampler: node of the sampler that ``sample`` uses by default; None for the checkpoint's.

    Raises:
        UserError: the folder exists, the weights do not exist, the dtype is unknown, or the folder cannot be written.
    """
    target = Path(folder)
    if target.exists():
        raise UserError(f"output={target} exists: choose a new folder")
    if dtype not in _DTYPES:
        raise UserError(f"dtype={dtype} is unknown: choose one of {', '.join(_DTYPES)}")
    model = restore_model(checkpoint, weights)
    name = parse_weights(weights).average(list(checkpoint.get("ema") or {})) or "raw"
    config = _public({key: value for key, value in checkpoint["config"].items() if key not in _PRIVATE})
    if sampler is not None:
        config["sampler"] = dict(sampler)
    content = {
        "library_name": "score-sde",
        "weights": name,
        "global_step": int(checkpoint["global_step"]),
        "config": config,
    }
    tensors = {key: _stored(tensor, _DTYPES[dtype]) for key, tensor in model.net.state_dict().items()}
    with replacing(target) as temporary:
        temporary.mkdir(parents=True)
        write_json(temporary / HUB_CONFIG, content)
        write_safetensors(temporary / HUB_WEIGHTS, tensors, {"format": "pt", _CONFIG_HASH: _hash(content)})
        write_text(temporary / CARD, card.text(content))
        if card.picture is not None:
            shutil.copyfile(card.picture, temporary / PICTURE)


def is_hub_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a ``.safetensors`` file is the weights of such a folder; False if it cannot be read."""
    if unreadable_reason(path) is not None:
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return _CONFIG_HASH in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_hub(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the folder that contains the weights file ``path``.

    Returns:
        ``config``, ``state_dict``, ``ema``, ``global_step`` and ``only_weights``, the name of the weights it holds.

    Raises:
        UserError: ``config.json`` is missing, damaged, or not the one written with the weights.
    """
    weights, described = Path(path), Path(path).with_name(HUB_CONFIG)
    if (why := unreadable_reason(described)) is not None:
        raise UserError(f"{described} {why}: copy the whole folder")
    try:
        with safe_open(weights, framework="pt") as file:
            expected = file.metadata()[_CONFIG_HASH]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # no mapping
        content = read_json(described)
        name, step, config = content["weights"], int(content["global_step"]), content["config"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{weights.parent} is damaged ({error}): export or download it again") from error
    if not isinstance(config, dict) or not isinstance(name, str):
        raise UserError(f"{described} is not a configuration of this project: export the model again")
    if _hash(content) != expected:
        raise UserError(f"{described} is not the one written with {weights.name}: export or download it again")
    single = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    state = {f"{NET_PREFIX}{key}": tensor for key, tensor in single.items()}
    # Buffers are part of the weights; an average may contain them too.
    averages = {} if name == "raw" else {name: single}
    return {"config": config, "state_dict": state, "ema": averages, "global_step": step, "only_weights": name}


def _public(node: Any) -> Any:
    """A copy with absolute paths, which name folders of the author's machine, reduced to their last part."""
    if isinstance(node, Mapping):
        return {str(key): _public(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_public(value) for value in node]
    return Path(node).name if isinstance(node, str) and node.startswith(("/", "~/")) else node


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    shrinks = tensor.is_floating_point() and tensor.ndim > 1
    # The format does not allow tensors that share memory.
    return tensor.detach().to(dtype if shrinks else tensor.dtype).contiguous().clone()


def _hash(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content, independent of spaces and line ends in the file."""
    return text_hash(json.dumps(content, sort_keys=True))
