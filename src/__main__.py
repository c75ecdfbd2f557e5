"""The console command: ``score-sde COMMAND``; in a checkout also ``python -m src COMMAND``."""

from __future__ import annotations

import runpy
import sys

from . import __version__
from .config.build import nearest
from .config.location import CONFIG_DIR
from .runtime.command import guarded

COMMANDS = {
    "train": ("commands.train", "train a score model"),
    "sample": ("commands.sample", "sample from a checkpoint"),
    "evaluate": ("commands.evaluate", "score checkpoints or images"),
    "report": ("commands.report", "write a page about one run or several"),
    "doctor": ("datamodules.doctor", "inspect a data set before training on it"),
    "export": ("interop.export", "write a checkpoint in the format of another program"),
}
"""Module inside this package, and one line of help, by command."""


def usage() -> str:
    """Return the text of ``--help``."""
    help_by_name = {name: text for name, (_, text) in COMMANDS.items()}
    help_by_name["completion"] = "print what makes bash or zsh complete commands and settings"
    commands = "\n".join(f"  {name:<11} {text}" for name, text in help_by_name.items())
    return (
        f"usage: score-sde COMMAND [SETTING=VALUE ...]\n\n{commands}\n\n"
        "score-sde COMMAND --help lists the settings of a command; score-sde --version prints the version.\n"
        'eval "$(score-sde completion bash)" in the start file of a shell completes commands and settings.\n'
    )


def main() -> int:
    """Run the command that ``sys.argv`` names; return the exit code."""
    return guarded(_run)


def _run() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(usage(), end="")
        return 0
    if name == "--version":
        print(f"score-sde {__version__}")
        return 0
    if name == "completion":
        from .cli.completion import complete

        print(complete(sys.argv[2:], (*COMMANDS, "completion"), CONFIG_DIR), end="")
        return 0
    if name not in COMMANDS:
        print(f"error: there is no command {name}{nearest(name, COMMANDS)}; see score-sde --help", file=sys.stderr)
        return 2
    del sys.argv[1]
    # Like `python -m`: Lightning starts the other processes of a run by the name of the main module.
    runpy.run_module(f"{__package__}.{COMMANDS[name][0]}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
