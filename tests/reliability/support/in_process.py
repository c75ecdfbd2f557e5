"""Call the entry scripts in this process, for errors that come before expensive work."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.reliability.support.entry import ROOT, Ended
from tests.support import quick_hydra


def call(arguments: Sequence[str]) -> Ended:
    """Run ``python <script> ...`` or ``python -m <module> ...`` in this process; return exit code and output."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv, folder, environment = sys.argv, Path.cwd(), dict(os.environ)
    try:
        os.chdir(ROOT)
        sys.argv = list(arguments)
        with (
            quick_hydra.compose_once(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            start = runpy.run_path if arguments[0].endswith(".py") else runpy.run_module
            start(arguments[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.argv = argv
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
    return Ended(code, out.getvalue(), err.getvalue())


def refusal(ended: Ended) -> str:
    """Return the single error line of a refused command."""
    assert ended.code not in (0, None), ended.out
    assert "Traceback" not in ended.err, ended.err
    lines = ended.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), ended.err
    return lines[0].removeprefix("error: ")
