"""What this machine can and cannot do, in one table."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.store import default_folder

_PACKAGES = ("xbench", "torch", "transformers", "captum", "numpy", "scipy", "scikit-image")
_EXTRAS = {"hub": "datasets", "ray": "ray", "plot": "matplotlib", "peft": "peft"}


def examine() -> dict[str, Any]:
    """Return versions, processors, accelerator, memory, store folder, extras and plugins."""
    import torch

    folder = default_folder()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    broken = [e.name for r in registry.ALL for e in r.entries() if e.error]
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "memory": _memory(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "no",
        "bfloat16 matrix units": _bfloat16(),
        "store": f"{folder} ({shutil.disk_usage(existing).free / 1e9:.0f} GB free)",
        "store is writable": os.access(existing, os.W_OK),
        "extras": {
            extra: "installed"
            if importlib.util.find_spec(package)
            else f"missing: pip install 'xbench[{extra}]'"
            for extra, package in _EXTRAS.items()
        },
        "broken plugins": broken or "none",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{pages * size / 2**30:.1f} GiB"


def _bfloat16() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return "unknown"
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if unit in flags]
    return ", ".join(units) or "none"
