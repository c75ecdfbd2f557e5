"""Commands without Hydra: exit code, one line for a mistake, traceback for a programming error."""

from __future__ import annotations

import errno
import signal

import pytest

from src.errors import Interrupted, UserError
from src.runtime.command import command, guarded
from src.runtime.signals import Stopped


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no\nway"), 1, "no way"),
        (Interrupted("stopped", signal.SIGTERM), 143, "stopped"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM; finished results are kept"),
        (PermissionError(errno.EACCES, "Permission denied", "a.pt"), 1, "a.pt cannot be written (Permission denied): "),
    ],
)
def test_a_mistake_or_a_signal_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def work() -> None:
        raise error

    assert guarded(work) == code
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {line}") and shown.count("\n") == 1


def test_a_programming_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


def test_a_command_prints_its_result_or_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    @command("how to use it\n")
    def main(arguments: list[str]) -> str:
        return "+".join(arguments)

    assert main(["a", "b"]) == 0
    assert main(["a", "--help"]) == 0
    assert capsys.readouterr().out == "a+b\nhow to use it\n"
