"""The console command and the scripts: each name leads to a runnable module, in a checkout and installed."""

from __future__ import annotations

import ast
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import src
from src import __main__ as console
from src.cli import entry
from src.config import location


@pytest.mark.parametrize("name", console.COMMANDS)
def test_every_command_has_a_main_module(name: str) -> None:
    found = importlib.util.find_spec(f"src.{console.COMMANDS[name][0]}")
    assert found is not None and found.origin is not None
    code = Path(found.origin).read_text(encoding="utf-8")
    assert 'if __name__ == "__main__":' in code
    # The text of --help must be right in the installed package too.
    described = ast.get_docstring(ast.parse(code))
    assert described is not None and f"score-sde {name}" in described and "python -m src." not in described


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 0, "usage: score-sde COMMAND"),
        (["--version"], 0, f"score-sde {src.__version__}"),
        (["trian"], 2, "error: there is no command trian, did you mean train?; see score-sde --help"),
    ],
)
def test_usage_version_and_unknown_commands(arguments, code, message, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["score-sde", *arguments])
    assert console.main() == code
    assert message in "".join(capsys.readouterr())


def test_a_command_gets_the_remaining_arguments(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["score-sde", "export", "format=ckpt"])
    with pytest.raises(SystemExit):
        console.main()
    assert "ckpt_path, output missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "sample", "evaluate"])
def test_sweep_jobs_run_the_script_or_the_installed_module(name: str, monkeypatch) -> None:
    (script,) = entry._program(name)
    assert Path(script).is_absolute() and Path(script).is_file()
    monkeypatch.setattr(entry, "IS_INSTALLED", True)
    flag, module = entry._program(name)
    assert flag == "-m" and importlib.util.find_spec(module) is not None


@pytest.mark.parametrize(
    ("name", "in_checkout", "installed"),
    [
        ("train", "python train.py", "score-sde train"),
        ("doctor", "python -m src doctor", "score-sde doctor"),
        ("metrics.extractors.train_digits", *["python -m src.metrics.extractors.train_digits"] * 2),
    ],
)
def test_how_to_run_in_a_checkout_and_installed(name: str, in_checkout: str, installed: str, monkeypatch) -> None:
    assert location.program_command(name) == in_checkout
    monkeypatch.setattr(location, "IS_INSTALLED", True)
    assert location.program_command(name) == installed


def test_no_message_contains_a_literal_command() -> None:
    root = Path(src.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                assert "python -m src" not in ast.unparse(node), path


RUNNABLE = [
    path
    for path in sorted(Path(src.__file__).parent.rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.stem)
def test_every_command_starts_and_ends_alike(path: Path) -> None:
    # These handle signals and failing output, and end with one line for mistakes.
    used = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
    assert used & {"command", "entry", "guarded"}


@pytest.mark.parametrize("end", ["> /dev/full", ">&-", "| head -c 9 > /dev/null"])
@pytest.mark.parametrize("command", ["src --version", "src.interop.export --help", "src.datamodules.doctor --help"])
def test_a_full_disk_for_the_output_does_not_fail_a_command(command: str, end: str) -> None:
    ended = subprocess.run(
        f"{shlex.quote(sys.executable)} -m {command} {end}",
        shell=True,
        cwd=location.CONFIG_DIR.parent,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
