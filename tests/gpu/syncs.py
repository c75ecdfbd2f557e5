"""No operation may have the host wait for the device."""

from __future__ import annotations

import torch


class Watch:
    """On CUDA, an operation that waits raises while the watch is on; elsewhere it only counts the steps watched.

    Args:
        device: whose operations are watched.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps = 0

    def begin(self) -> None:
        """Switch on, at the start of a step or between two."""
        self._mode("error")
        self.steps += 1

    def end(self) -> None:
        """Switch off."""
        self._mode("default")

    def _mode(self, mode: str) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode(mode)
