"""Which process prints an error, and which broken connections are not reported."""

from __future__ import annotations

import copy
import pickle
import signal

import pytest

from src import distributed
from src.cli import entry as cli
from src.config.location import CONFIG_DIR
from src.errors import Interrupted, UserError

ROOT = CONFIG_DIR.parent
OF_LAUNCHERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def shown(error: BaseException, capsys: pytest.CaptureFixture[str]) -> bool:
    with pytest.raises(SystemExit):
        cli._exit_with_message(error, "train")
    return bool(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("environment", "met", "error", "expected"),
    [
        ({}, False, UserError("no"), True),
        ({}, False, UserError("no", shared=True), True),
        # Started by rank 0, which passed the same checks.
        ({"LOCAL_RANK": "1"}, False, UserError("no"), True),
        ({"LOCAL_RANK": "1"}, True, UserError("no"), True),
        ({"LOCAL_RANK": "1"}, True, UserError("no", shared=True), False),
        ({"LOCAL_RANK": "1"}, True, Interrupted("stopped", signal.SIGTERM), False),
        ({"LOCAL_RANK": "1"}, True, KeyboardInterrupt(), False),
        # Started together: all processes have the same error.
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "a"}, False, UserError("no"), False),
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "a"}, True, UserError("no"), True),
        ({"SLURM_PROCID": "1"}, False, UserError("no"), False),
        ({"SLURM_PROCID": "1"}, True, RuntimeError("Connection closed by peer"), True),
        ({"SLURM_PROCID": "1"}, True, RuntimeError("Gloo connectFullMesh failed with ..."), True),
    ],
)
def test_an_error_is_printed_by_exactly_one_process(
    environment: dict[str, str],
    met: bool,
    error: BaseException,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli, "_process_group_exists", lambda: met)
    assert shown(error, capsys) is expected


def test_an_error_raised_together_is_marked_shared() -> None:
    with pytest.raises(UserError) as caught:
        distributed.raise_together("no")
    assert caught.value.shared
    # Also after pickling and copying, as when received from rank 0.
    for error in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert error.shared and str(error) == "no"
