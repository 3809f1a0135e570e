"""Adapters of PEFT (LoRA and its relatives): which base they belong to, and merging them into it.

What is explained is the merged network: base weights plus the change that the adapter makes to them. Some checkpoints
hold both: their adapter lies beside their weights, or in a folder below, and changes these, whatever base it names.

Source: Hu et al. 2021, arXiv 2106.09685; `peft` of Hugging Face, `merge_and_unload`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem, UsageError

ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"
_INNER = "base_model.model."  # with what peft begins the names of all weights of an adapter
# Where peft is installed, transformers loads an adapter that lies beside weights by itself, and then tells of missing
# weights of the adapter alone. So it is told to look for one where none is, and merging is done here.
NOT_BY_TRANSFORMERS: Mapping[str, Any] = {"adapter_kwargs": {"subfolder": "no-adapter"}}


@dataclass(frozen=True)
class Adapter:
    """A folder with an adapter.

    base: folder or hub id of the model that it changes, None for the weights beside it. revision: of the base, where
    one is stated.
    """

    folder: Path
    base: str | None
    revision: str | None


def own_adapter(settings: Mapping[str, Any]) -> str | None:
    """Return where the adapter of a checkpoint lies that holds its base too, seen from its config.json; None: nowhere.

    Granite Speech says whether it has one; the adapters of Phi-4-multimodal lie in a folder for each modality.
    """
    if settings.get("has_lora_adapter") is True:
        return "."
    return "speech-lora" if settings.get("model_type") == "phi4_multimodal" else None


def read_adapter(name: str, folder: Path, *, beside: bool = False) -> Adapter:
    """Read which base an adapter belongs to; no torch. Raises UsageError, or EnvironmentProblem without peft.

    beside: it belongs to the weights that lie beside it.
    """
    file = folder / ADAPTER_CONFIG
    try:
        stated = json.loads(file.read_text("utf-8"))
        base, revision = stated.get("base_model_name_or_path"), stated.get("revision")
    except (ValueError, AttributeError) as problem:
        raise UsageError(f"model '{name}': {ADAPTER_CONFIG} is not valid: {problem}") from None
    if not beside and not (isinstance(base, str) and base):
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
    if beside:
        return Adapter(folder, None, None)
    return Adapter(folder, base, revision if isinstance(revision, str) else None)


def merged(name: str, network: Any, adapter: Adapter, older: Mapping[str, str]) -> Any:
    """Return the network with the adapter merged into its weights; raises UsageError where it does not fit.

    older: how names of weights began when adapters were saved by older transformers, and how the same begin now.
    """
    import peft
    from safetensors.torch import load_file

    stored = load_file(adapter.folder / WEIGHTS)
    weights = {_renamed(key, older): weight for key, weight in stored.items()}
    config = _settings(name, adapter)
    try:
        changed = peft.PeftModel(network, config)
        result = peft.set_peft_model_state_dict(changed, weights)
    except (ValueError, RuntimeError, KeyError, TypeError) as problem:
        raise _unfit(name, adapter, _first(problem)) from None
    lacking = sorted(key for key in result.missing_keys if ".default" in key)
    if found := [*result.unexpected_keys, *lacking]:
        kind = (
            "has weights that the base has no place for"
            if result.unexpected_keys
            else "lacks weights"
        )
        raise _unfit(name, adapter, f"it {kind}, for instance {found[0]}")
    if not hasattr(changed.base_model, "merge_and_unload"):
        raise _unmergeable(name, config)
    return changed.merge_and_unload()


def _settings(name: str, adapter: Adapter) -> Any:
    """Return what adapter_config.json says, as peft reads it; raises UsageError where it is of no known type."""
    import peft

    try:
        config = peft.PeftConfig.from_pretrained(str(adapter.folder), inference_mode=True)
    except (ValueError, LookupError, TypeError, AttributeError) as problem:
        raise UsageError(
            f"model '{name}': {ADAPTER_CONFIG} in {adapter.folder} is none that peft {peft.__version__} reads "
            f"({type(problem).__name__}: {_first(problem)}); install the version of peft that wrote it, or save the "
            "merged model with merge_and_unload().save_pretrained"
        ) from None
    if config.is_prompt_learning:
        raise _unmergeable(name, config)
    return config


def _unmergeable(name: str, config: Any) -> UsageError:
    kind = getattr(config.peft_type, "value", config.peft_type)
    return UsageError(
        f"model '{name}': an adapter of type {kind} changes the input and not the weights, so it cannot be merged; "
        "LoRA can"
    )


def _first(problem: Exception) -> str:
    """Return the first thing that an error says; torch writes a heading above it."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return lines[1].rstrip(".")
    return lines[0] if lines else type(problem).__name__


def _renamed(key: str, older: Mapping[str, str]) -> str:
    name = key.removeprefix(_INNER)
    begin = next((begin for begin in older if name.startswith(begin)), None)
    return key if begin is None else f"{_INNER}{older[begin]}{name.removeprefix(begin)}"


def _unfit(name: str, adapter: Adapter, why: str) -> UsageError:
    if adapter.base is None:
        return UsageError(
            f"model '{name}': the adapter does not fit the weights beside it: {why}; copy {ADAPTER_CONFIG} and "
            f"{WEIGHTS} of the same revision as the weights"
        )
    return UsageError(
        f"model '{name}': the adapter does not fit its base '{adapter.base}': {why}; set base_model_name_or_path in "
        f"{ADAPTER_CONFIG} to the model that it was trained on"
    )
