"""Download from and upload to the Hugging Face Hub. Needs the extra ``hub``; ``huggingface_hub`` manages tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...checkpoint.find import HUB_CONFIG, HUB_WEIGHTS
from ...errors import UserError, first_line
from .card import CARD, PICTURE

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = (CARD, HUB_CONFIG, HUB_WEIGHTS, PICTURE)


def is_repository(text: str) -> bool:
    """Return whether ``text`` may be ``organization/name`` on the Hub: it has that form and is not a path on this
    machine.
    """
    path = Path(text)
    in_a_folder = path.exists() or path.parent.exists()
    return bool(_NAME.fullmatch(text)) and not text.startswith(".") and path.suffix != ".ckpt" and not in_a_folder


def download(repository: str) -> Path:
    """Return the folder of a model on the Hub, downloaded into the cache of ``huggingface_hub``, or cached if offline.

    Only the card, its picture, the configuration and the weights are downloaded, never code.

    Raises:
        UserError: ``huggingface_hub`` is not installed, the repository does not exist, or there is neither network nor
            cached copy.
    """
    hub = _hub(f"{repository} is not a file or folder on this machine, and reading it from the Hugging Face Hub")
    try:
        return Path(hub.snapshot_download(repository, allow_patterns=list(_FILES)))
    except (OSError, ValueError, hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError) as error:
        raise UserError(
            f"{repository} is not a file or folder on this machine and cannot be read from the Hugging Face Hub "
            f"({first_line(error)}): check the name and the network"
        ) from error


def push(folder: str | Path, repository: str) -> str:
    """Upload a folder that ``write_hub`` wrote; a missing repository is created as private.

    Returns:
        The address of the repository.

    Raises:
        UserError: ``huggingface_hub`` is not installed, the name is invalid, or the Hub refuses.
    """
    check_push(repository)
    hub = _hub("push")
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=str(folder), allow_patterns=list(_FILES))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        raise UserError(
            f"push={repository} failed ({first_line(error)}): check the name, the network, and log in with "
            f"`hf auth login`; the folder {folder} is complete"
        ) from error
    return str(address)


def check_push(repository: str) -> None:
    """Raise UserError if ``huggingface_hub`` is not installed or the name is invalid; nothing is sent."""
    if not _NAME.fullmatch(repository):
        raise UserError(f"push={repository}: give organization/name")
    _hub("push")


def _hub(what: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise UserError(f'{what} needs huggingface_hub: pip install ".[hub]"') from error
    return huggingface_hub
