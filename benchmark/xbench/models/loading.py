"""From a model name to a loaded checkpoint; whatever is wrong is told in one line.

`load_model` finds the checkpoint and calls the `load` of its family, which uses the checks below.
"""

from __future__ import annotations

import logging as python_logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xbench import registry
from xbench.errors import EnvironmentProblem, UnknownName, UsageError
from xbench.models.allocator import keep_freed_memory
from xbench.models.checkpoint_files import (
    INDEX,
    WHOLE,
    check_folder,
    check_settings,
    folder_revision,
    refuse_adapter,
    shards,
)

if TYPE_CHECKING:
    from xbench.models.protocol import SpeechModel


@dataclass(frozen=True)
class Location:
    """Where a checkpoint lies: a folder (local or packaged), or a hub id with an optional revision."""

    name: str
    family: str
    folder: Path | None
    hub_id: str | None
    revision: str | None

    @property
    def source(self) -> str:
        """What results state: `local` (never a path) or the hub id."""
        return "local" if self.folder else str(self.hub_id)

    @property
    def target(self) -> str:
        """What `from_pretrained` is given."""
        return str(self.folder or self.hub_id)


def locate(name: str) -> Location:
    """Resolve a registered checkpoint, or `family:PATH-OR-HUB-ID[@revision]`; no torch, no network."""
    registered = registry.checkpoint(name)
    if registered:
        family, checkpoint = registered
        if checkpoint.packaged:
            folder = Path(__file__).parents[1] / checkpoint.packaged
            return Location(name, family.name, folder, None, None)
        return Location(name, family.name, None, checkpoint.hub_id, checkpoint.revision)
    prefix, colon, target = name.partition(":")
    if not colon:
        raise UnknownName("model", name, registry.checkpoints())
    registry.models.get(prefix)
    if not target:
        raise UsageError(f"model '{name}': give a folder or a hub id after '{prefix}:'")
    folder = Path(target).expanduser()
    if folder.is_dir():
        return Location(f"{prefix}:{folder.resolve().name}", prefix, folder, None, None)
    target, _, revision = target.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", target) or target.startswith("."):
        raise UsageError(f"model '{name}': there is no folder '{target}'")
    return Location(f"{prefix}:{target}", prefix, None, target, revision or None)


def load_model(
    name: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    trust_remote_code: bool = False,
) -> SpeechModel:
    """Load a model by name; raises UsageError (bad name or checkpoint) or EnvironmentProblem."""
    return load_located(
        locate(name), device=device, precision=precision, trust_remote_code=trust_remote_code
    )


def load_located(
    location: Location,
    *,
    device: str = "auto",
    precision: str = "auto",
    trust_remote_code: bool = False,
) -> SpeechModel:
    """Load the checkpoint that a name stands for; raises as `load_model`."""
    keep_freed_memory()
    load = registry.models.get(location.family).load()
    model: SpeechModel = load(
        location,
        device=device_named(device),
        precision="float32" if precision == "auto" else precision,
        trust_remote_code=trust_remote_code,
    )
    return model


def device_named(name: str) -> str:
    """Return the device that a name stands for, `auto` the best one; raises UsageError or EnvironmentProblem."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device '{name}' is not a device; use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda: this machine has no usable CUDA device; use cpu")
    return name


def checked(location: Location, model_type: str | None) -> Location:
    """Refuse a checkpoint by its configuration, before its weights are read or fetched.

    model_type: what the family loads; None where its code, and so its type, comes with the checkpoint.
    Returns where it lies: on the hub with the commit for a revision, so that all its files are of one commit.
    """
    folder = location.folder
    if folder is not None:
        refuse_adapter(location.name, folder)
    config = _config_on_hub(location) if folder is None else folder / "config.json"
    if not config.is_file():
        raise UsageError(f"model '{location.name}': {folder} has no config.json")
    settings = _settings(location, config)
    check_config(location, settings, model_type)
    check_settings(location.name, settings)
    if folder is not None:
        check_folder(location.name, folder)
        return location
    location = replace(location, revision=config.parent.name)
    if (index := _index_on_hub(location)) is not None:
        shards(location.name, index)
    return location


def _config_on_hub(location: Location) -> Path:
    """Return the path of the configuration in the cache of the hub: snapshots/COMMIT/config.json."""
    from huggingface_hub import hf_hub_download

    with explained(location):
        return Path(hf_hub_download(location.target, "config.json", revision=location.revision))


def _index_on_hub(location: Location) -> Path | None:
    """Return the path of the list of weight files; None where the weights are one file, or not there at all."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    with explained(location):
        if isinstance(
            try_to_load_from_cache(location.target, WHOLE, revision=location.revision), str
        ):
            return None
        try:
            return Path(hf_hub_download(location.target, INDEX, revision=location.revision))
        except EntryNotFoundError:
            return None


