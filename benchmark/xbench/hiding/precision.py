"""Which precision perturbed passes can run in on this machine."""

from __future__ import annotations

import torch


def bfloat16_is_fast(device: str) -> bool:
    """Say whether the device multiplies matrices in bfloat16 in hardware (AVX512-bf16, AMX, Ampere and later)."""
    if device.startswith("cuda"):
        major, _ = torch.cuda.get_device_capability(torch.device(device))
        return bool(major >= 8)
    if device.startswith("cpu"):
        # Private names of torch, without public ones that say the same. An absent probe (another architecture,
        # another torch) means: not known to be fast.
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
    return False
