"""Down from the Hugging Face Hub and up to it. Needs the extra ``hub``; tokens are left to ``huggingface_hub``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...checkpoint.find import HUB_CONFIG, HUB_WEIGHTS
from ...errors import UserError
from .card import CARD, PICTURE

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = (CARD, HUB_CONFIG, HUB_WEIGHTS, PICTURE)


def is_repository(text: str) -> bool:
    """Whether ``text`` may be ``organization/name`` on the Hub: it looks so, and is no path on this machine."""
    path = Path(text)
    in_a_folder = path.exists() or path.parent.exists()
    return bool(_NAME.fullmatch(text)) and not text.startswith(".") and path.suffix != ".ckpt" and not in_a_folder


def download(repository: str) -> Path:
    """The folder of a model on the Hub, downloaded into the cache of ``huggingface_hub``, or from there if offline.

    Only the card, its picture, the configuration and the weights are fetched, never code.

    Raises:
        UserError: ``huggingface_hub`` is not installed, there is no such repository, or no network and no copy.
    """
    hub = _hub(f"{repository} is no file or folder on this machine, and reading it from the Hugging Face Hub")
    try:
        return Path(hub.snapshot_download(repository, allow_patterns=list(_FILES)))
    except (OSError, ValueError, hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError) as error:
        raise UserError(
            f"{repository} is no file or folder on this machine and cannot be read from the Hugging Face Hub "
            f"({_first_line(error)}): check the name and the network"
        ) from error


def push(folder: str | Path, repository: str) -> str:
    """Upload a folder that ``write_hub`` wrote; the repository is made, private, if it does not exist.

    Returns:
        The address of the repository.

    Raises:
        UserError: ``huggingface_hub`` is not installed, the name is impossible, or the Hub refuses.
    """
    check_push(repository)
    hub = _hub("push")
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=str(folder), allow_patterns=list(_FILES))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        raise UserError(
            f"push={repository} failed ({_first_line(error)}): check the name, the network, and log in with "
            f"`hf auth login`; the folder {folder} is complete"
        ) from error
    return str(address)


def check_push(repository: str) -> None:
    """Raise UserError if ``huggingface_hub`` is not installed or the name is impossible; nothing is sent."""
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


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
