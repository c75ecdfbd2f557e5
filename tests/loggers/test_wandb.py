import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from src.errors import UserError
from src.loggers import finish_wandb, keep_best, wandb_logger
from src.loggers import wandb as module
from tests.loggers.wandb_reader import read_offline

KEYS = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL")


@pytest.fixture(autouse=True)
def machine_without_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS:
        # Set first, so that monkeypatch also restores values set by the logger.
        monkeypatch.setenv(key, "")
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    for folder in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(folder, str(tmp_path / "home"))


def test_an_offline_run_and_its_resumption(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    logger = wandb_logger(str(run_dir), project="toys", name="ve")
    known = logger.version
    logger.log_hyperparams({"lr": 0.5})
    logger.log_metrics({"train/loss": torch.tensor(1.5).item()}, 3)
    logger.log_image("samples", [Image.fromarray(picture)], 4)
    # The next sweep job or the resumed run in the same process must not reuse the open run.
    second = wandb_logger(str(run_dir), project="toys", name="ve", id=known)
    second.log_metrics({"train/loss": 0.5}, 5)
    finish_wandb()

    first, continued = read_offline(run_dir)
    assert (first.id, first.project, first.name) == (known, "toys", "ve")
    assert first.config["lr"] == 0.5
    loss, samples = first.history
    assert (loss["train/loss"], loss["trainer/global_step"]) == (1.5, 3)
    [file] = [path for path in first.files if path.suffix == ".png"]
    assert samples["samples"]["filenames"] == [str(file.relative_to(first.folder / "files"))]
    assert np.array_equal(np.asarray(Image.open(file)), picture)
    assert continued.id == known
    assert [(row["train/loss"], row["trainer/global_step"]) for row in continued.history] == [(0.5, 5)]


def test_without_a_key_the_log_says_how_to_upload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="src.loggers"):
        logger = wandb_logger(str(tmp_path / "run"), project="p")
    assert logger._offline
    [line] = [record.getMessage() for record in caplog.records]
    assert line == f"wandb has no key and logs offline; upload with: wandb sync {tmp_path}/run/wandb/offline-run-*"


class Server(ThreadingHTTPServer):
    """A server that answers the W&B query for the owner of a key."""

    def __init__(self, status: int, viewer: dict[str, str] | None) -> None:
        self.asked: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                self.asked.append(handler.headers["Authorization"])
                handler.send_response(status)
                handler.end_headers()
                handler.wfile.write(json.dumps({"data": {"viewer": viewer}}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(status: int = 200, viewer: dict[str, str] | None = None) -> Server:
        servers.append(Server(status, viewer))
        monkeypatch.setenv("WANDB_BASE_URL", servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("place", ["environment", "netrc"])
def test_a_valid_key_logs_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, serve: Callable[..., Server]
) -> None:
    server = serve(viewer={"id": "me"})
    if place == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    else:
        host = server.url.removeprefix("http://")
        (tmp_path / "netrc").write_text(f"machine {host} login user password {'x' * 40}\n")
    opened = []
    monkeypatch.setattr(module.WandbLogger, "experiment", property(lambda self: opened.append(self)))
    logger = wandb_logger(str(tmp_path), project="p")
    assert not logger._offline and opened == [logger]
    assert server.asked == [f"Basic {base64.b64encode(b'api:' + b'x' * 40).decode()}"]
    assert wandb_logger(str(tmp_path), project="p", offline=True)._offline
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_logger(str(tmp_path), project="p")._offline
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "offline"), [(401, "auto"), (403, "auto"), (200, "auto"), (401, False)])
def test_an_invalid_key_logs_offline_with_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    serve: Callable[..., Server],
    status: int,
    offline: Any,
) -> None:
    serve(status)
    monkeypatch.setenv("WANDB_API_KEY", "garbage")
    with caplog.at_level(logging.INFO, logger="src.loggers"):
        assert wandb_logger(str(tmp_path), project="p", offline=offline)._offline
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("wandb has a key that the server refuses and logs offline; upload with: wandb sync")


@pytest.mark.parametrize("kind", ["connection refused", "no answer", "unknown host"])
def test_without_network_the_logger_is_offline_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with socket.socket() as server, caplog.at_level(logging.INFO, logger="src.loggers"):
        server.bind(("127.0.0.1", 0))
        if kind == "no answer":
            server.listen()
        host = "wandb.invalid" if kind == "unknown host" else f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", f"http://{host}")
        begin = time.monotonic()
        assert wandb_logger(str(tmp_path), project="p")._offline
        assert time.monotonic() - begin < 10
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"wandb does not reach http://{host} and logs offline")


def test_a_failure_to_open_the_run_logs_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, serve: Callable[..., Server]
) -> None:
    serve(viewer={"id": "me"})
    # wandb raises for a key this short.
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with caplog.at_level(logging.INFO, logger="src.loggers"):
        logger = wandb_logger(str(tmp_path / "run"), project="p")
    assert logger._offline
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("src.")]
    assert line.startswith("wandb does not open the run (")
    logger.log_metrics({"loss": 1.0}, 1)
    finish_wandb()
    assert read_offline(tmp_path / "run")[0].history[0]["loss"] == 1.0


def test_the_summary_contains_the_best_score(tmp_path: Path) -> None:
    logger = wandb_logger(str(tmp_path / "run"), project="p")
    for step, value in ((1, 9.0), (2, 4.0), (3, 5.0)):
        logger.log_metrics({"fid": value}, step)
        if value < 5:
            keep_best([logger], "fid", value, step)
    summary = dict(logger.experiment.summary)
    assert (summary["best/fid"], summary["best/step"], summary["fid"]) == (4.0, 2, 5.0)
    finish_wandb()


def test_a_key_of_another_server_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_logger(str(tmp_path), project="p")._offline


def test_online_without_a_key_is_refused_without_a_prompt(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wandb login"):
        wandb_logger(str(tmp_path), project="p", offline=False)


def test_ids_are_new_unless_given(tmp_path: Path) -> None:
    versions = {wandb_logger(str(tmp_path), project="p").version for _ in range(3)}
    assert len(versions) == 3
    assert wandb_logger(str(tmp_path), project="p", id="abc").version == "abc"


def test_only_rank_zero_opens_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = wandb_logger(str(tmp_path / "run"), project="p")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.experiment.log({"loss": 1.0})
    assert not (tmp_path / "run").exists()
