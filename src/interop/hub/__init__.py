"""Models as folders of the Hugging Face Hub: ``README.md`` (model card), ``config.json``, ``model.safetensors``."""

from .folder import is_hub_file, read_hub, write_hub
from .remote import download, is_repository, push

__all__ = ["download", "is_hub_file", "is_repository", "push", "read_hub", "write_hub"]
