"""Networks of NVlabs as pickles, and models in the format of the Hugging Face Hub."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from src.io.hashing import text_hash
from tests.interop import edm_files
from tests.reliability.hostile.files.checkpoints import SETTINGS, assign
from tests.reliability.hostile.files.kinds import Kinds, Make
from tests.reliability.hostile.files.safetensors import parts, safetensors
from tests.reliability.hostile.files.torch_archives import PICKLES, Payload

NETWORKS, HUB = Kinds("network"), Kinds("config.json")

for name, content in PICKLES.items():
    NETWORKS.add(name, lambda good, bad, content=content: bad.write_bytes(content))


def _called(name: str, *arguments: bytes) -> bytes:
    """Return a pickle that calls ``module.function`` with short strings."""
    module, _, function = name.rpartition(".")
    texts = b"".join(b"U" + bytes([len(text)]) + text for text in arguments)
    return b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"(" + texts + b"tR."


for name, content in {
    "os.system": _called("os.system", b"touch evil"),
    "a function of pathlib": _called("pathlib.Path.touch", b"evil"),
    "a torch class that is not a layer": _called("torch.nn.modules.module.sys.exit", b""),
    "torch.load of another file": _called("torch.load", b"/etc/passwd"),
    "an invalid storage": _called("torch.storage._load_from_bytes", b"nothing"),
    "an object with source code and no name": _called("torch_utils.persistence._reconstruct_persistent_obj", b"import"),
    "an object outside of the file": b"\x80\x02U\x04evilQ.",
    "an entry of the extension registry": b"\x80\x02\x82\x01.",
    "a state for a function": b"\x80\x02ctorch\nSize\n}U\x08__code__K\x01sb.",
}.items():
    NETWORKS.add(name, lambda good, bad, content=content: bad.write_bytes(content))


def _written(name: str, model: Callable[[], Any], **more: Any) -> None:
    NETWORKS.add(name, lambda good, bad: bad.write_bytes(edm_files.written(model(), **more)))


def _with(change: Callable[[Any], Any]) -> Callable[[], Any]:
    def make() -> Any:
        network = edm_files.network(nf=8)
        change(network)
        return network

    return make


def _tensor(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Any]:
    def replace(network: Any) -> None:
        layer = network.model.map_layer0
        layer.weight = torch.nn.Parameter(change(layer.weight.detach()), requires_grad=False)

    return _with(replace)


def _renamed(network: Any, old: str, new: str) -> None:
    blocks = network.model.enc._modules
    blocks[new] = blocks.pop(old)


_written("no network", lambda: None)
_written("a network that is a number", lambda: 7)
_written("a network of StyleGAN", lambda: edm_files.Persistent("Generator", z_dim=512, img_resolution=1024))
_written("a network of EDM2", lambda: edm_files.Persistent("Precond", img_resolution=64))
_written("a preconditioning without a network", lambda: edm_files.Persistent("EDMPrecond", img_resolution=16))
_written("a preconditioning that contains itself", _with(lambda n: n._modules.update(model=n)))
_written("a network without layers", _with(lambda n: n.model._modules.clear()))
_written("a network without an encoder", _with(lambda n: n.model.enc._modules.clear()))
_written("a network with classes", lambda: edm_files.network(nf=8, classes=10))
_written("layers that are a number", _with(lambda n: n.model.__dict__.update(_modules=7)))
_written(
    "parameters that are strings", _with(lambda n: n.model.map_layer0.__dict__.update(_parameters={"weight": "a"}))
)
_written("a level of 10^18 pixels", _with(lambda n: _renamed(n, "16x16_conv", f"{10**18}x{10**18}_conv")))
_written("a level whose size is a string", _with(lambda n: _renamed(n, "16x16_conv", "largexlarge_conv")))
_written("a sigma_data that is a string", _with(lambda n: n.__dict__.update(sigma_data="much")))
_written("a sigma_data of NaN", _with(lambda n: n.__dict__.update(sigma_data=math.nan)))
_written("a sigma_data of zero", _with(lambda n: n.__dict__.update(sigma_data=0.0)))
_written("weights of another shape", _tensor(lambda t: t[:1].clone()))
_written("integer weights", _tensor(lambda t: t.to(torch.int64)))
_written("complex weights", _tensor(lambda t: t.to(torch.complex64)))
_written("terabytes of weights expanded from one number", _tensor(lambda t: torch.zeros(1).expand(10**6, 10**6)))


@NETWORKS.kind("a program next to the network", harmless=False)
def _beside(good: Path, bad: Path) -> None:
    content = edm_files.written(edm_files.network(nf=8), training_set_kwargs=Payload(bad.with_name("evil")))
    bad.write_bytes(content)


@NETWORKS.kind("a plain dictionary of tensors")
def _plain(good: Path, bad: Path) -> None:
    bad.write_bytes(pickle.dumps({"ema": {"weight": [1.0, 2.0]}}))


@NETWORKS.kind("a torch checkpoint with this name")
def _torch(good: Path, bad: Path) -> None:
    torch.save({"ema": {"weight": torch.zeros(3)}}, bad)


def _described(change: Callable[[Any], Any]) -> Make:
    """Change ``config.json`` and write its new hash into the weights beside it, as an attacker would."""

    def make(good: Path, bad: Path) -> None:
        content = json.loads(good.read_text())
        change(content)
        bad.write_text(json.dumps(content))
        weights = bad.with_name("model.safetensors")
        header, tensors = parts(weights)
        header["__metadata__"]["score_sde_config"] = text_hash(json.dumps(content, sort_keys=True))
        weights.write_bytes(safetensors(json.dumps(header).encode(), tensors))

    return make


def _in_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


for name, (key, value) in SETTINGS.items():
    # JSON has no cycles and no tensors; a list that doubles sixty times is small only in a pickle.
    if name != "lists that double sixty times" and _in_json(value):
        harmless = name == "a net as the data set"
        HUB.add(name, _described(lambda content, k=key, v=value: assign(content["config"], k, v)), harmless)
for name, key, value in (
    ("weights that are a list", "weights", ["ema"]),
    ("weights whose name is a path", "weights", "../../evil"),
    ("a step that is a string", "global_step", "last"),
    ("a step of 10^30", "global_step", 10**30),
    ("a negative step", "global_step", -1),
    ("a step of NaN", "global_step", math.nan),
    ("a configuration that is a list", "config", []),
    ("an empty configuration", "config", {}),
):
    HUB.add(
        name, _described(lambda content, k=key, v=value: content.update({k: v})), name == "weights whose name is a path"
    )


@HUB.kind("the configuration of another model")
def _other(good: Path, bad: Path) -> None:
    content = json.loads(good.read_text())
    content["config"]["model"]["net"]["nf"] = 16
    bad.write_text(json.dumps(content))


KINDS = [*NETWORKS.all, *HUB.all]
