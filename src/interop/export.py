"""A checkpoint into the format of another program.

    score-sde export ckpt_path=last format=safetensors output=model.safetensors

ckpt_path   a checkpoint of this project (a file, a run folder, last, best or a step), a .safetensors export, a .pth of
            Song's or Peng's program, or a .pkl of NVlabs/edm (read as tensors, nothing in it is run)
format      safetensors: weights with the configuration in the header, which sample.py reads as it reads checkpoints
            diffusers: a pipeline, for NCSN++ of the form published for 256 and 1024 pixels
            song, peng: a .pth for the original's programs
            ckpt: a checkpoint of this project, which needs no experiment any more
            hub: a folder for the Hugging Face Hub: README.md (model card with scores), config.json, model.safetensors
output      the file, or the folder of a pipeline or for the Hub
experiment  for a .pth: the experiment it belongs to, or the path of Song's configuration (Python, YAML, JSON)
weights     for diffusers and hub: ema (default), ema:<name> or raw
dtype       for hub: float32 (default), float16 or bfloat16 for matrices and kernels
license     for hub: license of the weights, as apache-2.0; left out by default
push        for hub: organization/name, uploaded to the Hugging Face Hub once the folder is written
name        experiment whose runs count for last, best and steps (all)
log_dir     where runs are kept (logs)

In a checkout: python -m src export ...
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import UserError
from ..runtime.command import command

_REQUIRED = ("ckpt_path", "format", "output")
_DEFAULTS = {"experiment": None, "weights": "ema", "name": None, "log_dir": "logs"}
_OF_HUB = {"dtype": "float32", "license": None, "push": None}


def export(
    ckpt_path: str,
    format: str,
    output: str,
    experiment: str | None = None,
    weights: str = "ema",
    name: str | None = None,
    log_dir: str = "logs",
    dtype: str = "float32",
    license: str | None = None,
    push: str | None = None,
) -> None:
    """Write ``output`` in ``format``; the arguments are those of the command.

    Raises:
        UserError: the checkpoint cannot be read, the format cannot express it, or the file cannot be written.
    """
    # Imported here because a command handles signals, and checks its arguments, before torch is imported.
    from ..checkpoint.find import find_checkpoint
    from ..checkpoint.restore import check_restorable
    from .checkpoints import open_checkpoint, write_checkpoint
    from .diffusers import write_diffusers
    from .hub import card_of, check_push, write_hub
    from .hub import push as push_folder
    from .safetensors import write_checkpoint_file
    from .song.checkpoint import write_song_checkpoint

    def write_folder(checkpoint: Mapping[str, Any], folder: str) -> None:
        write_hub(checkpoint, folder, card_of(path, int(checkpoint["global_step"]), weights, license), weights, dtype)

    writers: dict[str, Callable[[Mapping[str, Any], str], None]] = {
        "safetensors": write_checkpoint_file,
        "diffusers": partial(write_diffusers, weights=weights),
        "song": partial(write_song_checkpoint, layout="song"),
        "peng": partial(write_song_checkpoint, layout="peng"),
        "ckpt": write_checkpoint,
        "hub": write_folder,
    }
    if format not in writers:
        raise UserError(f"format={format} is unknown: choose one of {', '.join(writers)}")
    if push is not None and format != "hub":
        raise UserError(f"push={push} needs format=hub: add it, or leave push out")
    if push is not None:
        check_push(push)
    path = find_checkpoint(ckpt_path, log_dir, name)
    if os.path.realpath(output) == os.path.realpath(path):
        raise UserError(f"output={output} is the checkpoint itself: choose another name")
    checkpoint = open_checkpoint(path, experiment)
    check_restorable(checkpoint)
    writers[format](checkpoint, output)
    if push is not None:
        sys.stdout.write(f"{push_folder(output, push)}\n")


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse ``key=value`` arguments; raise UserError for anything else."""
    values: dict[str, Any] = {**_DEFAULTS, **_OF_HUB}
    known = (*_REQUIRED, *values)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]}=?" if close else ""
            raise UserError(f"cannot read the argument {argument!r}{hint}; choose from {', '.join(known)}")
        values[key] = value
    missing = [key for key in _REQUIRED if not values.get(key)]
    if missing:
        raise UserError(f"{', '.join(missing)} missing: see --help")
    return values


@command(__doc__)
def main(arguments: Sequence[str]) -> str:
    """Write the file; return its path."""
    values = parse(arguments)
    export(**values)
    return str(values["output"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
