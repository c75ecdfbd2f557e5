"""A checkpoint into the format of another program.

    python -m src.interop.export ckpt_path=last format=safetensors output=model.safetensors

ckpt_path   a checkpoint of this project (a file, a run folder, last, best or a step), a .safetensors export, or a .pth
            of Song's or Peng's program
format      safetensors: weights with the configuration in the header, which sample.py reads as it reads checkpoints
            diffusers: a pipeline, for NCSN++ of the form published for 256 and 1024 pixels
            song, peng: a .pth for the original's programs
            ckpt: a checkpoint of this project, which needs no experiment any more
output      the file, or the folder of a pipeline
experiment  for a .pth: the experiment it belongs to, or the path of Song's configuration in YAML or JSON
weights     for diffusers: ema (default), ema:<name> or raw
log_dir     where runs are kept (logs)
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..checkpoint.find import find_checkpoint
from ..errors import UserError
from ..io.atomic import replacing
from .checkpoints import open_checkpoint
from .diffusers import write_diffusers
from .safetensors import write_checkpoint_file
from .song.checkpoint import write_song_checkpoint

_REQUIRED = ("ckpt_path", "format", "output")
_DEFAULTS = {"experiment": None, "weights": "ema", "log_dir": "logs"}


def export(
    ckpt_path: str,
    format: str,
    output: str,
    experiment: str | None = None,
    weights: str = "ema",
    log_dir: str = "logs",
) -> None:
    """Write ``output`` in ``format``; the arguments are those of the command.

    Raises:
        UserError: in one line, whatever cannot be read, expressed or written.
    """
    writers: dict[str, Callable[[Mapping[str, Any], str], None]] = {
        "safetensors": write_checkpoint_file,
        "diffusers": partial(write_diffusers, weights=weights),
        "song": partial(write_song_checkpoint, layout="song"),
        "peng": partial(write_song_checkpoint, layout="peng"),
        "ckpt": _write_checkpoint,
    }
    if format not in writers:
        raise UserError(f"format={format} is unknown: choose one of {', '.join(writers)}")
    path = find_checkpoint(ckpt_path, log_dir)
    if Path(output).resolve() == path.resolve():
        raise UserError(f"output={output} is the checkpoint itself: choose another name")
    writers[format](open_checkpoint(path, experiment), output)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of ``export`` from ``key=value``; UserError for anything else."""
    known = (*_REQUIRED, *_DEFAULTS)
    values: dict[str, Any] = dict(_DEFAULTS)
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


def _write_checkpoint(checkpoint: Mapping[str, Any], output: str) -> None:
    with replacing(output) as temporary:
        torch.save(dict(checkpoint), temporary)


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(__doc__ or "")
        return 0
    try:
        values = parse(arguments)
        export(**values)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{values['output']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