def _settings(location: Location, config: Path) -> dict[str, Any]:
    import json

    try:
        settings = json.loads(config.read_text("utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it is not an object")
    except ValueError as problem:
        raise UsageError(f"model '{location.name}': config.json is not valid: {problem}") from None
    return settings


_DECODER_ONLY = frozenset(
    {
        "audioflamingo3",
        "gemma3n",
        "gemma4",
        "gemma4_unified",
        "glmasr",
        "granite_speech",
        "granite_speech_plus",
        "kyutai_speech_to_text",
        "musicflamingo",
        "phi4_multimodal",
        "qwen2_5_omni",
        "qwen2_audio",
        "qwen3_asr",
        "qwen3_omni_moe",
        "vibevoice_asr",
        "voxtral",
        "voxtral_realtime",
    }
)
_TRANSDUCERS = ("ForTDT", "ForRNNT", "ForTransducer")


def check_config(location: Location, settings: Mapping[str, Any], model_type: str | None) -> None:
    """Refuse a configuration of another architecture (None: any); say why where no family could ever load it."""
    found = settings.get("model_type")
    if found == model_type:
        return
    why = _without_cross_attention(settings)
    if why is None and model_type is None:
        return
    why = why or f"'{location.family}:' loads '{model_type}'"
    if found in registry.models.names():
        hint = f"use --model {found}:..."
    else:
        hint = "`xbench list models` has models and families that can be explained"
    raise UsageError(
        f"model '{location.name}': its configuration says model_type '{found}', but {why}; {hint}"
    )


def _without_cross_attention(settings: Mapping[str, Any]) -> str | None:
    """Say why a model of this configuration has no cross-attention from text to audio, if it has none."""
    architecture = str((settings.get("architectures") or [""])[0])
    if architecture.endswith("ForCTC"):
        return "it is a CTC model: without a decoder there is no cross-attention to explain"
    if architecture.endswith(_TRANSDUCERS):
        return "it is a transducer: its predictor does not attend to the encoder"
    if settings.get("model_type") in _DECODER_ONLY or architecture.endswith("ForCausalLM"):
        return (
            "it is a decoder-only model: audio enters as a prefix of its self-attention, so there is no "
            "cross-attention to explain"
        )
    return None


def revision_of(location: Location) -> str:
    """Return what a checkpoint is exactly: its commit on the hub, or a hash of its folder."""
    return folder_revision(location.folder) if location.folder else str(location.revision)


def check_weights(location: Location, loading: dict) -> None:
    """Refuse a checkpoint whose weights do not fill the model exactly (random layers explain nothing)."""
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading.get(what):
            names = sorted(k[0] if isinstance(k, tuple) else str(k) for k in loading[what])
            raise UsageError(
                f"model '{location.name}': the checkpoint has {len(names)} {what.replace('_', ' ')}, "
                f"for instance {names[0]}; it does not fit its config.json"
            )


@contextmanager
def explained(location: Location) -> Iterator[None]:
    """Turn what transformers and the hub raise while loading into one sentence."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # The hub client tells of every retry; one sentence at the end is enough.
    python_logging.getLogger("huggingface_hub").setLevel(python_logging.ERROR)
    try:
        yield
    except MemoryError:
        raise EnvironmentProblem(f"model '{location.name}' does not fit into memory") from None
    except SafetensorError as problem:
        raise UsageError(f"model '{location.name}': damaged safetensors file: {problem}") from None
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        first = str(problem).strip().splitlines()[0] if str(problem).strip() else repr(problem)
        if location.folder is not None:
            raise UsageError(f"model '{location.name}' does not load: {first}") from None
        if "safetensors" in first:
            raise UsageError(f"model '{location.name}': {first}") from None
        raise EnvironmentProblem(
            f"model '{location.name}': the weights of {location.hub_id} are not on this machine and the "
            "hub could not be reached; set HF_HOME to a cache that holds them, or copy the checkpoint "
            f"into a folder and use --model {location.family}:FOLDER"
        ) from None
