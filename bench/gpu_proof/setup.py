"""Settings of all stages, and the file for their rows."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from bench.report import number
from bench.rows import Row

RecordRow = Callable[[Row], None]


@dataclass(frozen=True)
class Setup:
    """The arguments of the program.

    Attributes:
        data: folder with the archives of CIFAR-10.
        out: folder for results.
        work: folder for temporary files.
        device: ``cuda`` or ``cpu``.
        small: digits and a net of a few channels, to try the program without a GPU.
        deadline: Unix time in seconds at which the program ends.
        train_seconds: longest training time of the speedrun, in seconds.
        images: number of images the speedrun samples.
        inception: file of Inception weights, for FID; None for no FID.
    """

    data: Path
    out: Path
    work: Path
    device: str
    small: bool
    deadline: float
    train_seconds: float
    images: int
    inception: Path | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def batch(self) -> int:
        """Images per step."""
        return 2 if self.small else 128

    @property
    def net(self) -> str:
        """Description of the measured net."""
        return "NCSN++ of 8 channels" if self.small else "CIFAR-10 NCSN++"

    @property
    def net_overrides(self) -> list[str]:
        """Overrides that make the net of ``conf/train.yaml`` small."""
        return ["net.nf=8", "net.num_res_blocks=1", "net.ch_mult=[1,1]"] if self.small else []

    @property
    def npz(self) -> Path:
        """Decoded images and labels, for ``datamodule=npz``."""
        return self.work / "images.npz"

    @property
    def data_overrides(self) -> list[str]:
        """Overrides that select the decoded images."""
        with np.load(self.npz) as file:
            channels, size = file["test_images"].shape[1:3]
        return [
            *([f"net.attn_resolutions=[{size // 2}]"] if self.small else ()),
            "datamodule=npz",
            f"datamodule.path={self.npz}",
            f"datamodule.image_size={size}",
            f"datamodule.channels={channels}",
            "datamodule.num_classes=10",
        ]

    @property
    def classifier(self) -> Path:
        return self.work / "classifier.safetensors"

    @property
    def record(self) -> Path:
        """File of all rows, one JSON object per line."""
        return self.out / "rows.jsonl"

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.time()

    def save(self) -> Path:
        """Write the settings into ``work``, for the stages' processes."""
        path = self.work / "setup.json"
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Setup:
        """Read the file of ``save``."""
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("data", "out", "work", "inception"):
            values[name] = None if values[name] is None else Path(values[name])
        return cls(**values)


def keep(record: Path, stage: str, row: Row) -> None:
    """Append a row of a stage to the record in one write, and print it."""
    line = json.dumps({"stage": stage, **row.as_dict()}) + "\n"
    # A single append: parallel stages do not mix their lines, and a kill loses no earlier line.
    descriptor = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
    sys.stdout.write(f"  {stage}: {row.what}: {number(row.value)} {row.unit}\n")
    sys.stdout.flush()


def rows_of(record: Path) -> list[tuple[str, Row]]:
    """Return stage and row of every line; skip truncated lines."""
    if not record.exists():
        return []
    names, found = {field.name for field in fields(Row)}, []
    for line in record.read_text(encoding="utf-8").splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        found.append((content["stage"], Row(**{name: content[name] for name in names})))
    return found


def value_of(record: Path, what: str) -> float | None:
    """Return the newest value measured under this name; None if there is none."""
    found = [row.value for _, row in rows_of(record) if row.what == what]
    return found[-1] if found else None


def device_name() -> str:
    """Return the name of the GPU, or "the CPU"."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
