"""Make a command independent of its standard output and standard error: it continues when they are full or closed."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _LenientFile(io.FileIO):
    """A file descriptor that drops failed writes: a full disk, a pipe that `head` has left."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def ignore_write_errors() -> None:
    """Make writing to the standard streams of this process never fail; replaced streams are left unchanged."""
    for name, descriptor, original in (("stdout", 1, sys.__stdout__), ("stderr", 2, sys.__stderr__)):
        stream = vars(sys)[name]
        if stream is None:
            # Closed by the parent process: the next opened file must not take this descriptor.
            null = os.open(os.devnull, os.O_WRONLY)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115 # a descriptor
        elif stream is original and isinstance(stream, io.TextIOWrapper):
            lenient = io.TextIOWrapper(
                io.BufferedWriter(_LenientFile(descriptor, "w", closefd=False)),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=True,
            )
            setattr(sys, name, lenient)
