"""Networks of NVlabs/edm: same output as a forward pass written from the paper; files with code are refused."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoint import restore_model
from src.errors import UserError
from src.interop.checkpoints import open_checkpoint
from src.interop.edm.unpickle import ForeignObject, read_pickle
from src.interop.export import export
from tests.interop import edm_files as files
from tests.support.golden import relative


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "network.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ncsnpp", [False, True], ids=["ddpmpp", "ncsnpp"])
def test_the_denoiser_matches_the_reference(ncsnpp: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = files.network(ncsnpp=ncsnpp)
        x, sigma = torch.randn(3, 3, 16, 16), torch.tensor([0.05, 1.0, 40.0])
    export(str(stored(tmp_path, files.written(theirs))), "ckpt", str(tmp_path / "a.ckpt"))
    model = restore_model(open_checkpoint(tmp_path / "a.ckpt"))
    with torch.no_grad():
        found = model.denoise(x * sigma[:, None, None, None], sigma)
    expected = files.denoised(theirs, x * sigma[:, None, None, None], sigma)
    for one, other in zip(found, expected, strict=True):
        # float32 rounding over about twenty layers.
        assert relative(one, other) < 1e-4
    assert not list(tmp_path.glob("source-was-run"))
    config = open_checkpoint(tmp_path / "a.ckpt")["config"]
    assert config["sampler"]["grid"]["steps"] == 18 and config["datamodule"]["data_range"] == "centered"


class Call:
    """An object that pickles as a function call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def tiny(**options: Any) -> Any:
    return files.network(size=8, ch_mult=(1,), blocks=1, attention=(), **options)


def a_storage_that_calls() -> bytes:
    stream = io.BytesIO()
    torch.save(Call(os.system, "touch HERE"), stream)
    return pickle.dumps(Call(torch.storage._load_from_bytes, stream.getvalue()))


def a_tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    arguments = torch.zeros(2).storage(), offset, size, stride, False, None
    return pickle.dumps(Call(torch._utils._rebuild_tensor_v2, *arguments))


def a_module_twice() -> bytes:
    network = tiny()
    network.model.again = network.model.enc
    return files.written(network)


def another_layer() -> bytes:
    network = tiny()
    network.model.extra = files._norm(4)
    return files.written(network)


def another_net(kind: str) -> bytes:
    whole = files.Persistent("EDMPrecond", sigma_data=0.5)
    whole.model = files.Persistent(kind)
    return files.written(whole)


FUNCTION = pickle.GLOBAL + b"torch._utils\n_rebuild_parameter\n"
HOSTILE: dict[str, Callable[[], bytes]] = {
    "os.system": lambda: pickle.dumps({"ema": Call(os.system, "touch HERE")}),
    "beside": lambda: files.written(tiny(), augment_pipe=Call(os.system, "touch HERE")),
    "eval": lambda: pickle.dumps(Call(eval, "open('HERE', 'w')")),
    "getattr": lambda: pickle.dumps(Call(getattr, 1, "real")),
    "in a storage": a_storage_that_calls,
    "of a function": lambda: FUNCTION + pickle.NONE + pickle.EMPTY_DICT + pickle.TUPLE2 + pickle.BUILD + pickle.STOP,
    "out of bounds": lambda: a_tensor(0, (2**33, 2), (0, 0)),
    "stride": lambda: a_tensor(1, (2,), (1,)),
    "length": lambda: pickle.PROTO + b"\4" + pickle.BINBYTES8 + (2**40).to_bytes(8, "little") + b"x",
    "memo": lambda: pickle.NONE + pickle.LONG_BINPUT + (2**32 - 1).to_bytes(4, "little") + pickle.STOP,
    "outside": lambda: pickle.NONE + pickle.BINPERSID + pickle.STOP,
    "truncated": lambda: files.written(tiny())[:-100],
    "nothing": lambda: b"",
    "class": lambda: files.written(tiny(classes=10)),
    "layers": another_layer,
    "twice": a_module_twice,
    "EDM2": lambda: files.written(files.Persistent("Precond", sigma_data=0.5)),
    "ADM": lambda: another_net("DhariwalUNet"),
    "empty": lambda: pickle.dumps({"G": 1}),
    "list": lambda: pickle.dumps([]),
}
MESSAGES = {
    "os.system": r"(posix|nt)\.system, which may run code",
    "beside": r"(posix|nt)\.system, which may run code",
    "eval": r"builtins\.eval, which may run code",
    "getattr": r"builtins\.getattr, which may run code",
    "in a storage": "not a pickle of tensors",
    "of a function": "changes something that is not an object of the file",
    "out of bounds": "an invalid shape|larger than its storage",
    "stride": "larger than its storage",
    "length": "not a pickle of tensors",
    "memo": "has no network",
    "outside": "objects outside of the file",
    "truncated": "not a pickle of tensors",
    "nothing": "not a pickle of tensors",
    "class": "only unconditional networks have a counterpart",
    "layers": "layers differ from this project's: extra.weight",
    "twice": "a module of the network is in two places",
    "EDM2": r"a Precond is not the preconditioning of EDM \(EDMPrecond\): networks of EDM2",
    "ADM": "the network is a DhariwalUNet: only SongUNet",
    "empty": "has no network under `ema`",
    "list": "has no network under `ema`",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_hostile_and_unsupported_files_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = stored(tmp_path, HOSTILE[name]())
    with pytest.raises(UserError, match=MESSAGES[name]) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["network.pkl"]


def test_tensors_keep_dtype_and_values(tmp_path: Path) -> None:
    tensors = {
        "half": torch.arange(6.0).half().reshape(2, 3).t(),
        "bool": torch.tensor([True]),
        "whole": torch.arange(3),
    }
    found = read_pickle(stored(tmp_path, pickle.dumps({**tensors, "module": torch.nn.ModuleList()})))
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )
    assert isinstance(found["module"], ForeignObject) and found["module"].kind == "ModuleList"
