"""A checkpoint file is verified and hashed in one pass, then read once more to load it."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoint import checkpoint_hash, find_checkpoint, open_verified, read_checkpoint, verify
from src.errors import UserError
from tests.checkpoint.example import checkpoint


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(verify.VARIABLE, "{}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ve" / "2026-01-01_00-00-00" / "checkpoints" / "step00000003.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({**checkpoint(), "padding": torch.zeros(1_000_000)}, path)
    return path


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the bytes read from each file opened by ``Path.open``."""
    count: Counter[str] = Counter()
    original = io.open

    class Counting(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            read = super().readinto(buffer) or 0
            count[os.path.realpath(str(self.name))] += read
            return read

    def opened(file: Any, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
        if mode == "rb":
            return io.BufferedReader(Counting(file, "r"))
        return original(file, mode, *arguments, **settings)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr("builtins.open", opened)
    return count


def test_one_pass_verifies_and_hashes_and_one_loads(path: Path, tmp_path: Path, bytes_read: Counter[str]) -> None:
    size = path.stat().st_size
    found = find_checkpoint("last", tmp_path, "ve")
    assert found == path
    digest = checkpoint_hash(found)
    assert size <= bytes_read.total() < 1.05 * size
    opened = open_verified(found)
    assert digest == opened.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    bytes_read.clear()
    read_checkpoint(found)
    assert bytes_read.total() < 1.05 * size, "a verified file must not be verified again"


def test_a_changed_file_is_verified_again(path: Path) -> None:
    first = checkpoint_hash(path)
    content = bytearray(path.read_bytes())
    place = content.rindex(bytes(4096))
    content[place] = 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"wrong checksum of .*data/"):
        checkpoint_hash(path)
    content[place] = 0
    path.write_bytes(content)
    assert checkpoint_hash(path) == first


@pytest.mark.parametrize("chunk", [64, 1000, 1 << 20])
def test_records_that_span_chunks(path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.arange(300), "b": torch.arange(5)}, path)
    monkeypatch.setattr(verify, "_CHUNK", chunk)
    assert checkpoint_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    content = path.read_bytes()
    for tensor in (torch.arange(300), torch.arange(5)):
        place = content.index(tensor.numpy().tobytes())
        for offset in (0, tensor.nbytes - 1):
            path.write_bytes(content[: place + offset] + b"\xff" + content[place + offset + 1 :])
            with pytest.raises(UserError, match="wrong checksum"):
                checkpoint_hash(path)


def test_compressed_records_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in records.items():
            new.writestr(name, content)
    with pytest.raises(UserError, match="compressed or encrypted"):
        checkpoint_hash(path)


def _in_a_launch(path: Path, rank: int, passes: Any) -> None:
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "TORCHELASTIC_RUN_ID": "one"}
    os.environ[verify.VARIABLE] = "{}"
    original = verify._read_once

    def counted(file: Any) -> str:
        with passes.get_lock():
            passes.value += 1
        return original(file)

    verify._read_once = counted
    assert checkpoint_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_ranks_on_one_node_verify_once(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    context = multiprocessing.get_context("fork")
    passes = context.Value("i", 0)
    ranks = [context.Process(target=_in_a_launch, args=(path, rank, passes)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
        assert rank.exitcode == 0
    assert passes.value == 1


def test_child_processes_inherit_the_result(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = checkpoint_hash(path)
    assert [["sha256", digest]] == list(json.loads(os.environ[verify.VARIABLE]).values())
    monkeypatch.setattr(verify, "_read_once", lambda file: pytest.fail("read again"))
    assert checkpoint_hash(path) == digest


def test_the_inherited_variable_has_bounded_length(tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"{i}.ckpt").write_bytes(b"no archive")
        with pytest.raises(UserError, match="is not a checkpoint"):
            checkpoint_hash(tmp_path / f"{i}.ckpt")
    assert len(os.environ[verify.VARIABLE]) < 20_000
