"""Where the doctor's images and references come from: files, samples of a checkpoint, splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ....checkpoint import find_checkpoint, restore_model
from ....config.build import nearest
from ....config.location import CONFIG_DIR
from ....errors import UserError
from ....interop.checkpoints import open_checkpoint
from ....io.headers import opened
from ....sampling import Sampler
from ....sampling.conditioning.labels import class_condition, class_numbers
from ....sampling.generation import Generation
from ....values import BYTES, Values, values_of
from ... import checkpoint_config
from ...image_source import ImageSource
from .examination import Images

_BATCH = 256


def is_run(path: str) -> bool:
    """Return whether ``images`` names a checkpoint or a folder of runs rather than images."""
    there = Path(path).expanduser()
    if there.is_file():
        return there.suffix in (".ckpt", ".pth", ".safetensors", ".pkl")
    return there.is_dir() and ((there / "checkpoints").is_dir() or any(there.glob("*.ckpt")))


def of_files(source: ImageSource, channels: int | None, values: Values) -> Images:
    """Images from files, as uint8."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for index, rows in source.batches(range(len(source)), _BATCH, channels):
            yield values.to_bytes(rows), index

    return Images(len(source), batches)


def of_tensor(images: Tensor) -> Images:
    """Images (N, C, H, W) uint8 held in memory."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.split(torch.arange(len(images)), _BATCH):
            yield images[index], index

    return Images(len(images), batches)


def splits_of(data: Any) -> dict[str, Images]:
    """Return the reference split of a datamodule and its other splits, with classes."""
    names = dict.fromkeys([data.reference_split, *data.parts])

    def one(name: str) -> Images:
        stored = data.images(name)

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for index in torch.split(torch.arange(len(stored)), _BATCH):
                yield data.values.to_bytes(stored.gather(index)), index

        return Images(len(stored), batches, stored.labels)

    return {name: one(name) for name in names}


def is_statistics(path: str) -> bool:
    """Return whether an npz file holds moments of features rather than images."""
    there = Path(path).expanduser()
    if there.suffix != ".npz" or not there.is_file():
        return False
    with opened(there) as headers:
        return {"mu", "sigma"} <= headers.keys()


def data_of_name(name: str) -> dict[str, Any]:
    """Return the node of ``conf/datamodule/<name>.yaml``; raise UserError if there is no such file."""
    path = CONFIG_DIR / "datamodule" / f"{name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise UserError(
            f"reference={name} is neither a file nor a data set{nearest(name, names)}: give images, statistics "
            f"(npz) or one of {', '.join(names)}"
        )
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return checkpoint_config.node({}, "datamodule", loaded)


@dataclass(frozen=True)
class Net:
    """A checkpoint whose samples are examined, and the variations that can be tried.

    Attributes:
        path: the checkpoint file.
        cfg: the composed configuration of ``conf/evaluate.yaml``.
        config: the configuration inside it.
        sampler: the sampler's node.
        weights: ``ema``, ``raw``, ...
    """

    path: Path
    cfg: DictConfig
    config: Mapping[str, Any]
    sampler: dict[str, Any]
    weights: str

    @classmethod
    def open(cls, cfg: DictConfig) -> Net:
        """Open the checkpoint that ``images`` names."""
        path = find_checkpoint(str(cfg.images), cfg.paths.log_dir, cfg.name)
        config = open_checkpoint(path, cfg.trained_as)["config"]
        sampler = checkpoint_config.node(config, "sampler", cfg.get("sampler"))
        return cls(path, cfg, config, sampler, str(cfg.weights))

    def variants(self) -> dict[str, dict[str, tuple[Net, str]]]:
        """Return variations by family and description: the same net with one thing changed, and the quantization."""
        quantize = str(self.cfg.quantize)
        other = "truncate" if quantize == "round" else "round"
        found: dict[str, dict[str, tuple[Net, str]]] = {"quantize": {f"quantize={other}": (self, other)}}
        weights = "ema" if self.weights == "raw" else "raw"
        if weights == "raw" or open_checkpoint(self.path, self.cfg.trained_as).get("ema"):
            found["weights"] = {f"weights={weights}": (replace(self, weights=weights), quantize)}
        if isinstance(self.sampler.get("denoise"), bool):
            denoise = not self.sampler["denoise"]
            changed = replace(self, sampler={**self.sampler, "denoise": denoise})
            found["denoise"] = {f"sampler.denoise={str(denoise).lower()}": (changed, quantize)}
        return found

    def samples(self, quantize: str, device: torch.device) -> Images:
        """Generate samples 0 to num_samples - 1, as uint8.

        Raises:
            UserError: the net does not generate images, or samples diverged.
        """
        cfg = self.cfg
        datamodule = checkpoint_config.data_node(self.config, cfg.get("datamodule"))
        shape = checkpoint_config.sample_shape(datamodule)
        if len(shape) != 3:
            raise UserError(f"{self.path} does not generate images: give a checkpoint of an image model")
        model = restore_model(open_checkpoint(self.path, cfg.trained_as), self.weights).to(device)
        sampler: Sampler = checkpoint_config.build("sampler", self.sampler)
        sampler.check(model.sde)
        labels = OmegaConf.to_container(cfg.labels) if OmegaConf.is_config(cfg.labels) else cfg.labels
        numbers: Any = class_numbers(labels, datamodule.get("class_names"))
        generation = Generation(
            model,
            sampler,
            shape,
            cfg.seed,
            cfg.batch_size,
            model.data_range,
            quantize,
            conditioning=class_condition(numbers, model.num_classes, cfg.seed),
            device=device,
            values=values_of(datamodule),
        )
        parts = []
        for batch in generation.batches(range(cfg.num_samples)):
            if not bool(batch.valid.all()):
                lost = int((~batch.valid).sum())
                raise UserError(f"{lost} samples of {self.path} with weights={self.weights} diverged: take more steps")
            parts.append(batch.shown.cpu())
        return of_tensor(torch.cat(parts))


def bytes_of(source: ImageSource, values: Values | None) -> Values:
    """Return what the values of a file mean; raise UserError for floats: their conversion to bytes changes scores."""
    found = source.values(values)
    if found.levels is None and (values is None or values.levels is not None):
        raise UserError(
            f"{source.path} holds {found.dtype} values, and their conversion to bytes changes a score: "
            "convert them to uint8 first"
        )
    if found != BYTES:
        source.notes.append(f"{found.name} are scored as bytes")
    return found
