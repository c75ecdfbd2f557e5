"""Base class of all image datamodules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data_range import RANGES, check_range
from ..errors import UserError
from ..image_shape import height_and_width
from ..io.hashing import text_hash
from ..noise import Address, uniform
from ..stored_values import BYTES, StoredValues
from .addressing import AddressedLoader
from .addressing.module import AddressedDataModule
from .augmentation.flips import flip, flip_decisions
from .augmentation.geometric import GeometricAugmentation
from .image_batches import ImageBatches, ImagePlacement
from .image_set import ImageSet


class ImageDataModule(AddressedDataModule, ABC):
    """Images with or without class labels.

    A subclass says in ``load_split`` which images a named split holds. Splits join with a plus sign
    (``train+test``), and ``all`` is short for the join of ``parts``.

    A batch of a loader holds ``x`` (B, C, H, W) uint8, which ``on_after_batch_transfer`` turns into floats on the
    device: bytes, mirrored or not, then scaled or dequantized. It also holds ``labels`` (B,) int64 if the set has them,
    ``index`` (B,) int64 into ``images(split)``, ``position`` (B,) int64 in the global batch and, in training, the
    integers ``step`` and ``epoch``.

    Args:
        image_size: height and width of the images, one number for squares or [height, width]; verified in ``setup``.
        channels: number of channels, verified in ``setup``.
        num_classes: number of classes, verified in ``setup``; None for the number in the data.
        class_names: names of the classes as a checkpoint recorded them, verified in ``setup``; None for those of the
            data.
        data_dir: folder for downloads and decoded images.
        global_batch_size: images of one optimizer step, over all processes and accumulated micro-batches.
        eval_batch_size: images of one evaluation batch on one device.
        data_range: ``unit`` for floats in [0, 1], ``centered`` for [-1, 1].
        random_flip: mirror training images with probability 1/2, decided by (seed, epoch, index).
        dequantize: add uniform noise within the byte to training images, (byte + u) / 256, with u by
            (seed, epoch, index).
        dequantize_eval: the same for evaluation, with u by (seed, index).
        augmentation: transforms training images as floats and says how in ``augment`` of the batch, by
            (seed, step, position).
        num_workers: loader processes for each device.
        pin_memory: page-locked batches, if there is a CUDA device.
        on_device: keep the images of a loader on the trainer's device and gather batches there: true, false, or
            ``auto`` for a CUDA device of which they take at most a tenth of the free memory. The batches are the same.
        seed: seed of data order, flips and dequantization.
        train_split: split to train on.
        val_split: split of the validation loss.
        test_split: split of the test loss.
        reference_split: split that generated images are compared with.
        limit: use only this many images of every split; None for all.
    """

    parts: tuple[str, ...] = ("train", "test")
    """The splits that ``all`` joins."""

    def __init__(
        self,
        *,
        image_size: int | Sequence[int],
        channels: int,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        data_dir: str | Path = "data",
        global_batch_size: int = 128,
        eval_batch_size: int = 128,
        data_range: str = "unit",
        random_flip: bool = False,
        dequantize: bool = False,
        dequantize_eval: bool = False,
        augmentation: GeometricAugmentation | None = None,
        num_workers: int = 0,
        pin_memory: bool = True,
        on_device: bool | str = "auto",
        seed: int = 0,
        train_split: str = "train",
        val_split: str = "test",
        test_split: str = "test",
        reference_split: str = "train",
        limit: int | None = None,
    ) -> None:
        super().__init__(
            global_batch_size=global_batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )
        if limit is not None and limit < 1:
            raise UserError(f"datamodule.limit={limit} must be at least 1, or null for all images")
        self._residence = ImagePlacement(on_device)
        self.height, self.width = height_and_width(image_size, "datamodule.image_size")
        self.image_size = image_size
        self.channels = channels
        self.data_dir = Path(data_dir)
        self.data_range = check_range(data_range, "datamodule.data_range")
        self.random_flip = random_flip
        self.dequantize = dequantize
        self.dequantize_eval = dequantize_eval
        self.augmentation = augmentation
        self.train_split = train_split
        self.val_split = val_split
        self.test_split = test_split
        self.reference_split = reference_split
        self.limit = limit
        self._num_classes = num_classes
        self._recorded_names = None if class_names is None else list(class_names)
        self._splits: dict[str, ImageSet] = {}
        self._fingerprints: dict[str, str] = {}
        self._channel_mean: list[float] | None = None
        self._flips: tuple[int, Tensor] | None = None

    @abstractmethod
    def load_split(self, name: str) -> ImageSet:
        """Return the images of the split ``name`` (no join); raise KeyError if there is no such split."""

    @property
    def class_names(self) -> list[str]:
        """Names of the classes in the order of their labels; empty without labels."""
        return []

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without labels."""
        return len(self.class_names) if self._num_classes is None else self._num_classes

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def values(self) -> StoredValues:
        """Meaning of the stored values; bytes by default."""
        return BYTES

    @property
    def dequantized(self) -> bool:
        """Whether evaluation batches are already dequantized."""
        return self.dequantize_eval

    def settings_from_data(self) -> dict[str, Any]:
        self.prepare_data()
        self.setup("fit")
        names = self.class_names
        return {"class_names": names, "num_classes": self.num_classes} if names else {}

    @property
    def channel_mean(self) -> list[float]:
        """Mean of each channel over the training images, in ``data_range``, without flips and dequantization."""
        if self._channel_mean is None:
            mean = self.images(self.train_split).moments().mean
            low, high, ends = self.values.low, self.values.high, RANGES[self.data_range]
            scaled = (mean - low) / (high - low) * (ends[1] - ends[0]) + ends[0]
            self._channel_mean = scaled.tolist()
        return self._channel_mean

    def images(self, split: str) -> ImageSet:
        """Return the images of a split; ``index`` of a batch refers to them.

        Args:
            split: a name, names joined with ``+``, or ``all``.

        Raises:
            UserError: if there is no such split.
        """
        if split not in self._splits:
            names = "+".join(self.parts) if split == "all" else split
            sets = [self._part(name) for name in names.split("+")]
            images = sets[0] if len(sets) == 1 else ImageSet.concatenate(sets)
            self._splits[split] = images if self.limit is None else images.first(self.limit)
        return self._splits[split]

    def _part(self, name: str) -> ImageSet:
        """Return a split by its name; ``test`` means ``test_split`` if the data have no split of that name."""
        try:
            return self.load_split(name)
        except KeyError as error:
            if name != "test" or self.test_split == "test":
                raise UserError(f"there is no split {error}: choose from {', '.join(self.parts)}, all") from error
            return self.images(self.test_split)

    def fingerprint(self, split: str) -> str:
        """Return the SHA-256 of shape, pixels and labels of a split, computed once."""
        if split not in self._fingerprints:
            found = self.images(split).fingerprint()
            # Scores see the stored values through their range.
            self._fingerprints[split] = found if self.values == BYTES else text_hash(f"{found} {self.values}")
        return self._fingerprints[split]

    def reference_batches(self, batch_size: int, rank: int = 0, world_size: int = 1) -> Iterator[Tensor]:
        """Yield the images of ``reference_split`` as uint8 batches; each image once over all ranks."""
        images = self.images(self.reference_split)
        for first in range(rank, len(images), batch_size * world_size):
            last = min(first + batch_size * world_size, len(images))
            yield self.values.to_bytes(images.gather(torch.arange(first, last, world_size)))

    def setup(self, stage: str | None = None) -> None:
        """Open the data and verify them.

        Raises:
            UserError: if the data are missing, or do not match ``image_size``, ``channels`` and ``num_classes``.
        """
        images = self.images(self.train_split)
        if images.shape[1:] != self.shape:
            raise UserError(self._wrong_shape(images.shape[1:]), shared=True)
        names = self.class_names if images.labels is not None else []
        if self._num_classes not in (None, len(names)):
            raise UserError(
                f"the data have {len(names)} classes, but datamodule.num_classes={self._num_classes}", shared=True
            )
        if self._recorded_names is not None and names and names != self._recorded_names:
            raise UserError(
                f"the data have the classes {', '.join(names)}, but the model was trained with "
                f"{', '.join(self._recorded_names)}: give data with the same classes, or datamodule.labels=false",
                shared=True,
            )

    def _wrong_shape(self, found: tuple[int, ...]) -> str:
        c, h, w = found
        return (
            f"the data have {c} channel(s) of {h}x{w} pixels, but datamodule.channels={self.channels} and "
            f"datamodule.image_size={self.image_size}"
        )

    def train_dataloader(self) -> AddressedLoader:
        images, device = self._batches(self.train_split)
        return self.train_loader(images, len(images), device=device)

    def val_dataloader(self) -> AddressedLoader | list[Any]:
        images, device = self._batches(self.val_split)
        return self.eval_loader(images, len(images), device=device)

    def test_dataloader(self) -> AddressedLoader | list[Any]:
        images, device = self._batches(self.test_split)
        return self.eval_loader(images, len(images), device=device)

    def _batches(self, split: str) -> tuple[ImageBatches, torch.device | None]:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        return self._residence.batches(split, self.images(split), device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Convert stored values to floats in ``data_range`` on the batch's device; pass other batches unchanged."""
        if not isinstance(batch, dict) or "x" not in batch or batch["x"].dtype != self.values.torch_dtype:
            return batch
        x, index = batch["x"], batch["index"]
        training = "epoch" in batch
        epoch: int = batch.get("epoch", 0)
        if training and self.random_flip:
            x = flip(x, self._mirrored(epoch, x.device)[index])
        if self.dequantize if training else self.dequantize_eval:
            purpose = "dequantize" if training else "dequantize evaluation"
            x = self.values.dequantize(x, self.data_range, uniform(self.seed, purpose, epoch, index, x.shape[1:]))
        else:
            x = self.values.to_model(x, self.data_range)
        told = {}
        if training and self.augmentation is not None:
            x, told["augment"] = self.augmentation(x, Address(self.seed, batch["step"], batch["position"]))
        if self.trainer is not None:
            # Lightning converts a batch to the trainer's precision before the transfer, while it still holds bytes.
            # Below float32 this would round the pixels; the model converts them for its net.
            wanted = self.trainer.precision_plugin.convert_input(x[:0]).dtype
            x = x.to(torch.promote_types(wanted, torch.float32))
        return {**batch, **told, "x": x}

    def _mirrored(self, epoch: int, device: torch.device) -> Tensor:
        # Once per epoch for all images: the generator needs about a hundred small operations, however few the numbers.
        if self._flips is None or self._flips[0] != epoch or self._flips[1].device != device:
            self._flips = epoch, flip_decisions(self.seed, epoch, len(self.images(self.train_split)), device)
        return self._flips[1]
