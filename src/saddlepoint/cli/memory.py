"""How the process keeps memory."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # the names that mallopt(3) has for them
GIBIBYTE = 1 << 30


def keep_freed_memory() -> None:
    """Keep what is freed for the next pass instead of giving it back to the system; nothing without the GNU C library.

    A pass frees what it computed, and glibc gives blocks of that size back, so that the next pass pays for every page anew:
    a quarter to a third of the CPU time of an attack or of adversarial training at batch 64 to 256. What the process holds
    stays at its peak, a gibibyte aside.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(TRIM_THRESHOLD, GIBIBYTE)
        libc.mallopt(MMAP_THRESHOLD, GIBIBYTE)
