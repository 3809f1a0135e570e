"""Reads a `.pt` file of openai-whisper: sizes (`dims`) and weights (`model_state_dict`), and nothing that can run code.

torch reads such files with `weights_only=True`, which builds tensors and plain containers and refuses all else.

Source: `whisper/__init__.py` (`load_model`) and `whisper/model.py` of openai/whisper; names of transformers as in its
`convert_openai_to_hf.py`.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.formats.parts import Parts, whisper_settings

_PICKLED = b"\x80"  # with which a pickle of a protocol since 2 begins
_RENAMED = (
    (r"\.blocks\.", ".layers."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.attn\.", ".self_attn."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"\.out\.", ".out_proj."),
    (r"\.ln_post\.", ".layer_norm."),
    (r"^decoder\.ln\.", "decoder.layer_norm."),
    (r"\.token_embedding\.", ".embed_tokens."),
    (r"\.positional_embedding$", ".embed_positions.weight"),
)


def read_openai(name: str, file: Path) -> Parts:
    """Read a file; raises UsageError where it is none of openai-whisper, damaged, or needs full unpickling."""
    content = _content(name, file)
    dims, state = content.get("dims"), content.get("model_state_dict")
    if not isinstance(dims, Mapping) or not isinstance(state, Mapping):
        raise UsageError(
            f"model '{name}': {file} holds {_held(content)}, not dims and model_state_dict as files of "
            f"openai-whisper do; write them with {_SAVING}, or save the model with save_pretrained of transformers "
            "and load that folder"
        )
    weights = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if prefix := _prefix(weights):
        raise UsageError(
            f"model '{name}': the names of the weights in {file} begin with '{prefix}', which those of "
            f"openai-whisper do not; take it away from the keys of model_state_dict and save the file again"
        )
    weights = {_renamed(key): value for key, value in weights.items()}
    try:
        for key in _WHOLE_NUMBERS:
            if isinstance(dims[key], bool) or not isinstance(dims[key], int):
                raise TypeError(f"a whole number for {key}")
        settings = whisper_settings(weights, dims["n_audio_head"], dims["n_text_head"])
        sizes = {ours: dims[theirs] for theirs, ours in _SIZES.items()}
    except (LookupError, ValueError, TypeError) as problem:
        raise UsageError(
            f"model '{name}': {file} lacks {problem} of Whisper; it is damaged, or of another model"
        ) from None
    for ours, stated in sizes.items():
        if settings[ours] != stated:
            raise UsageError(
                f"model '{name}': {file} states {stated} for {ours}, but its weights have {settings[ours]}; it "
                "is damaged"
            )
    return Parts(settings, weights)


_SIZES = {
    "n_mels": "num_mel_bins",
    "n_vocab": "vocab_size",
    "n_audio_ctx": "max_source_positions",
    "n_text_ctx": "max_target_positions",
    "n_audio_state": "d_model",
    "n_audio_layer": "encoder_layers",
    "n_text_layer": "decoder_layers",
}
_WHOLE_NUMBERS = (*_SIZES, "n_audio_head", "n_text_head")
_SAVING = (
    "torch.save({'dims': vars(model.dims), 'model_state_dict': model.state_dict()}, FILE), where model is that of "
    "openai-whisper"
)
_EMBEDDING = "decoder.token_embedding.weight"


def _held(content: Mapping[Any, Any]) -> str:
    """Say what a file holds: the names of a few parts, or how many weights."""
    if len(content) > 4 and all(isinstance(value, Tensor) for value in content.values()):
        return f"{len(content)} weights alone"
    return ", ".join(sorted(map(str, content))[:4]) or "nothing"


def _prefix(weights: Mapping[str, Tensor]) -> str:
    """Return what a trainer put before all names, such as `module.`; empty where there is nothing."""
    found = (key.removesuffix(_EMBEDDING) for key in weights if key.endswith(_EMBEDDING))
    return next(found, "")


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return f"model.{name}"


def _content(name: str, file: Path) -> Mapping[Any, Any]:
    if problem := _no_file_of_torch(file):
        raise UsageError(f"model '{name}': {file} {problem}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        raise UsageError(
            f"model '{name}': {file} {_why(str(problem))}; save its dims (as a dict) and its model_state_dict with "
            "torch.save again, where you trust the file"
        ) from None
    except MemoryError:
        raise
    except Exception as problem:  # noqa: BLE001 - damage ends in any kind, and torch advises on other causes
        first = str(problem).split(". ")[0].splitlines()
        raise UsageError(
            f"model '{name}': {file} is damaged ({type(problem).__name__}: {' '.join(first[:1])}); copy it again"
        ) from None
    return content if isinstance(content, Mapping) else {type(content).__name__: content}


def _no_file_of_torch(file: Path) -> str:
    """Say why torch cannot have written a file, or why it holds code; empty where it may be read."""
    with file.open("rb") as opened:
        start = opened.read(2)
    if not start:
        return "is empty; copy it again"
    if start == b"PK":
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError):
            return "is damaged: the archive is cut off or has no list of its parts; copy it again"
        if any(name.endswith("/constants.pkl") for name in names):
            return (
                f"holds compiled code (TorchScript) and not weights alone; write it with {_SAVING}"
            )
        return ""
    if start[:1] != _PICKLED:
        return "was not written by torch.save: it is neither an archive nor a pickle"
    return ""


def _why(problem: str) -> str:
    """Say what a file asks for that could run code; torch says it in several lines of advice."""
    asked = re.search(r"GLOBAL (\S+) was not an allowed global", problem)
    if asked:
        return f"needs full unpickling, which can run code: it holds objects of {asked[1]}, not tensors alone"
    return "cannot be read as tensors alone (another kind of file, or damaged), and full unpickling can run code"
