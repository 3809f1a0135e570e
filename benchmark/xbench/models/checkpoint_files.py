"""Which files a checkpoint is loaded from, and the hash of them: a revision is the weights, whatever names them.

transformers reads `model.safetensors`, or the files that `model.safetensors.index.json` lists, or one that the
configuration names. A list may name pickles and files outside of the folder. Both are refused: a pickle can run code,
and what lies elsewhere could change without the revision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xbench.errors import UsageError

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HASHED = {".json", ".safetensors", ".txt", ".model", ".tiktoken", ".jinja", ".py"}


def refuse_adapter(name: str, folder: Path) -> None:
    """Refuse a local folder that holds an adapter to another model; raises UsageError."""
    if (folder / "adapter_config.json").exists():
        raise UsageError(
            f"model '{name}': {folder} holds an adapter, whose base model lies elsewhere; merge the two "
            "(merge_and_unload of peft) and save the whole model"
        )


def check_folder(name: str, folder: Path) -> None:
    """Refuse a local folder whose weights are not safetensors files in this folder; raises UsageError."""
    if (folder / WHOLE).is_file():
        return
    if (folder / INDEX).is_file():
        for shard in shards(name, folder / INDEX):
            if not (folder / shard).is_file():
                raise UsageError(f"model '{name}': {INDEX} lists {shard}, which is not in {folder}")
        return
    if any(True for pattern in _PICKLES for _ in folder.glob(pattern)):
        raise UsageError(
            f"model '{name}': its weights are a pickle, which can run code when it is "
            "loaded; save it again with save_pretrained(..., safe_serialization=True)"
        )
    raise UsageError(f"model '{name}': {folder} has no *.safetensors weights ({WHOLE} or {INDEX})")


def shards(name: str, index: Path) -> list[str]:
    """Return the files that an index lists; raises UsageError unless they are safetensors files of the same folder."""
    try:
        listed = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        raise UsageError(
            f"model '{name}': {INDEX} is not valid ({type(problem).__name__})"
        ) from None
    for shard in listed:
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard:
            raise UsageError(
                f"model '{name}': {INDEX} names {shard!r}, a file outside of its folder"
            )
        if not shard.endswith(".safetensors"):
            raise UsageError(
                f"model '{name}': {INDEX} names {shard!r}, which is no safetensors file; a pickle can run code "
                "when it is loaded"
            )
    return sorted(listed)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse a configuration that names the file of the weights itself; raises UsageError."""
    if (named := settings.get("transformers_weights")) is not None:
        raise UsageError(
            f"model '{name}': its configuration names the file of its weights ({named!r}); save it again with "
            "save_pretrained, so that they lie where they are looked for"
        )


def folder_revision(folder: Path) -> str:
    """Return a hash of every file a checkpoint is made of, so that changed weights are another model."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _HASHED and path.is_file():
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"
