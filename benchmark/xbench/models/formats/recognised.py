"""Which format a checkpoint on this machine has, and what is wrong with its files that needs no torch to be seen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.errors import UsageError
from xbench.models.checkpoint_files import (
    INDEX,
    WHOLE,
    check_folder,
    check_json,
    check_processor,
    files_revision,
    folder_files,
    refuse_pointers,
)
from xbench.models.formats.ctranslate2_file import MODEL_BIN, read_header
from xbench.models.formats.peft_adapter import (
    ADAPTER_CONFIG,
    WEIGHTS,
    own_adapter,
    read_adapter,
)

TRANSFORMERS = "transformers"
OPENAI = "openai-whisper"
CTRANSLATE2 = "ctranslate2"
PEFT = "peft"
_OPENAI_SUFFIXES = (".pt", ".pth")
# What is a file by its name, whether it exists or not.
SINGLE_FILES = (*_OPENAI_SUFFIXES, ".bin", ".ckpt", ".safetensors")
# What may lie beside a file of openai-whisper and is then used: fine-tunes have words of their own.
BESIDE = ("tokenizer.json", "generation_config.json")


@dataclass(frozen=True)
class Recognised:
    """A checkpoint on this machine.

    format: one of the names above. files: all that it is loaded from, which is what its revision is the hash of.
    """

    format: str
    path: Path
    files: tuple[Path, ...]

    @property
    def revision(self) -> str:
        """Return the hash of the files: changed weights are another model."""
        return files_revision(self.files)


def recognise(name: str, family: str, path: Path) -> Recognised:
    """Return what lies at a path that exists; raises UsageError where it is no whole checkpoint of the family."""
    if not path.exists():
        raise UsageError(f"model '{name}': {path} is a link to something that is not there")
    if not path.is_dir():
        found = _file(name, path)
    elif (beside := adapter_beside(path)) is not None:
        below = () if beside == path else folder_files(beside)
        found = Recognised(PEFT, path, (*folder_files(path), *below))
    elif (path / ADAPTER_CONFIG).is_file():
        found = Recognised(PEFT, path, folder_files(path))
    elif (path / MODEL_BIN).is_file() and _model_type(path) is None:
        found = Recognised(CTRANSLATE2, path, folder_files(path, (MODEL_BIN,)))
    else:
        found = Recognised(TRANSFORMERS, path, folder_files(path))
    if found.format in (OPENAI, CTRANSLATE2) and family != "whisper":
        raise UsageError(
            f"model '{name}': {path} is in the format of {found.format}, which holds Whisper only; use --model "
            f"whisper:{path}"
        )
    refuse_pointers(name, _read(found))
    check_json(name, found.files)
    if found.format == PEFT:
        beside = adapter_beside(path)
        read_adapter(name, beside or path, beside=beside is not None)
    elif found.format == CTRANSLATE2:
        read_header(name, path / MODEL_BIN)
    elif not (path / "config.json").is_file() and found.format == TRANSFORMERS:
        raise UsageError(f"model '{name}': {_without_config(path)}")
    elif found.format == TRANSFORMERS and _model_type(path) == family:
        check_files(name, path)  # of another architecture that is what has to be told
    return found


def _file(name: str, path: Path) -> Recognised:
    if path.suffix not in _OPENAI_SUFFIXES:
        raise UsageError(
            f"model '{name}': {path} is a file, and the only checkpoints of one file are those of openai-whisper "
            f"({', '.join(_OPENAI_SUFFIXES)}); give the folder that the file lies in"
        )
    beside = (path.with_name(other) for other in BESIDE)
    return Recognised(OPENAI, path, (path, *(file for file in beside if file.is_file())))


def _stated(folder: Path) -> dict[str, Any]:
    """Return what config.json of a folder says; nothing where there is none, or no valid one."""
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _model_type(folder: Path) -> str | None:
    """Return which architecture of transformers a folder states, None where it states none."""
    found = _stated(folder).get("model_type")
    return found if isinstance(found, str) else None


def adapter_beside(folder: Path) -> Path | None:
    """Return the folder of the adapter of a checkpoint that holds its base too; None where it has none."""
    own = own_adapter(_stated(folder))
    if own is None or not (folder / own / ADAPTER_CONFIG).is_file():
        return None
    return folder / own


def under_adapter(found: Recognised) -> Recognised:
    """Return the checkpoint of transformers that holds an adapter, without that."""
    own = (file for file in found.files if file.parent == found.path)
    kept = tuple(file for file in own if file.name not in (ADAPTER_CONFIG, WEIGHTS))
    return Recognised(TRANSFORMERS, found.path, kept)


def _read(found: Recognised) -> Iterable[Path]:
    """Return the files that will be read, and pickles where there is nothing else; others may be missing."""
    if found.path.is_file():
        return found.files
    whole, index = (found.path / name for name in (WHOLE, INDEX))
    if whole.is_file():
        return [file for file in found.files if file.suffix != whole.suffix or file == whole]
    return [*found.files, *(() if index.is_file() else sorted(found.path.glob("*.bin")))]


def check_files(name: str, folder: Path) -> None:
    """Refuse a folder of transformers that lacks a file; raises UsageError."""
    check_folder(name, folder)
    check_processor(name, folder, own_code=any(folder.glob("*.py")))


def _without_config(folder: Path) -> str:
    """Say what to do with a folder that has no config.json."""
    if files := sorted(file.name for s in _OPENAI_SUFFIXES for file in folder.glob(f"*{s}")):
        return f"{folder} has no config.json; to load {files[0]}, name the file and not its folder"
    if (folder / WEIGHTS).is_file():
        return f"{folder} has {WEIGHTS} but no {ADAPTER_CONFIG}, which names the base; copy it too"
    return f"{folder} has no config.json"


def companion(path: Path, name: str) -> dict[str, Any] | None:
    """Return a JSON object that lies beside a checkpoint, or None where there is no such file."""
    file = path / name if path.is_dir() else path.with_name(name)
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is not an object")
    except ValueError as problem:
        raise UsageError(f"{file} is not valid: {problem}") from None
    return found
