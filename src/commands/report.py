"""A page about one run or several, in one file: ``score-sde report RUN``, in a checkout ``python -m src report RUN``.

    score-sde report RUN [RUN ...] [output=FILE]

RUN      a run (logs/NAME/TIME), a sweep (all its runs), another folder of runs (the newest), or a folder of sample.py
         or evaluate.py
output   the file; by default report.html in the folder, for several runs in the working directory
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..config.location import program_command
from ..errors import UserError
from ..runtime.command import command


@command(__doc__)
def main(arguments: Sequence[str]) -> str:
    """Write the page; return its path."""
    outputs = [argument.partition("=")[2] for argument in arguments if argument.startswith("output=")]
    paths = [argument for argument in arguments if not argument.startswith("output=")]
    if not paths or len(outputs) > 1 or "" in outputs or any(path.startswith("-") for path in paths):
        raise UserError(f"type {program_command('report')} RUN [RUN ...] [output=FILE]")
    # Import heavy libraries only once the command line is known to be valid.
    from ..tasks.report.task import write_report

    return str(write_report(paths, Path(outputs[0]) if outputs else None))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
