"""Read data from outside: folders, archives, arrays and tables. Each row becomes an array with its own depth."""

from .opening import open_source
from .source import Source

__all__ = ["Source", "open_source"]
