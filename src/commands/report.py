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

from ..errors import UserError


def main(arguments: Sequence[str]) -> int:
    """Write the page and print its path; return the exit code."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(__doc__ or "")
        return 0
    from ..tasks.report.task import write_report

    outputs = [argument.partition("=")[2] for argument in arguments if argument.startswith("output=")]
    paths = [argument for argument in arguments if not argument.startswith("output=")]
    try:
        if not paths or len(outputs) > 1 or "" in outputs or any(path.startswith("-") for path in paths):
            raise UserError("type score-sde report RUN [RUN ...] [output=FILE]")
        path = write_report(paths, Path(outputs[0]) if outputs else None)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
