"""From a model name to a loaded checkpoint; whatever is wrong is told in one line.

`load_model` finds the checkpoint and calls the `load` of its family, which uses the checks below and those of
`xbench.models.checkpoint`.
"""

from __future__ import annotations

import logging as python_logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xbench import registry
from xbench.errors import EnvironmentProblem, UnknownName, UsageError, nearest
from xbench.models.allocator import keep_freed_memory
from xbench.models.formats.recognised import SINGLE_FILES, recognise

if TYPE_CHECKING:
    from xbench.models.protocol import SpeechModel


@dataclass(frozen=True)
class Location:
    """Where a checkpoint lies: a path (a folder, a file, or packaged), or a hub id with an optional revision."""

    name: str
    family: str
    path: Path | None
    hub_id: str | None
    revision: str | None

    @property
    def source(self) -> str:
        """What results state: `local` (never a path) or the hub id."""
        return "local" if self.path else str(self.hub_id)

    @property
    def target(self) -> str:
        """What `from_pretrained` is given."""
        return str(self.path or self.hub_id)


def locate(name: str) -> Location:
    """Resolve a registered checkpoint, or `family:PATH-OR-HUB-ID[@revision]`; no torch, no network.

    Of what lies on this machine the files are looked at; raises UsageError where they are no whole checkpoint.
    """
    registered = registry.checkpoint(name)
    if registered:
        family, checkpoint = registered
        if checkpoint.packaged:
            folder = Path(__file__).parents[1] / checkpoint.packaged
            return Location(name, family.name, folder, None, None)
        return Location(name, family.name, None, checkpoint.hub_id, checkpoint.revision)
    prefix, colon, target = name.partition(":")
    if not colon:
        if name in registry.models.names():
            raise UsageError(
                f"'{name}' is a family of models, not a model; write '{name}:FOLDER' with the folder of a checkpoint, "
                "or one of the names that `xbench list models` shows"
            )
        raise UnknownName("model", name, registry.checkpoints())
    registry.models.get(prefix)
    if not target:
        raise UsageError(f"model '{name}': give a path or a hub id after '{prefix}:'")
    path = Path(target).expanduser()
    if os.path.lexists(path):
        location = Location(f"{prefix}:{path.resolve().name}", prefix, path, None, None)
        recognise(location.name, prefix, path)
        return location
    return on_hub(name, prefix, target)


def on_hub(name: str, family: str, target: str) -> Location:
    """Return where a name lies that is no path on this machine; raises UsageError where it can be nothing else."""
    hub_id, at, revision = target.partition("@")
    if at and Path(hub_id).expanduser().exists():
        raise UsageError(
            f"model '{name}': '{hub_id}' is a path, and only checkpoints on the hub have revisions; leave out "
            f"'@{revision}'"
        )
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", hub_id) or hub_id.endswith(SINGLE_FILES):
        raise UsageError(
            f"model '{name}': there is no folder or file '{target}'{_nearest_path(target)}; a checkpoint on the hub "
            "is named OWNER/NAME"
        )
    return Location(f"{family}:{hub_id}", family, None, hub_id, revision or None)


def _nearest_path(target: str) -> str:
    """Return a hint at what lies beside a path that does not exist."""
    path = Path(target).expanduser()
    try:
        return nearest(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    except (OSError, ValueError):
        return ""


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
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: models run on cpu, cuda or mps; use auto, cpu or cuda")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EnvironmentProblem("--device mps: this machine has no usable MPS device; use cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda: this machine has no usable CUDA device; use cpu")
    return name


def check_weights(location: Location, loading: dict, sizes: str = "its config.json") -> None:
    """Refuse a checkpoint whose weights do not fill the model exactly (random layers explain nothing).

    sizes: what says which weights there have to be.
    """
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading.get(what):
            names = sorted(k[0] if isinstance(k, tuple) else str(k) for k in loading[what])
            raise UsageError(
                f"model '{location.name}': the checkpoint has {len(names)} {what.replace('_', ' ')}, "
                f"for instance {names[0]}; it does not fit {sizes}"
            )


def check_finite(location: Location, network: Any) -> None:
    """Refuse weights that are not numbers: whatever such a network says is not a number either."""
    import torch

    for name, weights in network.named_parameters():
        # One pass without a copy: a number that is not finite is the smallest, the largest, or (nan) both.
        if weights.numel() and not torch.isfinite(torch.stack(torch.aminmax(weights))).all():
            count = int((~torch.isfinite(weights)).sum())
            raise UsageError(
                f"model '{location.name}': {count} of {weights.numel()} weights in {name} are not finite (NaN or "
                "infinity); the training diverged or the file is damaged, so take an earlier checkpoint"
            )


_OF_FILES = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError)


@contextmanager
def explained(location: Location) -> Iterator[None]:
    """Turn what transformers and the hub raise while loading into one sentence."""
    from huggingface_hub.errors import StrictDataclassError
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
    except StrictDataclassError as problem:
        why = " ".join(str(problem).split())
        raise UsageError(f"model '{location.name}': its config.json is not valid: {why}") from None
    except Exception as problem:
        # Settings with other values than transformers expects end in errors of these kinds; tokenizers' are plain.
        if not isinstance(problem, _OF_FILES) and type(problem) is not Exception:
            raise
        first = str(problem).strip().splitlines()[0] if str(problem).strip() else repr(problem)
        if not isinstance(problem, OSError | ValueError | RuntimeError):
            first = f"a file of it holds something unexpected ({type(problem).__name__}: {first})"
        if location.path is not None:
            raise UsageError(f"model '{location.name}' does not load: {first}") from None
        if "safetensors" in first:
            raise UsageError(f"model '{location.name}': {first}") from None
        nowhere = "" if registry.checkpoint(location.name) else "it is no path on this machine, "
        raise EnvironmentProblem(
            f"model '{location.name}': {nowhere}the weights of {location.hub_id} are not on this machine and the "
            "hub could not be reached; set HF_HOME to a cache that holds them, or copy the checkpoint "
            f"into a folder and use --model {location.family}:FOLDER"
        ) from None
