"""Shapes and types of every public function are checked while the tests run."""

from jaxtyping import install_import_hook

from tests import typechecker

install_import_hook("src", f"{typechecker.__name__}.check")
