import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from src.checkpoint import checkpoint_hash, read_checkpoint
from src.checkpoint.read import global_step, load_archive
from src.errors import UserError
from tests.checkpoint.example import checkpoint


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_complete_checkpoint_is_read(tmp_path: Path) -> None:
    saved = checkpoint(step=7)
    torch.save(saved, tmp_path / "a.ckpt")
    read = read_checkpoint(tmp_path / "a.ckpt")
    assert read["config"] == saved["config"]
    assert all(torch.equal(read["state_dict"][name], value) for name, value in saved["state_dict"].items())
    assert global_step(tmp_path / "a.ckpt") == 7


def test_the_hash_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"checkpoint")
    assert checkpoint_hash(tmp_path / "a") == hashlib.sha256(b"checkpoint").hexdigest()


def test_truncation_at_any_length_is_detected(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(100.0)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "a.ckpt"
    for length in range(0, len(whole), 11):
        path.write_bytes(whole[:length])
        assert "truncated or damaged" in refusal(path)


def test_a_flipped_bit_is_detected_or_harmless(tmp_path: Path) -> None:
    content = {"w": torch.arange(16.0)}
    torch.save(content, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "a.ckpt"
    detected = 0
    # The bit number is the position modulo 8; with a stride of 3 every bit number is tested.
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ (1 << position % 8)]) + whole[position + 1 :])
        try:
            assert torch.equal(load_archive(path)["w"], content["w"])
        except UserError as error:
            assert "\n" not in str(error)
            detected += 1
    # Undetected flips are in padding and dates. Every byte of a tensor is checked.
    start = whole.index(content["w"].numpy().tobytes())
    assert detected > 100
    for position in range(start, start + 64, 5):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert "data/0" in refusal(path)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("container", ["pickle", "zip", "legacy"])
def test_pickled_code_is_never_run(tmp_path: Path, container: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "a.ckpt"
    content = checkpoint() | {"callbacks": Bomb(victim)}
    if container == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    # Check the payload: ordinary unpickling runs it.
    torch.load(path, weights_only=False) if container != "pickle" else pickle.loads(path.read_bytes())
    assert victim.exists()
    victim.unlink()
    message = refusal(path)
    assert not victim.exists()
    assert ("could run code" if container == "zip" else "not a torch archive") in message
    with pytest.raises(UserError):
        global_step(path)
    assert not victim.exists()


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"content")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x93NUMPY and so on", "not a torch archive"),
        (b"", "truncated or damaged"),
        (zip_of("arr_0.npy"), "a zip archive but not a checkpoint"),
    ],
)
def test_other_file_types_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "a.ckpt")
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"config": None}, "lacks config.model"),
        ({"config": {"net": {}}}, "lacks config.model"),
        ({"global_step": None}, "lacks global_step"),
        ({"state_dict": {"module.weight": torch.zeros(1)}}, "lacks state_dict"),
        ({"state_dict": {"model.net.weight": 3}}, "lacks state_dict"),
        ({"ema": {"net.weight": torch.zeros(1)}}, "lacks ema with tensors by name"),
    ],
)
def test_checkpoints_with_missing_parts_are_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    torch.save(checkpoint() | change, tmp_path / "a.ckpt")
    assert expected in refusal(tmp_path / "a.ckpt")


def test_a_saved_tensor_and_a_pickled_module_are_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.ckpt")
    assert "contains a Tensor" in refusal(tmp_path / "tensor.ckpt")
    torch.save(nn.Linear(1, 1), tmp_path / "module.ckpt")
    assert "other than tensors" in refusal(tmp_path / "module.ckpt")
