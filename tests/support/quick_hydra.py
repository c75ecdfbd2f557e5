"""Make Hydra faster in tests: parse each file once, and skip the composition that looks for ``hydra.mode``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry

_parsed: dict[object, bytes] = {}


def parse_files_once() -> None:
    """Cache parsed files. Parsing takes a third of a composition. A changed file is read again."""
    original = SourcesRegistry.register

    # Hydra makes these classes when it looks for plugins, at its first use.
    def register(registry: SourcesRegistry, source: Any) -> None:
        if source.scheme() in ("file", "pkg") and source.scheme() not in registry.types:
            source.load_config = _once(source.load_config)
        original(registry, source)

    SourcesRegistry.register = register  # type: ignore[method-assign] # it offers no hook


def compose_once() -> AbstractContextManager[Any]:
    """Skip the first composition. Hydra only looks for ``hydra.mode`` in it, which no file in ``conf/`` sets."""
    return mock.patch.object(Hydra, "get_mode", lambda *_, **__: None)


def _once(load: Callable[..., Any]) -> Callable[..., Any]:
    def loaded(source: Any, config_path: str) -> Any:
        file = Path(source.path, source._normalize_file_name(config_path))
        key = source.provider, file, file.stat().st_mtime_ns if file.is_file() else None
        if key not in _parsed:
            _parsed[key] = pickle.dumps(load(source, config_path))
        return pickle.loads(_parsed[key])

    return loaded
