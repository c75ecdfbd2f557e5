"""The console command and the scripts: each name leads to a module that runs, in a checkout and installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import src
from src import __main__ as console
from src.cli import entry


@pytest.mark.parametrize("name", console.COMMANDS)
def test_every_command_is_a_module_that_runs_as_a_program(name: str) -> None:
    found = importlib.util.find_spec(f"src.{console.COMMANDS[name][0]}")
    assert found is not None and found.origin is not None
    assert 'if __name__ == "__main__":' in Path(found.origin).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 0, "usage: score-sde COMMAND"),
        (["--version"], 0, f"score-sde {src.__version__}"),
        (["trian"], 2, "error: there is no command trian, did you mean train?; see score-sde --help"),
    ],
)
def test_what_runs_nothing_says_what_to_type(arguments, code, said, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["score-sde", *arguments])
    assert console.main() == code
    assert said in "".join(capsys.readouterr())


def test_a_command_is_the_main_module_and_gets_the_other_arguments(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["score-sde", "export", "format=ckpt"])
    with pytest.raises(SystemExit):
        console.main()
    assert "ckpt_path, output missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "sample", "evaluate"])
def test_a_job_of_a_sweep_runs_the_script_of_a_checkout_and_the_module_of_a_package(name: str, monkeypatch) -> None:
    (script,) = entry._program(name)
    assert Path(script).is_absolute() and Path(script).is_file()
    monkeypatch.setattr(entry, "IS_INSTALLED", True)
    flag, module = entry._program(name)
    assert flag == "-m" and importlib.util.find_spec(module) is not None
