"""Checkpoints with harmful configurations, tensors or counters."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.reliability.hostile.files.kinds import Kinds, Make

CHECKPOINTS, ORIGINALS, TRAINING = map(Kinds, ("checkpoint", "pth", "training"))
SAMPLER, SHAPE, UNKNOWN = Kinds("sampler"), Kinds("shape of the data"), Kinds("settings that no class has")

Content = dict[str, Any]


def _changed(change: Callable[[Content], Any]) -> Make:
    def make(good: Path, bad: Path) -> None:
        content = torch.load(good, weights_only=True)
        change(content)
        torch.save(content, bad)

    return make


def assign(content: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        content = content[parent]
    content[last] = value


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _billion_laughs() -> list[Any]:
    value: list[Any] = ["x"]
    for _ in range(60):
        value = [value, value]
    return value


def _cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = [value]
    return value


SETTINGS: dict[str, tuple[str, Any]] = {
    "an environment variable in the net": ("model.net.nf", "${oc.env:SECRET_OF_THE_TEST}"),
    "an environment variable in the sampler": ("sampler._convert_", "${oc.env:SECRET_OF_THE_TEST}"),
    "an environment variable in the data": ("datamodule.path", "${oc.env:SECRET_OF_THE_TEST}"),
    "an environment variable in a key": ("sampler", {"${oc.env:SECRET_OF_THE_TEST}": 1}),
    "an escaped interpolation": ("model.net.nonlinearity", "$${oc.env:SECRET_OF_THE_TEST}"),
    "os.system as the net": ("model.net", {"_target_": "os.system", "command": "touch evil"}),
    "a built-in function": ("model.net", {"_target_": "builtins.eval", "_args_": ["1"]}),
    "a function of this project": ("model.net", {"_target_": "src.io.atomic.write_text", "path": "evil", "text": ""}),
    "a class imported from elsewhere": ("model.net", {"_target_": "src.io.atomic.Path"}),
    "a private class": ("model.net", {"_target_": "src.datamodules.reading.decoding._Decoder"}),
    "a target that is a number": ("model.net._target_", 7),
    "a target that is a list": ("model.net._target_", ["os", "system"]),
    "a target of null": ("model.net._target_", None),
    "a target with spaces": ("model.net._target_", "src.nets. NCSNpp"),
    "a target that is not a class": ("model.net._target_", "src.errors"),
    "a net as the sampler": ("sampler._target_", "src.nets.NCSNpp"),
    "a net as the data set": ("datamodule._target_", "src.nets.NCSNpp"),
    "a partial model": ("model._partial_", True),
    "positional arguments": ("model._args_", [1, 2, 3]),
    "arguments that are a number": ("model._args_", 5),
    "a model that is a list": ("model", []),
    "a net that is a string": ("model.net", "ncsnpp"),
    "a net of null": ("model.net", None),
    "a net as the model": ("model._target_", "src.nets.NCSNpp"),
    "an unknown setting": ("model.net.key", 1),
    "no features": ("model.net.nf", 0),
    "negative features": ("model.net.nf", -8),
    "a million features": ("model.net.nf", 10**6),
    "10^18 features": ("model.net.nf", 10**18),
    "10^30 features": ("model.net.nf", 10**30),
    "NaN features": ("model.net.nf", math.nan),
    "features that are a string": ("model.net.nf", "many"),
    "ten million blocks": ("model.net.num_res_blocks", 10**7),
    "a thousand levels": ("model.net.ch_mult", [1] * 1000),
    "levels that are null": ("model.net.ch_mult", None),
    "an image of 2^40 pixels": ("datamodule.image_size", 2**20),
    "an image of -1 pixels": ("datamodule.image_size", -1),
    "an image size that is a string": ("datamodule.image_size", "large"),
    "no channels": ("datamodule.channels", 0),
    "10^12 channels": ("datamodule.channels", 10**12),
    "a noise level of NaN": ("model.sde.sigma_max", math.nan),
    "an infinite noise level": ("model.sde.sigma_max", math.inf),
    "a noise level of zero": ("model.sde.sigma_min", 0.0),
    "a prior mean of NaN": ("model.sde.prior_mean", math.nan),
    "a prior mean of strings": ("model.sde.prior_mean", ["a"]),
    "an unknown data range": ("model.data_range", "bytes"),
    "a sampler of 10^18 steps": ("sampler.grid.steps", 10**18),
    "a sampler of -1 steps": ("sampler.grid.steps", -1),
    "NaN sampler steps": ("sampler.grid.steps", math.nan),
    "a sampler end point of NaN": ("sampler.grid.eps", math.nan),
    "a corrector snr of NaN": ("sampler.corrector.snr", math.nan),
    "a corrector of 10^18 steps": ("sampler.corrector.steps", 10**18),
    "settings that contain themselves": ("sampler.grid", _cycle()),
    "a net that contains itself": ("model.net.ch_mult", _cycle()),
    "lists that double sixty times": ("model.net.ch_mult", _billion_laughs()),
    "lists nested 300 times": ("model.net.ch_mult", _nested(300)),
    "a number of 5,000 digits": ("model.net.nf", 10**5000),
    "keys that are numbers": ("model.net", {1: 2}),
    "a tensor in the settings": ("model.net.nf", torch.zeros(3)),
    "a text of 10 MB": ("model.net.nonlinearity", "a" * 10_000_000),
    "a text of two lines": ("model.net.nonlinearity", "a\nerror: b"),
    "terminal codes": ("model.net.nonlinearity", "\x1b[2J\x1b]0;evil\x07"),
}
_UNUSED = ("a net as the data set",)
"""Settings that most commands never read."""

_TAGS = {"sampler": SAMPLER, "datamodule": SHAPE}
_TAGS |= dict.fromkeys(("model._partial_", "model._args_", "model.net.key"), UNKNOWN)
for name, (key, value) in SETTINGS.items():
    _TAGS.get(key, _TAGS.get(key.partition(".")[0], CHECKPOINTS)).add(
        name, _changed(lambda content, key=key, value=value: assign(content["config"], key, value)), name in _UNUSED
    )


def _tensor(name: str, tensor: Callable[[torch.Tensor], Any], harmless: bool = False) -> None:
    """Change the first 4-D weight of the net and its EMA copy."""

    def change(content: Content) -> None:
        state, averages = content["state_dict"], next(iter(content["ema"].values()))
        key = next(key for key, value in averages.items() if value.ndim == 4)
        averages[key] = tensor(averages[key])
        state[f"model.net.{key}"] = tensor(state[f"model.net.{key}"])

    CHECKPOINTS.add(name, _changed(change), harmless)


_tensor("weights that are a list", lambda t: [1.0, 2.0])
_tensor("weights of another shape", lambda t: t[:1])
_tensor("terabytes of weights expanded from one number", lambda t: torch.zeros(1).expand(10**12))
_tensor("weights expanded from one number", lambda t: torch.zeros(1).expand(t.shape), harmless=True)
_tensor("sparse weights", lambda t: t.to_sparse())
_tensor("quantized weights", lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8))
_tensor("weights on the meta device", lambda t: t.to("meta"))
_tensor("integer weights", lambda t: t.to(torch.int64))
_tensor("complex weights", lambda t: t.to(torch.complex64))
_tensor("boolean weights", lambda t: t.bool())
_tensor("NaN weights", lambda t: torch.full_like(t, math.nan), harmless=True)
_tensor("infinite weights", lambda t: torch.full_like(t, math.inf), harmless=True)
_tensor("half precision", lambda t: t.half(), harmless=True)

for name, key, value in (
    ("no weights", "state_dict", {}),
    ("a state dict that is a list", "state_dict", [1, 2]),
    ("averages that are a number", "ema", 7),
    ("averages without names", "ema", {7: {}}),
    ("averages that are empty", "ema", {"default": {}}),
    ("averages of numbers", "ema", {"default": {"a": 1}}),
    ("a configuration that is a string", "config", "experiment=digits"),
    ("an empty configuration", "config", {}),
    ("a step that is a string", "global_step", "last"),
    ("a negative step", "global_step", -1),
    ("a step of NaN", "global_step", math.nan),
    ("a step of 10^30", "global_step", 10**30),
):
    CHECKPOINTS.add(name, _changed(lambda content, key=key, value=value: content.update({key: value})))


for name, change in {
    "no counters": lambda content: content.pop("loops"),
    "counters that are strings": lambda content: content.update(loops={"fit_loop": "far"}),
    "no optimizer state": lambda content: content.pop("optimizer_states"),
    "an optimizer state that is a string": lambda content: content.update(optimizer_states="good"),
    "moments of another shape": lambda content: _moments(content).update(exp_avg=torch.zeros(2)),
    "NaN moments": lambda content: _moments(content)["exp_avg"].fill_(math.nan),
    "moments that are a string": lambda content: _moments(content).update(exp_avg="large"),
    "no averages": lambda content: content.pop("ema"),
}.items():
    TRAINING.add(name, _changed(change))


def _moments(content: Content) -> Content:
    state: dict[Any, Content] = content["optimizer_states"][0]["state"]
    return next(iter(state.values()))


def _song(name: str, change: Callable[[Content], Any], harmless: bool = False) -> None:
    ORIGINALS.add(name, _changed(change), harmless)


def _first(content: Content, tensor: Callable[[torch.Tensor], Any]) -> None:
    key = next(key for key, value in content["model"].items() if getattr(value, "ndim", 0) == 4)
    content["model"][key] = tensor(content["model"][key])


_song("weights of another shape", lambda c: _first(c, lambda t: t[:1]))
_song("weights that are a list", lambda c: _first(c, lambda t: [1.0]))
_song("weights on the meta device", lambda c: _first(c, lambda t: t.to("meta")))
_song("sparse weights", lambda c: _first(c, lambda t: t.to_sparse()))
_song("complex weights", lambda c: _first(c, lambda t: t.to(torch.complex64)))
_song("weights of terabytes", lambda c: _first(c, lambda t: torch.zeros(1).expand(10**12)))
_song("averages that are a number", lambda c: c["ema"].update(shadow_params=7))
_song("averages that are strings", lambda c: c["ema"].update(shadow_params=["a"] * len(c["ema"]["shadow_params"])))
_song("too few averages", lambda c: c["ema"]["shadow_params"].pop())
_song(
    "averages of another shape", lambda c: c["ema"].update(shadow_params=[t[None] for t in c["ema"]["shadow_params"]])
)
_song("no names", lambda c: c.update(ema=[1, 2]))
_song("noise levels that are not a tensor", lambda c: c["model"].update({"module.sigmas": "many"}))
_song("NaN noise levels", lambda c: c["model"].update({"module.sigmas": torch.full((10,), math.nan)}))
_song("no noise levels", lambda c: c["model"].update({"module.sigmas": torch.zeros(0)}))
_song("a step that is a string", lambda c: c.update(step="last"))
_song("a step of NaN", lambda c: c.update(step=math.nan))
_song("names that are numbers", lambda c: c["model"].update({7: torch.zeros(1)}))


KINDS = [*CHECKPOINTS.all, *SAMPLER.all, *SHAPE.all, *UNKNOWN.all, *TRAINING.all, *ORIGINALS.all]
