"""What the doctor examines: images in files, or samples of a checkpoint."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ....checkpoint import checkpoint_hash, find_checkpoint, restore_model
from ....checkpoint.legacy import upgrade_node
from ....errors import UserError
from ....interop.checkpoints import open_checkpoint
from ....progress import Progress
from ....sampling import Sampler, SamplerStep
from ....sampling.conditioning.labels import class_condition, class_numbers
from ....sampling.generation import Generation
from ....stored_values import StoredValues, values_of
from ... import checkpoint_config
from ...image_source import ImageSource, manifest_of, open_images
from .evidence.base import Images
from .sources import bytes_of, of_files, of_tensor

_log = logging.getLogger(__name__)

ImagesAndVariants = tuple[Images, dict[str, dict[str, Images]]]
"""The images, and other samples of the same net by family and description of the change."""


class Samples(ABC):
    """Images that the doctor examines.

    Attributes:
        config: what the origin of the images says about data and metric; empty if it says nothing.
    """

    config: Mapping[str, Any]

    @property
    @abstractmethod
    def label(self) -> str:
        """Name for a reader."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """A hash that changes with the images."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Settings on which the images depend."""

    @property
    @abstractmethod
    def processed(self) -> bool:
        """Whether somebody may have processed the images after they were made, or the reference."""

    @abstractmethod
    def shape(self) -> dict[str, Any]:
        """The nodes that a metric may refer to, for images whose reference is files."""

    @abstractmethod
    def images(self, reference: Images | None, values: StoredValues | None, device: torch.device) -> ImagesAndVariants:
        """Read or generate the images, as uint8.

        Args:
            reference: images to compare with, if the reference is not statistics.
            values: meaning of the values of the data set that is the reference, None without one.
            device: where to generate.

        Raises:
            UserError: the images cannot be read, or samples diverged.
        """


def open_samples(cfg: DictConfig) -> Samples:
    """Open what ``images`` of ``conf/evaluate.yaml`` names; raise UserError if it does not exist."""
    return SamplesOfNet.open(cfg) if _is_run(str(cfg.images)) else SamplesInFiles(str(cfg.images))


def _is_run(path: str) -> bool:
    """Return whether ``images`` names a checkpoint or a folder of runs rather than images."""
    there = Path(path).expanduser()
    if there.is_file():
        return there.suffix in (".ckpt", ".pth", ".safetensors", ".pkl")
    return there.is_dir() and ((there / "checkpoints").is_dir() or any(there.glob("*.ckpt")))


