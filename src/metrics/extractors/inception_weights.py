"""The weights of the FID network: find or download them, check them, and load them without running their code."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import torch

from ...errors import UserError
from ...io.hashing import bytes_hash

_log = logging.getLogger(__name__)

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
SHA256_PREFIX = "6726825d"
_HELP = (
    f"download {URL} (the same file as pytorch-fid's pt_inception-2015-12-05-6726825d.pth) "
    "and give its path as the extractor's weights_path"
)


def inception_weights(path: str | Path | None) -> tuple[bytes, str]:
    """Read and check the weights of the 2015-12-05 Inception V3.

    Without a path the file is read from the torch hub cache, and downloaded there if it is missing. A file lock makes
    one process of a machine download while the others wait, before and after a process group exists.

    Args:
        path: the weights file, or None.

    Returns:
        The bytes of the file, shown to hold tensors only, and their SHA-256 in hex.

    Raises:
        UserError: the file is missing, damaged, or cannot be downloaded.
    """
    file = _cached() if path is None else Path(path)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"no readable Inception weights at {file} ({error.strerror}): {_HELP}") from error
    digest = bytes_hash(raw)
    if not digest.startswith(SHA256_PREFIX):
        if path is None:
            raise UserError(f"the Inception weights in {file} are damaged: delete that file and try again, or {_HELP}")
        _log.warning("%s is not the published file: scores cannot be compared with published ones", file)
    try:
        state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # torch passes on errors of zipfile, pickle and its reader
        raise UserError(f"the Inception weights in {file} are damaged or not a plain state dict: {_HELP}") from error
    if not isinstance(state, dict):
        raise UserError(f"{file} holds a {type(state).__name__}, not a state dict: {_HELP}")
    return raw, digest


def _cached() -> Path:
    """Path of the file in the torch hub cache; the file is downloaded if it is missing."""
    from filelock import FileLock

    file = Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[1]
    if file.exists():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                _log.info("downloading the Inception weights (91 MiB) to %s", file)
                torch.hub.download_url_to_file(URL, str(file), hash_prefix=SHA256_PREFIX, progress=False)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the Inception weights cannot be downloaded ({reason}): {_HELP}") from error
    return file
