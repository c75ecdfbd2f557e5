import resource
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch
from src.cli.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
for _ in range(20):
    torch.ones(40 << 20, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(40 << 20, dtype=torch.uint8)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_a_freed_block_is_used_again_without_fresh_pages() -> None:
    kept, count = faults("keep")
    if kept != "True":
        pytest.skip("another C library")
    pages = 10 * (40 << 20) // resource.getpagesize()
    assert count < pages / 100
    # Without it every block is new, or the above shows nothing.
    assert faults("default")[1] > 10 * count
