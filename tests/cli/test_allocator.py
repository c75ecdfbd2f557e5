import resource
import subprocess
import sys

import pytest

CODE = """
import ctypes, resource, sys
from src.cli.allocator import keep_freed_memory
library = ctypes.CDLL(None)
# Large sizes and addresses do not fit into the default types.
library.free.argtypes = [ctypes.c_void_p]
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
def use():
    # As torch does for a tensor.
    block = ctypes.c_void_p()
    assert library.posix_memalign(ctypes.byref(block), ctypes.c_size_t(64), ctypes.c_size_t(40 << 20)) == 0
    ctypes.memset(block, 1, 40 << 20)
    library.free(block)
for _ in range(20):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
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
