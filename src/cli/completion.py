"""Completion of commands and settings in bash and zsh.

At a Tab the shell calls ``score-sde completion words WORD ...`` with the words after the program up to the cursor. Only
file names and unindented keys of configuration files are read, so the answer takes a tenth of a second; Hydra's own
completion composes the whole configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import UserError

_BASH = """\
_score_sde() {
    local line="${COMP_LINE:0:COMP_POINT}" word head=
    word="${line##* }"
    mapfile -t COMPREPLY < <(score-sde completion words ${line#* })
    if [[ $COMP_WORDBREAKS == *=* && $word == *=* ]]; then head="${word%"${word##*=}"}"; fi
    COMPREPLY=("${COMPREPLY[@]#"$head"}")
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=.] ]]; then compopt -o nospace; fi
}
complete -o default -F _score_sde score-sde
"""

_ZSH = """\
_score_sde() {
    local -a found
    found=(${(f)"$(score-sde completion words ${words[2,CURRENT]})"})
    compadd -Q -S '' -- ${(M)found:#*[=.]}
    compadd -Q -- ${found:#*[=.]}
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _score_sde score-sde
"""
SHELLS = {"bash": _BASH, "zsh": _ZSH}


def complete(arguments: Sequence[str], commands: Iterable[str], config_dir: Path) -> str:
    """Return what ``score-sde completion`` prints.

    Args:
        arguments: a shell, for the code that it evaluates; or ``words`` and the words to complete.
        commands: commands of the program.
        config_dir: the folder ``conf``.

    Raises:
        UserError: the shell is not supported.
    """
    if arguments[:1] == ["words"]:
        return "".join(f"{word}\n" for word in candidates(arguments[1:], commands, config_dir))
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise UserError(
            f"score-sde completion {' '.join(arguments)}: give bash or zsh, and have the shell evaluate the output: "
            'eval "$(score-sde completion bash)"'
        )
    return SHELLS[arguments[0]]


def candidates(words: Sequence[str], commands: Iterable[str], config_dir: Path) -> list[str]:
    """Return what the last word may become: a command, a group or setting with ``=``, or a group with one of its files.

    Args:
        words: a command and its arguments; the last may be empty.
        commands: commands of the program.
        config_dir: the folder ``conf``.
    """
    last = words[-1] if words else ""
    if len(words) < 2:
        return [command for command in commands if command.startswith(last)]
    key, equals, _ = last.partition("=")
    group = config_dir / key.lstrip("+~")
    if equals:
        files = sorted(group.rglob("*.yaml")) if group.is_dir() else []
        found = [f"{key}={file.relative_to(group).with_suffix('').as_posix()}" for file in files]
    else:
        found = _settings(words[0], last, config_dir)
    return [word for word in found if word.startswith(last)]


def _settings(command: str, last: str, config_dir: Path) -> list[str]:
    head, dot, _ = last.partition(".")
    if dot:
        files: Iterable[Path] = (config_dir / head).rglob("*.yaml")
        return sorted({f"{head}.{key}=" for file in files for key in keys(file) if not key.startswith("_")})
    groups = [f"{path.name}=" for path in config_dir.iterdir() if path.is_dir()]
    return sorted({*groups, *(f"{key}=" for key in keys(config_dir / f"{command}.yaml") if key != "defaults")})


def keys(file: Path) -> list[str]:
    """Return the unindented keys of a configuration file; none if there is no such file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [line.partition(":")[0] for line in lines if (line[:1].isalpha() or line[:1] == "_") and ":" in line]
