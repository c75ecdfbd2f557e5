"""zsh gives programs the words that bash gives them, for every command in the documents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, blocks, lines, words
from tests.docs.test_commands import COMMANDS


def read(shell: list[str], commands: list[str], folder: Path) -> list[list[str]]:
    """The words of each command: every program is replaced by one that prints its arguments."""
    programs = {words(command)[0] for command in commands}
    shown = [f"{program}() {{ printf '%s\\0' {program} \"$@\"; }}" for program in sorted(programs)]
    script = [f"{command}\nprintf '\\n'" for command in commands]
    # A word that zsh cannot expand would end a script.
    done = subprocess.run(
        [*shell, "-c", "\n".join([*shown, *script])],
        cwd=folder,
        env=os.environ | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return [line.split("\0")[:-1] for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_zsh_reads_every_command_as_bash_does(tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.fail("zsh is missing: install it, as with apt install zsh; this test compares it with bash")
    # Not lists of subcommands, and no functions are named after paths.
    plain = (line for line in COMMANDS if not re.search(r"<<|\w\|\w", line))
    commands = [line for line in plain if "/" not in words(line)[0]]
    in_bash, in_zsh = (read(shell, commands, tmp_path) for shell in (["bash", "--norc"], ["zsh", "-f"]))
    assert len(in_bash) == len(commands) and all(in_bash)
    assert in_zsh == in_bash


def test_commands_have_no_comments() -> None:
    # zsh at a terminal knows no comments unless it is told so.
    found = [line for page in PAGES for block in blocks(page) if block.language == "bash" for line in lines(block.text)]
    assert found and not [line for line in found if "#" in line]
