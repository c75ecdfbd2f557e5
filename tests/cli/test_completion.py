"""Tab completion of commands, config groups and settings."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.cli.completion import SHELLS, candidates, complete
from src.config.location import CONFIG_DIR
from src.errors import UserError
from tests.support.configs import names

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "sample", "doctor")


def words(*given: str) -> list[str]:
    return candidates(given, COMMANDS, CONFIG_DIR)


def test_completion_of_commands_groups_and_settings() -> None:
    assert words() == list(COMMANDS)
    assert words("t") == ["train"]
    assert {"experiment=", "net=", "seed=", "optimizer="} <= set(words("train", ""))
    assert "defaults=" not in words("train", "")
    assert words("sample", "ckpt_p") == ["ckpt_path="]
    assert words("train", "ckpt_path=las") == words("nothing", "ckpt_p") == []


def test_completion_of_config_files_and_subfolders() -> None:
    assert words("train", "net=") == [f"net={name}" for name in names("net")]
    assert "experiment=vp/cifar10_ddpmpp_continuous" in words("train", "a=b", "experiment=vp/c")
    assert words("train", "+net=ml") == ["+net=mlp"]


def test_completion_of_settings_in_a_group() -> None:
    assert {"trainer.max_steps=", "trainer.max_epochs="} <= set(words("train", "trainer.max_"))
    assert not [word for word in words("train", "net.") if "_target_" in word]


def test_an_unknown_shell_is_refused() -> None:
    assert complete(["zsh"], COMMANDS, CONFIG_DIR) == SHELLS["zsh"]
    with pytest.raises(UserError, match=r"completion fish: give bash or zsh.*eval"):
        complete(["fish"], COMMANDS, CONFIG_DIR)


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("score-sde tr", ["train"]),
        ("score-sde train sampler=heu", ["heun"]),
        ("score-sde sample num_samp", ["num_samples="]),
    ],
)
def test_bash_replies(line: str, replies: list[str]) -> None:
    # Bash ends a word at an equals sign and replaces only the part after it.
    script = f"""
        score-sde() {{ {sys.executable} -m src "$@"; }}
        compopt() {{ :; }}
        eval "$(score-sde completion bash)"
        COMP_LINE='{line}' COMP_POINT={len(line)}
        _score_sde
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (replies, "")


# It completes as the program does, and otherwise only shows its arguments.
PROGRAM = f"""\
#!/bin/sh
[ "$1" = completion ] && cd {ROOT} && exec {sys.executable} -m src "$@"
printf 'RAN <%s>\\n' "$*"
"""
TYPED = {
    "score-sde tr\t": "train",
    "score-sde train sampler=heu\t": "train sampler=heun",
    "score-sde train experiment=vp/cifar10_ddpmpp_c\tname=a": "train experiment=vp/cifar10_ddpmpp_continuous name=a",
    "score-sde sample num_samp\t5": "sample num_samples=5",
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", [["bash", "--norc", "-i"], ["zsh", "-f", "-i"]], ids=["bash", "zsh"])
def test_a_tab_completes_a_word_at_a_terminal(shell: list[str], tmp_path: Path) -> None:
    name = shell[0]
    if shutil.which(name) is None:
        pytest.fail(f"{name} is missing: install it, as with apt install {name}; this test types into it")
    program = tmp_path / "score-sde"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    shown = typed(shell, tmp_path, [f'eval "$(score-sde completion {name})"', *TYPED])
    assert re.findall(r"RAN <(.*?)>", shown) == list(TYPED.values()), shown


def typed(shell: list[str], home: Path, lines: list[str]) -> str:
    """Return what an interactive shell shows while ``lines`` are typed at its terminal."""
    environment = {**os.environ, "HOME": str(home), "PATH": f"{home}:{os.environ['PATH']}", "TERM": "dumb"}
    terminal, end = pty.openpty()
    process = subprocess.Popen(shell, cwd=home, env=environment, stdin=end, stdout=end, stderr=end)
    os.close(end)
    os.write(terminal, "".join(f"{line}\n" for line in [*lines, "exit"]).encode())
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:
        # The shell has ended.
        pass
    process.wait()
    os.close(terminal)
    return shown.decode(errors="replace")
