"""Read tensors from a pickle with an unpickler that can only build tensors and plain values.

A pickle names functions and calls them. The files of NVlabs/edm also contain the source code of their classes. Here a
table lists every name that may be called, an object becomes a ``ForeignObject`` of its attributes, and any other name
is refused before it is looked up.
"""

from __future__ import annotations

import io
import math
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...checkpoint.read import MAX_PICKLE
from ...errors import UserError
from ...io.untrusted import check_readable


class ForeignObject:
    """The attributes of an object whose class is not loaded; each class gets its own subclass.

    Attributes:
        kind: name of the class.
        fields: its attributes by name.
    """

    kind = ""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"the state of a {self.kind} is not a dictionary")
        self.fields = state


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle: plain values, tensors and ``ForeignObject`` objects.

    Raises:
        UserError: in one line, if the file is damaged or asks for anything else.
    """
    try:
        check_readable(path, "give a file of NVlabs/edm", MAX_PICKLE)
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    try:
        with warnings.catch_warnings():
            # Of typed storages, which these files hold.
            warnings.simplefilter("ignore")
            return _Unpickler(io.BytesIO(content)).load()
    except Exception as error:
        # A damaged pickle can raise any exception; no code in it has run.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is not a pickle of tensors ({reason[:200]}): download it again") from error


# The Python implementation, because the C implementation keeps its memo in an array whose length a file can choose.
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if module.startswith(_CONTAINERS):
            return _class(name)
        raise pickle.UnpicklingError(f"it uses {module}.{name}, which may run code")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside of the file")

    def load_build(self) -> None:
        # Setting the state of a function would change this module.
        stack: list[Any] = self.stack  # type: ignore[attr-defined] # the class has no types
        if not isinstance(stack[-2], ForeignObject | OrderedDict):
            raise pickle.UnpicklingError("it changes something that is not an object of the file")
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined] # the same

    dispatch[pickle.BUILD[0]] = load_build


def _class(kind: str) -> type[ForeignObject]:
    return type(kind, (ForeignObject,), {"kind": kind})


def _persistent(meta: Any) -> ForeignObject:
    """An object of a class whose source is in the file; the source is ignored."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise pickle.UnpicklingError("an object with source code has no class name")
    record = _class(meta["class_name"])()
    record.__setstate__(meta.get("state"))
    return record


def _storage(content: Any) -> Any:
    """Read a storage in the old format of ``torch.save``, tensors only."""
    if not isinstance(content, bytes):
        raise pickle.UnpicklingError("the content of a tensor is not bytes")
    storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(storage, torch.storage.TypedStorage | torch.UntypedStorage):
        raise pickle.UnpicklingError(f"the content of a tensor is a {type(storage).__name__}")
    return storage


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor; raises unless all its elements are inside its storage."""
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("a tensor has no storage")
    numbers = [offset, *size, *stride]
    if len(size) != len(stride) or not all(isinstance(n, int) and 0 <= n < 2**40 for n in numbers):
        raise pickle.UnpicklingError("a tensor has an invalid shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > len(storage) or (math.prod(size) and last >= len(storage)):
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    empty = torch.empty(0, dtype=storage.dtype)
    return empty.set_(storage, offset, tuple(size), tuple(stride)).clone()


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _no_hooks(*_: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()


_CONTAINERS = ("torch.nn.modules.",)
_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("collections", "OrderedDict"): OrderedDict,
    ("dnnlib.util", "EasyDict"): dict,
    ("torch", "Size"): tuple,
}
