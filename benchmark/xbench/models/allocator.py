"""Keep freed memory in the process: glibc's defaults give every large tensor back to the kernel.

Each perturbed pass frees and takes the same large blocks; with the default thresholds each is mapped and
zeroed anew by the kernel, which can cost more than the arithmetic. Measured in `perf/`.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools

# Parameter numbers of glibc's mallopt(3).
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_KEEP_UP_TO = 1 << 30


@functools.cache
def keep_freed_memory() -> bool:
    """Raise glibc's mmap and trim thresholds once per process; False where there is no glibc."""
    try:
        mallopt = ctypes.CDLL(ctypes.util.find_library("c")).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP_UP_TO) and mallopt(_TRIM_THRESHOLD, _KEEP_UP_TO))
