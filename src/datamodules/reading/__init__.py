"""Reading data from outside: folders, archives, arrays and tables, each row as an array of its own depth."""

from .opening import open_source
from .source import Source

__all__ = ["Source", "open_source"]
