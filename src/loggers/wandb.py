"""Weights & Biases without prompts: a run without an account or a network is stored offline."""

from __future__ import annotations

import base64
import json
import logging
import netrc
import os
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ..errors import UserError

_log = logging.getLogger(__name__)

_PATIENCE = 5.0
# Timeout of wandb itself in seconds; its default is minutes.
_INIT_TIMEOUT = 20


def wandb_logger(
    save_dir: str,
    project: str,
    name: str | None = None,
    id: str | None = None,
    offline: bool | Literal["auto"] = "auto",
    **settings: Any,
) -> WandbLogger:
    """Lightning's logger with an id from the start and an automatic mode.

    Only rank 0 opens the run, after closing any open run. If the server cannot be reached or refuses the key, the run
    is offline; this is detected within seconds and reported in one line.

    Args:
        save_dir: the run folder; files go to ``wandb`` inside it.
        project: project on the server.
        name: name of the run on the server.
        id: id of an earlier run to continue; None for a new run. Afterwards it is ``version`` of the logger.
        offline: ``auto`` follows WANDB_MODE if it is set, and is otherwise offline if there is no key.
        settings: more arguments of ``wandb.init``, such as entity, group or tags.

    Raises:
        UserError: if ``offline`` is false and there is no key.
    """
    finish_wandb()
    mode, key = os.environ.get("WANDB_MODE"), _key()
    if offline is False and mode in (None, "online") and key is None:
        raise UserError("wandb has no key: run `wandb login`, set WANDB_API_KEY, or set logger.wandb.offline=true")
    if offline == "auto":
        offline = mode in ("offline", "dryrun") if mode else key is None
        reason = "has no key and " if offline and not mode else ""
    else:
        reason = ""
    arguments = {
        "name": name,
        "save_dir": save_dir,
        "id": id or uuid.uuid4().hex[:8],
        "project": project,
        "resume": "allow",
        **settings,
    }
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined] # Lightning sets it on the function
        return WandbLogger(offline=offline, **arguments)
    # wandb silently writes elsewhere if the folder does not exist.
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    if not offline and mode in (None, "online"):
        refusal = _refusal(key)
        if refusal is None:
            logger, refusal = _online(arguments)
            if logger is not None:
                return logger
        offline, reason = True, f"{refusal} and "
    if offline:
        _log.info(
            "wandb %slogs offline; upload with: wandb sync %s", reason, Path(save_dir) / "wandb" / "offline-run-*"
        )
    return WandbLogger(offline=offline, **arguments)


def finish_wandb() -> None:
    """Close the open run, if there is one, so that the next job of a sweep gets its own run."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def _online(arguments: dict[str, Any]) -> tuple[WandbLogger | None, str]:
    """Return a logger whose run is open, or the reason why wandb does not open it."""
    import wandb

    try:
        logger = WandbLogger(
            offline=False, settings=wandb.Settings(mode="online", init_timeout=_INIT_TIMEOUT), **arguments
        )
        # Open it now: Lightning would open it at the first step.
        _ = logger.experiment
    except Exception as error:
        # wandb raises many kinds of errors here; none of them may end a run.
        wandb.teardown()
        return None, f"does not open the run ({' '.join(str(error).split())})"
    return logger, ""


def _refusal(key: str | None) -> str | None:
    """Return why the server will not accept a run, as far as this can be found out in seconds; None if it may."""
    found: list[str | None] = []
    # The timeout does not apply to a name server that does not answer.
    asking = threading.Thread(target=lambda: found.append(_ask(key)), daemon=True)
    asking.start()
    asking.join(_PATIENCE + 1)
    return found[0] if found else f"does not reach {_server()}"


def _ask(key: str | None) -> str | None:
    request = Request(f"{_server()}/graphql", json.dumps({"query": "query {viewer {id}}"}).encode())
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Basic {base64.b64encode(f'api:{key}'.encode()).decode()}")
    try:
        with urlopen(request, timeout=_PATIENCE) as answer:
            viewer = json.loads(answer.read())["data"]["viewer"]
    except HTTPError as error:
        return "has a key that the server refuses" if error.code in (401, 403) else None
    except OSError:
        return f"does not reach {_server()}"
    except (ValueError, KeyError, TypeError):
        # Another server answers; wandb will find out.
        return None
    return "has a key that the server refuses" if key and viewer is None else None


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rstrip("/")


def _key() -> str | None:
    """Return the key that wandb would use; empty if it identifies itself in another way; None without a key."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return ""
    host = urlsplit(_server()).netloc
    candidates = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in (Path(candidate).expanduser() for candidate in candidates):
        try:
            if path.is_file() and (entry := netrc.netrc(path).authenticators(host)):
                return entry[2]
        except (OSError, netrc.NetrcParseError):
            # wandb cannot read it either.
            continue
    return None