class SamplesInFiles(Samples):
    """Images in files.

    Args:
        path: as in ``images=``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.source: ImageSource = open_images(path)
        manifest = manifest_of(self.source.path)
        self.config = {} if manifest is None else upgrade_node(manifest.about.get("trained_with", {}))

    @property
    def label(self) -> str:
        return self.path

    @property
    def identity(self) -> str:
        return self.source.fingerprint

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def processed(self) -> bool:
        return True

    def shape(self) -> dict[str, Any]:
        channels, *sides = self.source.shape(None)
        return {"channels": channels, "image_size": sides[0] if len(set(sides)) == 1 else sides}

    def images(self, reference: Images | None, values: StoredValues | None, device: torch.device) -> ImagesAndVariants:
        source = self.source
        channels = None if reference is None else next(reference.batches())[0].shape[1]
        own = source.shape(None)[0]
        if channels not in (None, own):
            _log.warning("%s has images of %d channels, read as %d as in the reference", source.path, own, channels)
        return of_files(source, channels, bytes_of(source, values)), {}


@dataclass(frozen=True)
class SamplesOfNet(Samples):
    """Samples of a checkpoint, and variations of how they are made.

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
    def open(cls, cfg: DictConfig) -> SamplesOfNet:
        """Open the checkpoint that ``images`` names."""
        path = find_checkpoint(str(cfg.images), cfg.paths.log_dir, cfg.name)
        config = open_checkpoint(path, cfg.trained_as)["config"]
        sampler = checkpoint_config.node(config, "sampler", cfg.get("sampler"))
        return cls(path, cfg, config, sampler, str(cfg.weights))

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> str:
        return checkpoint_hash(self.path)

    @property
    def settings(self) -> dict[str, Any]:
        return {key: self.cfg[key] for key in ("num_samples", "seed", "quantize", "weights")} | {
            "sampler": self.sampler
        }

    @property
    def processed(self) -> bool:
        # Without another reference, samples are compared with the data that the net was trained on.
        return self.cfg.reference is not None or self.cfg.get("datamodule") is not None

    def shape(self) -> dict[str, Any]:
        return checkpoint_config.data_node(self.config, None)

    def images(self, reference: Images | None, values: StoredValues | None, device: torch.device) -> ImagesAndVariants:
        quantize, variants = str(self.cfg.quantize), self.variants()
        other = "truncate" if quantize == "round" else "round"
        sets = 1 + sum(map(len, variants.values()))
        _log.info(
            "generating %d sets of %s samples; fewer are enough for most faults", sets, f"{self.cfg.num_samples:,}"
        )
        images, converted = self.generate(device, "the samples", (quantize, other))
        others = {"quantize": {f"quantize={other}": converted}}
        for family, members in variants.items():
            for text, net in members.items():
                try:
                    (found,) = net.generate(device, text, (quantize,))
                except UserError as error:
                    _log.warning("%s was not tried: %s", text, error)
                    continue
                others.setdefault(family, {})[text] = found
        return images, others

    def variants(self) -> dict[str, dict[str, SamplesOfNet]]:
        """Return the same net with one thing changed, by family and description."""
        found: dict[str, dict[str, SamplesOfNet]] = {}
        checkpoint = open_checkpoint(self.path, self.cfg.trained_as)
        raw, averaged = checkpoint.get("only_weights") in (None, "raw"), bool(checkpoint.get("ema"))
        other = "ema" if self.weights == "raw" else "raw"
        # An export holds one kind of weights.
        if raw and averaged:
            found["weights"] = {f"weights={other}": replace(self, weights=other)}
        if isinstance(self.sampler.get("denoise"), bool):
            denoise = not self.sampler["denoise"]
            changed = replace(self, sampler={**self.sampler, "denoise": denoise})
            found["denoise"] = {f"sampler.denoise={str(denoise).lower()}": changed}
        return found

    def generate(self, device: torch.device, task: str, quantizes: Sequence[str]) -> list[Images]:
        """Generate samples 0 to num_samples - 1 once, and return them as uint8 for each way of quantizing.

        Args:
            device: where to generate.
            task: name in the progress report.
            quantizes: ``round`` or ``truncate``.

        Raises:
            UserError: the net does not generate images, or samples diverged.
        """
        cfg = self.cfg
        datamodule = checkpoint_config.data_node(self.config, cfg.get("datamodule"))
        shape, values = checkpoint_config.sample_shape(datamodule), values_of(datamodule)
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
            conditioning=class_condition(numbers, model.num_classes, cfg.seed),
            device=device,
            values=values,
        )
        kept: list[list[Tensor]] = [[] for _ in quantizes]
        with Progress(f"sampling {task}", cfg.num_samples) as progress:

            def after(step: SamplerStep) -> None:
                progress.set_fraction(len(step.x) * step.index / step.total)

            for batch in generation.batches(range(cfg.num_samples), on_step=after):
                if lost := int((~batch.valid).sum()):
                    raise UserError(f"{lost} of {len(batch.valid)} samples diverged: take more steps")
                for parts, quantize in zip(kept, quantizes, strict=True):
                    stored = values.from_model(batch.samples, model.data_range, quantize)
                    parts.append(values.to_bytes(stored).cpu())
                progress.add(len(batch.index))
        return [of_tensor(torch.cat(parts)) for parts in kept]
