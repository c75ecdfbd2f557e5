"""Read what an offline wandb run has written, to check what would be uploaded.

A ``.wandb`` file is a LevelDB log after a header of 7 bytes: blocks of 32 KiB with chunks (crc 4 bytes, length 2, kind
1); kind 1 is a whole record, kinds 2, 3 and 4 are the first, a middle and the last part of a record. Records are
protocol buffers.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK, _FILE_HEADER, _CHUNK_HEADER = 32768, 7, 7
_WHOLE, _LAST = 1, 4
_PATIENCE = 60.0


@dataclass
class OfflineRun:
    """An offline run: ``history`` has one dictionary per call of ``log``; ``files`` are its files, such as images;
    ``ended``: whether its last record is written."""

    folder: Path
    id: str = ""
    project: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    ended: bool = False


def read_offline(folder: Path) -> list[OfflineRun]:
    """Return all offline runs at or below ``folder``, oldest first, once each of them is written to its end.

    A process of wandb writes the files, still for a moment after ``wandb.finish``.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        runs = [_read(log) for log in sorted(Path(folder).rglob("run-*.wandb"))]
        if all(run.ended for run in runs):
            return runs
        assert time.monotonic() < deadline, "wandb does not write the end of the run"
        time.sleep(0.05)


def _read(log: Path) -> OfflineRun:
    run = OfflineRun(log.parent)
    for content in _records(log.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.project, run.name = record.run.run_id, record.run.project, record.run.display_name
            run.config |= _values(record.run.config.update)
        elif kind == "config":
            run.config |= _values(record.config.update)
        elif kind == "history":
            run.history.append(_values(record.history.item))
        elif kind == "exit":
            run.ended = True
    run.files = sorted(path for path in (log.parent / "files").rglob("*") if path.is_file())
    return run


def _values(items: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        *parents, last = item.nested_key or [item.key]
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = json.loads(item.value_json)
    return values


def _records(content: bytes) -> Iterator[bytes]:
    assert b":W&B".startswith(content[:4]), "not an offline run"
    position, parts = _FILE_HEADER, b""
    while position + _CHUNK_HEADER <= len(content):
        if _BLOCK - position % _BLOCK < _CHUNK_HEADER:
            # No chunk header fits into the rest of the block.
            position += _BLOCK - position % _BLOCK
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        position += _CHUNK_HEADER
        if position + length > len(content):
            # The rest of this record is not written yet.
            return
        parts += content[position : position + length]
        position += length
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""
