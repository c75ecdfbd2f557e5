"""Weights & Biases, which never asks a question and never stops a run that has no account."""

from __future__ import annotations

import logging
import netrc
import os
import sys
import uuid
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ..errors import UserError

_log = logging.getLogger(__name__)


def wandb_logger(
    save_dir: str,
    project: str,
    name: str | None = None,
    id: str | None = None,
    offline: bool | Literal["auto"] = "auto",
    **settings: Any,
) -> WandbLogger:
    """Lightning's logger with an id from the start and a mode that suits the machine.

    Only rank 0 opens the run, when it logs for the first time; a run that is still open is finished first.

    Args:
        save_dir: the run folder; files go to ``wandb`` inside it.
        project: project on the server.
        name: name of the run on the server.
        id: of an earlier run, which is continued; a new one if None. Afterwards it is ``version`` of the logger.
        offline: ``auto`` follows WANDB_MODE if that is set, and otherwise is offline where there is no key.
        settings: more arguments of ``wandb.init``, such as entity, group or tags.

    Raises:
        UserError: if ``offline`` is false and there is no key.
    """
    finish_wandb()
    mode = os.environ.get("WANDB_MODE")
    if offline == "auto":
        offline = mode in ("offline", "dryrun") if mode else not _has_key()
        without_key = offline and not mode
    else:
        without_key = False
        if not offline and mode in (None, "online") and not _has_key():
            raise UserError("wandb has no key: run `wandb login`, set WANDB_API_KEY, or set logger.wandb.offline=true")
    if getattr(rank_zero_only, "rank", 0) == 0:
        # wandb silently writes elsewhere if the folder is not there.
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        if offline:
            _log.info(
                "wandb%s logs offline; upload with: wandb sync %s",
                " has no key and" if without_key else "",
                Path(save_dir) / "wandb" / "offline-run-*",
            )
    return WandbLogger(
        name=name,
        save_dir=save_dir,
        id=id or uuid.uuid4().hex[:8],
        offline=offline,
        project=project,
        resume="allow",
        **settings,
    )


def finish_wandb() -> None:
    """Close the open run, if there is one, so that the next job of a sweep gets its own."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def _has_key() -> bool:
    """Whether wandb would find a key by itself, without asking and without importing it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    candidates = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in (Path(candidate).expanduser() for candidate in candidates):
        try:
            if path.is_file() and netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            # wandb cannot read it either.
            continue
    return False
