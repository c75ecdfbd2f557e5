"""Energy of the processors and GPUs of this machine, from the counters of the hardware.

The counters include other programs that run at the same time. Linux has one for each processor (RAPL, in
``/sys/class/powercap``), which often only root may read; NVIDIA GPUs have one since Volta (NVML).
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")

_PERIOD = 60.0
"""Seconds between two readings. The counter of a processor wraps after about 262 kJ: minutes at full power."""


@dataclass(frozen=True)
class Counter:
    """A counter of energy.

    Attributes:
        kind: ``processors`` or ``gpus``.
        name: differs between counters.
        read: returns joules; raises OSError or ValueError if the counter cannot be read.
        wraps: joules at which the counter starts at zero again.
    """

    kind: str
    name: str
    read: Callable[[], float]
    wraps: float


class EnergyMeter:
    """Measure energy from now on; a thread reads the counters once a minute.

    Args:
        counters: what to read; None for those of this machine.
    """

    def __init__(self, counters: Sequence[Counter] | None = None) -> None:
        self._counters = [*processor_counters(), *gpu_counters()] if counters is None else list(counters)
        self._used: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.read()
        if set(self._used) - self._lost:
            threading.Thread(target=self._watch, name="energy", daemon=True).start()

    def read(self) -> None:
        """Add what was used since the last reading; a kind with an unreadable counter is given up."""
        with self._lock:
            for counter in self._counters:
                try:
                    now = counter.read()
                except (OSError, ValueError):
                    self._lost.add(counter.kind)
                    continue
                gained = (now - self._last.get(counter.name, now)) % counter.wraps
                self._used[counter.kind] = self._used.get(counter.kind, 0.0) + gained
                self._last[counter.name] = now

    def stop(self) -> Mapping[str, float]:
        """Stop reading, and return joules by kind; a kind that is not known is missing."""
        self._stopped.set()
        self.read()
        return {kind: round(joules, 1) for kind, joules in self._used.items() if kind not in self._lost}

    def _watch(self) -> None:
        while not self._stopped.wait(_PERIOD):
            self.read()


def added(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    """Add joules by kind."""
    return {kind: round(a.get(kind, 0.0) + b.get(kind, 0.0), 1) for kind in {**a, **b}}


def processor_counters(powercap: Path | None = None) -> list[Counter]:
    """Return the RAPL counters of all processors; their parts (cores, memory) are not counted again."""
    found = []
    for folder in sorted((powercap or POWERCAP).glob("intel-rapl:*")):
        if folder.name.count(":") == 1:
            try:
                wraps = _microjoules(folder / "max_energy_range_uj")
            except (OSError, ValueError):
                continue
            found.append(Counter("processors", folder.name, partial(_microjoules, folder / "energy_uj"), wraps))
    return found


def gpu_counters() -> list[Counter]:
    """Return the NVML counters of the GPUs that this process sees; none without torch, a GPU or the library."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        nvml.nvmlInit_v2()
        names = [f"GPU-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count())]
    except (OSError, AttributeError):
        return []
    return [Counter("gpus", name, partial(_millijoules, nvml, name), 2**64 / 1e3) for name in names]


def _microjoules(path: Path) -> float:
    return int(path.read_text(encoding="utf-8")) / 1e6


def _millijoules(nvml: Any, name: str) -> float:
    handle, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
    failed = nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
    failed = failed or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy))
    if failed:
        raise OSError(f"NVML error {failed}")
    return energy.value / 1e3
