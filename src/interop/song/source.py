"""Read settings from the original's Python configuration files without running them.

Such a file contains a function that fills nested ``ml_collections.ConfigDict`` by assignments and may start from the
function of another file of the same ``configs/`` folder. Only this is understood; anything else is refused.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...io.untrusted import MAX_RECORD, read_bytes

_START = "get_config"
_CONTAINER = "ConfigDict"
# These methods change how a ConfigDict behaves, not what it contains.
_NO_EFFECT = ("lock", "unlock")


class Computed(str):
    """The source text of a value that cannot be determined without running the file, such as ``config.device``."""


def read_python(path: Path) -> dict[str, Any]:
    """Return the nested settings that ``get_config`` of a configuration file of the original returns.

    Args:
        path: the file; imported files are searched in the folders above it.

    Raises:
        UserError: in one line, if the file cannot be read, or does more than assign values.
    """
    return _File(path, ()).call(_START)


class _File:
    """One Python file. ``importing`` contains the files that led to it, so that circular imports end."""

    def __init__(self, path: Path, importing: tuple[Path, ...]) -> None:
        self.path = path
        self._importing = (*importing, path)
        self._functions: dict[str, ast.FunctionDef] = {}
        self._imported: dict[str, tuple[str, str]] = {}
        try:
            tree = ast.parse(read_bytes(path, "give Python, YAML or JSON", MAX_RECORD))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path} cannot be read ({reason}): give Python, YAML or JSON") from None
        for statement in tree.body:
            if isinstance(statement, ast.FunctionDef):
                self._functions[statement.name] = statement
            elif isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    self._imported[alias.asname or alias.name] = (statement.module or "", alias.name)

    def call(self, name: str) -> dict[str, Any]:
        """The settings returned by the function ``name`` of this file, or of a file it imports from."""
        if name in self._functions:
            # Removed while it is read, so that a function that calls itself is unknown.
            return _Body(self).run(self._functions.pop(name))
        if name not in self._imported:
            raise UserError(f"{self.path} has no function {name}: give a configuration file of the original")
        module, original = self._imported[name]
        relative = Path(*module.split(".")).with_suffix(".py") if module else Path()
        places = [parent / relative for parent in self.path.parents]
        found = next((place for place in places if module and place.is_file() and place not in self._importing), None)
        if found is None:
            raise UserError(
                f"{self.path} takes {original} from {relative}, which is in no folder above it: copy that file too"
            )
        return _File(found, self._importing).call(original)

    def is_function(self, name: str) -> bool:
        """Whether ``name`` is a function without arguments that this file can call."""
        return name in self._functions or name in self._imported


class _Body:
    """The assignments of one function, executed in order."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._names: dict[str, Any] = {}

    def run(self, function: ast.FunctionDef) -> dict[str, Any]:
        for statement in function.body:
            if isinstance(statement, ast.Return):
                returned = self._value(statement.value) if statement.value is not None else None
                if isinstance(returned, dict):
                    return returned
                break
            self._execute(statement)
        raise self._refusal(function, "returns no settings")

    def _execute(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Assign):
            value = self._value(statement.value)
            for target in statement.targets:
                self._assign(target, value)
        elif not _is_without_effect(statement):
            raise self._refusal(statement, "is more than an assignment")

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._names[target.id] = value
            return
        key = _key(target)
        holder = self._value(target.value) if isinstance(target, ast.Attribute | ast.Subscript) else None
        if key is None or not isinstance(holder, dict):
            raise self._refusal(target, "is not a setting")
        holder[key] = value

    def _value(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
        match node:
            case ast.Name(id=name) if name in self._names:
                return self._names[name]
            case ast.Attribute(value=container) | ast.Subscript(value=container):
                holder, key = self._value(container), _key(node)
                if isinstance(holder, dict) and key in holder:
                    return holder[key]
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[], keywords=[]) if (
                name == _CONTAINER
            ):
                return {}
            case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if self._file.is_function(name):
                return self._file.call(name)
        return Computed(ast.unparse(node))

    def _refusal(self, node: ast.stmt | ast.expr, why: str) -> UserError:
        text = ast.unparse(node).splitlines()[0]
        return UserError(
            f"{self._file.path}, line {node.lineno}: {text!r} {why}, and configuration files are read without running "
            "them: give the same settings as YAML or JSON"
        )


def _key(node: ast.expr) -> str | None:
    """The last name in ``config.model`` and ``config["model"]``."""
    match node:
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return None


def _is_without_effect(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))):
            return name in _NO_EFFECT
    return False
