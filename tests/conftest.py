"""Shapes and types of every public function are checked while the tests run; counts are printed after them."""

from jaxtyping import install_import_hook

from tests import typechecker
from tests.reliability.figures import figures, pytest_terminal_summary

__all__ = ["checks", "figures", "pytest_terminal_summary"]

checks = install_import_hook("src", f"{typechecker.__name__}.check")
