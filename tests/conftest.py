"""Checks of annotated shapes and types in every test, a clean environment, and counts printed at the end."""

import os
import signal
from collections.abc import Iterator
from unittest import mock

import pytest

from tests.reliability.support.figures import figures, pytest_terminal_summary
from tests.support import quick_hydra, typechecker

__all__ = ["checks", "environment", "figures", "pytest_terminal_summary"]

# A shell that starts the suite in the background, or `nohup`, leaves these ignored; processes that tests start would
# inherit that and never react to the signals that the tests send.
for _number, _handler in {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}.items():
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

checks = typechecker.install("src")
quick_hydra.parse_files_once()


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Restore the environment variables after a test.

    Lightning leaves ``LOCAL_RANK`` set after it started a process group; a later test that starts a command with two
    devices would then wait forever for the second process.
    """
    typechecker.forget_calls()
    with mock.patch.dict(os.environ):
        yield
