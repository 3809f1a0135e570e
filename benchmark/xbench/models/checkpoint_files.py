"""Which files a checkpoint is loaded from, and the hash of them: a revision is the weights, whatever names them.

transformers reads `model.safetensors`, or the files that `model.safetensors.index.json` lists, or one that the
configuration names. A list may name pickles and files outside of the folder. Both are refused: a pickle can run code,
and what lies elsewhere could change without the revision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xbench.errors import UsageError
from xbench.inputs import LFS_POINTER, NO_FILE_OF_LFS

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HASHED = {".json", ".safetensors", ".txt", ".model", ".tiktoken", ".jinja", ".py"}

# Files of these names are JSON objects, whoever wrote them. `config.json` is looked at with what it says.
_OBJECTS = {
    "added_tokens.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
}
# Each family of transformers reads one of the first; any of the second describes a tokenizer.
_EXTRACTORS = ("preprocessor_config.json", "processor_config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "*.tiktoken")


def refuse_pointers(name: str, files: Iterable[Path]) -> None:
    """Refuse files in whose place Git left a note of where they lie; raises UsageError."""
    for file in files:
        with file.open("rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UsageError(f"model '{name}': {file} is {NO_FILE_OF_LFS}")


def check_json(name: str, files: Iterable[Path]) -> None:
    """Refuse settings and tokenizers that are no JSON objects; raises UsageError with the file.

    transformers overlooks some such files, and others end in errors that name none.
    """
    for file in files:
        if file.name not in _OBJECTS:
            continue
        try:
            found = json.loads(file.read_text("utf-8"))
            if not isinstance(found, dict):
                raise ValueError("it is not an object")
            if file.name == "tokenizer.json" and not isinstance(found.get("model"), dict):
                raise ValueError("it has no 'model'")
        except (ValueError, RecursionError) as problem:
            raise UsageError(
                f"model '{name}': {file} is not valid: {problem}; copy the file of the checkpoint that it was "
                "fine-tuned from"
            ) from None


def check_processor(name: str, folder: Path, *, own_code: bool) -> None:
    """Refuse a folder without the files of a feature extractor or a tokenizer; raises UsageError.

    own_code: its code comes with it, and may read files of any name.
    """
    for what, patterns in (("feature extractor", _EXTRACTORS), ("tokenizer", _TOKENIZERS)):
        if own_code or any(True for pattern in patterns for _ in folder.glob(pattern)):
            continue
        raise UsageError(
            f"model '{name}': {folder} has no {what} ({' or '.join(patterns[:2])}); copy the file of the checkpoint "
            "that it was fine-tuned from"
        )


def check_folder(name: str, folder: Path) -> None:
    """Refuse a local folder whose weights are not safetensors files in this folder; raises UsageError."""
    if (folder / WHOLE).is_file():
        return
    if (folder / INDEX).is_file():
        listed = shards(name, folder / INDEX)
        lost = [shard for shard in listed if not (folder / shard).is_file()]
        if lost:
            raise UsageError(
                f"model '{name}': {INDEX} lists {lost[0]}, which is not in {folder} ({len(lost)} of {len(listed)} "
                "files are missing); copy it too"
            )
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


def folder_files(folder: Path, also: Iterable[str] = ()) -> tuple[Path, ...]:
    """Return every file that a checkpoint in a folder is made of. also: names of files beyond the usual kinds."""
    return tuple(
        path
        for path in sorted(folder.iterdir())
        if (path.suffix in _HASHED or path.name in also) and path.is_file()
    )


def files_revision(files: Iterable[Path]) -> str:
    """Return a hash of files and their names, so that changed weights are another model."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def folder_revision(folder: Path) -> str:
    """Return the hash of a checkpoint of transformers in a folder."""
    return files_revision(folder_files(folder))


def combined_revision(own: str, base: str) -> str:
    """Return the revision of an adapter: a hash of its own and of its base's."""
    return f"sha256:{hashlib.sha256(f'{own} {base}'.encode()).hexdigest()}"
