"""Reads a `.pt` file of openai-whisper: sizes (`dims`) and weights (`model_state_dict`), and nothing that can run code.

torch reads such files with `weights_only=True`, which builds tensors and plain containers and refuses all else.

Source: `whisper/__init__.py` (`load_model`) and `whisper/model.py` of openai/whisper; names of transformers as in its
`convert_openai_to_hf.py`.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.formats.parts import Parts, whisper_settings

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
        held = ", ".join(sorted(map(str, content))[:4])
        raise UsageError(
            f"model '{name}': {file} holds {held or 'nothing'}, not dims and model_state_dict as files of "
            "openai-whisper do; save the model with save_pretrained of transformers, and load that folder"
        )
    weights = {
        _renamed(str(key)): value for key, value in state.items() if isinstance(value, Tensor)
    }
    try:
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


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return f"model.{name}"


def _content(name: str, file: Path) -> Mapping[Any, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        raise UsageError(
            f"model '{name}': {file} {_why(str(problem))}; save its dims (as a dict) and its model_state_dict with "
            "torch.save again, where you trust the file"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as problem:
        first = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise UsageError(f"model '{name}': {file} is damaged: {first}") from None
    return content if isinstance(content, Mapping) else {type(content).__name__: content}


def _why(problem: str) -> str:
    """Say what a file asks for that could run code; torch says it in several lines of advice."""
    asked = re.search(r"GLOBAL (\S+) was not an allowed global", problem)
    if asked:
        return f"needs full unpickling, which can run code: it holds objects of {asked[1]}, not tensors alone"
    return "cannot be read as tensors alone (another kind of file, or damaged), and full unpickling can run code"
