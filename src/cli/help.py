"""``--help`` of a command, made from the comments of its configuration file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..config.location import CONFIG_DIR, program_command

_WIDTH = 26
_KEY = re.compile(r"^(\w+):(?: (.*))?$")
_NOT_SETTINGS = ("defaults", "hydra")


def help_text(config_name: str) -> str:
    """Return the text of ``--help``: examples, groups with their choices, and every setting with its default."""
    lines = (CONFIG_DIR / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    head = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:first])
    groups = "".join(_entry(f"{name}=", text) for name, text in _groups(lines))
    settings = "".join(_entry(f"{key}={default}", text) for key, default, text in documented(config_name))
    text = f"{head}\n\nGroups, chosen by name:\n{groups}\nSettings and their defaults:\n{settings}"
    # The comments name the scripts of a checkout.
    return re.sub(r"python (train|sample|evaluate)\.py", lambda found: program_command(found[1]), text)


def documented(config_name: str) -> Iterator[tuple[str, str, str]]:
    """Return every setting of a configuration file outside of groups: full key, default, and its comments.

    A comment belongs to the key below it, or to the key on its own line.
    """
    lines = (CONFIG_DIR / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines()
    comments: list[str] = []
    section = ""
    for line in lines:
        indent, text = len(line) - len(line.lstrip()), line.strip()
        content, _, comment = text.partition("# ") if not text.startswith("#") else ("", "", text.lstrip("# "))
        if not text:
            comments = []
        elif not content:
            comments.append(comment)
        else:
            found = _KEY.match(content.strip())
            if indent == 0:
                section = ""
            if found and indent == 0 and found[2] is None:
                section = found[1]
            elif found and "${" in (found[2] or "") and not comment:
                # It follows from another setting.
                pass
            elif found and indent in (0, 2) and section not in _NOT_SETTINGS and found[1][0] != "_":
                key = f"{section}.{found[1]}" if indent else found[1]
                yield key, (found[2] or "").strip(), " ".join([*comments, *([comment] if comment else [])])
            comments = []


def _groups(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Return the groups of the list of defaults, with their comments or the names of their files."""
    for line in lines[lines.index("defaults:") + 1 :]:
        found = re.match(r"  - ([\w@]+): (\S+)(?: # (.*))?$", line)
        if line and not line.startswith("  "):
            return
        if found and "override" not in line and found[1] != "hydra":
            folder = CONFIG_DIR / found[1].partition("@")[0]
            yield found[1], found[3] or ", ".join(_names(folder))


def _names(folder: Path) -> list[str]:
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    flat = [name for name in names if "/" not in name]
    return flat + sorted({f"{name.partition('/')[0]}/..." for name in names if "/" in name})


def _entry(name: str, text: str) -> str:
    import textwrap

    wrapped = textwrap.wrap(text, 120 - _WIDTH, break_on_hyphens=False) or [""]
    rest = "".join(f"{' ' * _WIDTH}{line}\n" for line in wrapped[1:])
    if len(name) + 4 > _WIDTH:
        return f"  {name}\n{' ' * _WIDTH}{wrapped[0]}\n{rest}"
    return f"  {name.ljust(_WIDTH - 2)}{wrapped[0]}\n{rest}"
