"""Adapters of PEFT (LoRA and its relatives): which base they belong to, and merging them into it.

What is explained is the merged network: base weights plus the change that the adapter makes to them.

Source: Hu et al. 2021, arXiv 2106.09685; `peft` of Hugging Face, `merge_and_unload`.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem, UsageError

ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"


@dataclass(frozen=True)
class Adapter:
    """A folder with an adapter. base: folder or hub id of the model that it changes, with a revision where stated."""

    folder: Path
    base: str
    revision: str | None


def read_adapter(name: str, folder: Path) -> Adapter:
    """Read which base an adapter belongs to; no torch. Raises UsageError, or EnvironmentProblem without peft."""
    file = folder / ADAPTER_CONFIG
    try:
        stated = json.loads(file.read_text("utf-8"))
        base, revision = stated.get("base_model_name_or_path"), stated.get("revision")
    except (ValueError, AttributeError) as problem:
        raise UsageError(f"model '{name}': {ADAPTER_CONFIG} is not valid: {problem}") from None
    if not isinstance(base, str) or not base:
        raise UsageError(
            f"model '{name}': {ADAPTER_CONFIG} names no base; set base_model_name_or_path to the folder or the hub "
            "id of the model that the adapter was trained on"
        )
    if not (folder / WEIGHTS).is_file():
        what = (
            f"{_PICKLE}, a pickle, which can run code" if (folder / _PICKLE).is_file() else "none"
        )
        raise UsageError(
            f"model '{name}': an adapter's weights are {WEIGHTS}, and here is {what}; save it again with "
            "save_pretrained of peft"
        )
    if importlib.util.find_spec("peft") is None:
        raise EnvironmentProblem(
            f"model '{name}' is an adapter, and merging it needs the package peft: pip install 'xbench[peft]'"
        )
    return Adapter(folder, base, revision if isinstance(revision, str) else None)


def merged(name: str, network: Any, adapter: Adapter) -> Any:
    """Return the network with the adapter merged into its weights; raises UsageError where it does not fit."""
    import peft
    from safetensors.torch import load_file

    weights = load_file(adapter.folder / WEIGHTS)
    try:
        config = peft.PeftConfig.from_pretrained(str(adapter.folder), inference_mode=True)
        changed = peft.PeftModel(network, config)
        result = peft.set_peft_model_state_dict(changed, weights)
    except (ValueError, RuntimeError, KeyError, TypeError) as problem:
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise _unfit(name, adapter, first) from None
    lacking = sorted(key for key in result.missing_keys if ".default" in key)
    if found := [*result.unexpected_keys, *lacking]:
        kind = (
            "has weights that the base has no place for"
            if result.unexpected_keys
            else "lacks weights"
        )
        raise _unfit(name, adapter, f"it {kind}, for instance {found[0]}")
    if not hasattr(changed.base_model, "merge_and_unload"):
        raise UsageError(
            f"model '{name}': an adapter of type {config.peft_type} changes the input and not the weights, so it "
            "cannot be merged; LoRA can"
        )
    return changed.merge_and_unload()


def _unfit(name: str, adapter: Adapter, why: str) -> UsageError:
    return UsageError(
        f"model '{name}': the adapter does not fit its base '{adapter.base}': {why}; set base_model_name_or_path in "
        f"{ADAPTER_CONFIG} to the model that it was trained on"
    )
