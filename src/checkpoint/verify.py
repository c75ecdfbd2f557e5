"""Verify and hash a checkpoint file in one pass, once per launch and node.

A file of ``torch.save`` is a zip archive of uncompressed records, each with a CRC. One sequential read computes the
SHA-256 of the file and the CRC of every record. The result is shared with the processes that this process starts, and
between the processes of a launcher (torchrun, srun) on the same node.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from filelock import FileLock

from ..errors import UserError, first_line
from ..io.hashing import text_hash

VARIABLE = "SCORE_SDE_VERIFIED"
"""Environment variable with the newest results as JSON; child processes inherit it."""

_INHERITED = 64

_ZIP_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_CHUNK = 8 << 20
_AGAIN = "use another checkpoint of the run, or copy it again"
WHERE = "give a .ckpt file from logs/<name>/<time>/checkpoints"


def verified(file: BufferedReader, path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of an open file after checking the CRC of every record of the archive.

    Args:
        file: open for reading; its position changes.
        path: name of the file, for messages.

    Raises:
        UserError: the file is truncated, damaged or not an archive of ``torch.save``.
    """
    key = _identity(file)
    known: dict[str, list[str]] = json.loads(os.environ.get(VARIABLE, "{}"))
    if key not in known:
        known[key] = _once_on_this_node(key, lambda: _outcome(file))
        # The system limits the length of a variable, and a process may read any number of files.
        os.environ[VARIABLE] = json.dumps(dict(list(known.items())[-_INHERITED:]))
    kind, text = known[key]
    if kind == "damage":
        raise UserError(f"{path} {text}")
    return text


def _identity(file: BufferedReader) -> str:
    """Return a key of the file's content; a file that is written again or changed gets another key."""
    status = os.fstat(file.fileno())
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _outcome(file: BufferedReader) -> list[str]:
    try:
        return ["sha256", _read_once(file)]
    except UserError as error:
        return ["damage", str(error)]


def _read_once(file: BufferedReader) -> str:
    """Return the SHA-256 of the file; raise UserError, without the name of the file, if a CRC is wrong."""
    file.seek(0)
    if not _ZIP_MAGIC.startswith(file.read(len(_ZIP_MAGIC))):
        raise UserError(f"is not a checkpoint (not a torch archive): {WHERE}")
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
        spans = [_span(file, record) for record in sorted(records, key=lambda record: record.header_offset)]
    # A damaged archive directory makes zipfile fail in many ways, few of them documented.
    except Exception as error:
        raise UserError(f"is truncated or damaged ({first_line(error)}): {_AGAIN}") from error
    if not any(record.filename.endswith("/data.pkl") for record in records):
        raise UserError(f"is a zip archive but not a checkpoint: {WHERE}")
    digest, sums, first = hashlib.sha256(), [0] * len(spans), 0
    position = 0
    file.seek(0)
    while chunk := file.read(_CHUNK):
        view = memoryview(chunk)
        digest.update(view)
        # Records follow each other in the file, so those before this chunk are finished.
        while first < len(spans) and spans[first][1] <= position:
            first += 1
        for i in range(first, len(spans)):
            start, end = spans[i]
            if start >= position + len(chunk):
                break
            sums[i] = zlib.crc32(view[max(start - position, 0) : end - position], sums[i])
        position += len(chunk)
    for record, found in zip(sorted(records, key=lambda record: record.header_offset), sums, strict=True):
        if found != record.CRC:
            raise UserError(f"is damaged (wrong checksum of {record.filename}): {_AGAIN}")
    return digest.hexdigest()


def _span(file: BufferedReader, record: zipfile.ZipInfo) -> tuple[int, int]:
    """Return the byte range of a record's content in the file."""
    if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size or record.flag_bits & 1:
        raise ValueError(f"{record.filename} is compressed or encrypted")
    header = os.pread(file.fileno(), _LOCAL_HEADER.size, record.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = record.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    end = start + record.file_size
    if magic != _ZIP_MAGIC or end > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{record.filename} has no content in the file")
    return start, end


def _once_on_this_node(key: str, read: Callable[[], list[str]]) -> list[str]:
    """Return ``read()``, or the result of another process of this launch on this node."""
    launch = _launch()
    if launch is None:
        return read()
    folder = Path(tempfile.gettempdir(), f"score-sde-{os.getuid()}", text_hash(launch)[:16])
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.parent.stat().st_uid != os.getuid():
            return read()
        result = folder / key.replace(":", "-")
        with FileLock(f"{result}.lock"):
            if not result.exists():
                content = read()
                result.write_text(json.dumps(content))
            found: list[str] = json.loads(result.read_text())
            return found
    except OSError:
        # Without a shared folder every process reads on its own.
        return read()


def _launch() -> str | None:
    """Return a key shared by the processes of one launch, None for a single process."""
    variables = os.environ
    if int(variables.get("LOCAL_WORLD_SIZE", 1)) > 1 and "TORCHELASTIC_RUN_ID" in variables:
        # The agent is the parent of all its processes; a restart changes the count.
        names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT")
        return "/".join([*(variables.get(name, "") for name in names), str(os.getppid())])
    if int(variables.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_ID" in variables:
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        return "/".join(variables.get(name, "") for name in names)
    return None
