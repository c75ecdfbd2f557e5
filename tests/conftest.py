"""Shapes and types of every public function are checked while the tests run; counts are printed after them."""

import os
from collections.abc import Iterator
from unittest import mock

import pytest
from jaxtyping import install_import_hook

from tests.reliability.support.figures import figures, pytest_terminal_summary
from tests.support import typechecker

__all__ = ["checks", "environment", "figures", "pytest_terminal_summary"]

checks = install_import_hook("src", f"{typechecker.__name__}.check")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Restore the environment variables after a test.

    Lightning leaves ``LOCAL_RANK`` behind where it has started a process group; a command that a later test starts
    with two devices would then wait for a second process that nobody starts.
    """
    with mock.patch.dict(os.environ):
        yield
