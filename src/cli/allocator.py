"""How the C library keeps memory for tensors on a CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for the next tensor of that size, instead of handing it back to the system.

    A step of a net frees and asks for the same large blocks over and over; by default each comes back as fresh pages
    that the kernel fills with zeros: a tenth of the time of a step. The peak of the memory in use does not change, but
    it stays with the process.

    Returns:
        Whether the C library took the settings; False where it is another one.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    # Both: a block that is mapped by itself is unmapped when it is freed, and a free end of the heap is cut off.
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
