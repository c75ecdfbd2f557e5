"""Models as folders of the Hugging Face Hub: ``README.md`` (model card), ``config.json``, ``model.safetensors``."""

from .card import card_of
from .folder import is_hub_file, read_hub, write_hub
from .remote import check_push, download, is_repository, push

__all__ = [
    "card_of",
    "check_push",
    "download",
    "is_hub_file",
    "is_repository",
    "push",
    "read_hub",
    "write_hub",
]
