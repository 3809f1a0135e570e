"""Writes the weights of a transformers folder in other programs' formats, so that tests load what they made."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "bfloat16": 5}

# -- openai-whisper -------------------------------------------------------------------------------

_OPENAI = (
    ("model.encoder.layer_norm.", "encoder.ln_post."),
    ("model.decoder.layer_norm.", "decoder.ln."),
    ("model.", ""),
    ("layers.", "blocks."),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn_layer_norm", "attn_ln"),
    ("self_attn", "attn"),
    ("final_layer_norm", "mlp_ln"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("embed_tokens", "token_embedding"),
    ("embed_positions.weight", "positional_embedding"),
)


def openai_name(name: str) -> str:
    for ours, theirs in _OPENAI:
        name = name.replace(ours, theirs)
    return name


def write_openai(
    source: Path, file: Path, dims: Mapping[str, int] | None = None, *, half: bool = False
) -> Path:
    """Write a .pt file; dims: changes to what is stated. Returns the file."""
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    sizes = {
        "n_mels": config["num_mel_bins"],
        "n_vocab": config["vocab_size"],
        "n_audio_ctx": config["max_source_positions"],
        "n_audio_state": config["d_model"],
        "n_audio_head": config["encoder_attention_heads"],
        "n_audio_layer": config["encoder_layers"],
        "n_text_ctx": config["max_target_positions"],
        "n_text_state": config["d_model"],
        "n_text_head": config["decoder_attention_heads"],
        "n_text_layer": config["decoder_layers"],
    } | dict(dims or {})
    state = {
        openai_name(name): value.half() if half else value
        for name, value in weights.items()
        if name != "proj_out.weight"
    }
    torch.save({"dims": sizes, "model_state_dict": state}, file)
    return file


# -- CTranslate2 ----------------------------------------------------------------------------------


def quantised(weight: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """Return a weight in whole numbers and its scale, as the converter makes them."""
    if kind == "int16":
        scale = np.float32(2**10 / np.abs(weight).max())
        return {"": np.rint(weight * scale).astype(np.int16), "_scale": np.array(scale)}
    largest = np.abs(weight).max(axis=1)
    largest[largest == 0] = 127
    scale = (127 / largest).astype(np.float32)
    return {"": np.rint(weight * scale[:, None]).astype(np.int8), "_scale": scale}


def ctranslate2_variables(source: Path, kind: str) -> dict[str, tuple[np.ndarray, str]]:
    """Return the variables of a checkpoint: arrays with their types, `kind` for the large ones."""
    config = json.loads((source / "config.json").read_text())
    weights = {n: v.float().numpy() for n, v in load_file(source / "model.safetensors").items()}
    plain = "float32" if kind.startswith("int") else kind
    out: dict[str, tuple[np.ndarray, str]] = {}

    def put(name: str, value: np.ndarray) -> None:
        if plain == "bfloat16":
            bits = torch.from_numpy(value).bfloat16().view(torch.int16).numpy()
            out[name] = (bits, "bfloat16")
        else:
            out[name] = (value.astype(plain), plain)

    def large(name: str, value: np.ndarray) -> None:
        if not kind.startswith("int"):
            put(name, value)
            return
        for ending, part in quantised(value, kind).items():
            out[name + ending] = (part, str(part.dtype))

    def linear(name: str, *sources: str) -> None:
        large(f"{name}/weight", np.concatenate([weights[f"{s}.weight"] for s in sources]))
        zero = np.zeros(config["d_model"], np.float32)
        put(f"{name}/bias", np.concatenate([weights.get(f"{s}.bias", zero) for s in sources]))

    def norm(name: str, from_: str) -> None:
        put(f"{name}/gamma", weights[f"{from_}.weight"])
        put(f"{name}/beta", weights[f"{from_}.bias"])

    for convolution in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            put(f"encoder/{convolution}/{part}", weights[f"model.encoder.{convolution}.{part}"])
    large("decoder/embeddings/weight", weights["model.decoder.embed_tokens.weight"])
    for side in ("encoder", "decoder"):
        positions = weights[f"model.{side}.embed_positions.weight"]
        put(f"{side}/position_encodings/encodings", positions)
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        heads = np.array(config[f"{side}_attention_heads"], np.int16)
        out[f"{side}/num_heads"] = (heads, "int16")
        for layer in range(config[f"{side}_layers"]):
            ours, theirs = f"model.{side}.layers.{layer}", f"{side}/layer_{layer}"
            own = f"{theirs}/self_attention"
            norm(f"{own}/layer_norm", f"{ours}.self_attn_layer_norm")
            linear(f"{own}/linear_0", *(f"{ours}.self_attn.{p}_proj" for p in "qkv"))
            linear(f"{own}/linear_1", f"{ours}.self_attn.out_proj")
            if side == "decoder":
                cross = f"{theirs}/attention"
                norm(f"{cross}/layer_norm", f"{ours}.encoder_attn_layer_norm")
                linear(f"{cross}/linear_0", f"{ours}.encoder_attn.q_proj")
                linear(f"{cross}/linear_1", *(f"{ours}.encoder_attn.{p}_proj" for p in "kv"))
                linear(f"{cross}/linear_2", f"{ours}.encoder_attn.out_proj")
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
            linear(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            linear(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    for fact, value in (("activation", 3), ("pre_norm", 1), ("scale_embeddings", 0)):
        out[f"decoder/{fact}"] = (np.array(value, np.int8), "int8")
    return out


def text(content: str) -> bytes:
    return struct.pack("<H", len(content.encode()) + 1) + content.encode() + b"\0"


def model_bin(
    variables: Mapping[str, tuple[np.ndarray, str]],
    aliases: Mapping[str, str],
    *,
    version: int = 6,
    name: str = "WhisperSpec",
    revision: int = 3,
) -> bytes:
    """Return the bytes of a model.bin."""
    parts = [struct.pack("<I", version), text(name), struct.pack("<II", revision, len(variables))]
    for key, (value, kind) in sorted(variables.items()):
        content = value.tobytes()
        parts += [text(key), struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)]
        parts += [struct.pack("<BI", TYPES[kind], len(content)), content]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [text(a) + text(b) for a, b in aliases.items()]
    return b"".join(parts)


ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}


def write_ctranslate2(source: Path, folder: Path, kind: str = "float32", **settings: Any) -> Path:
    """Write a folder of CTranslate2 with the tokenizer of the source. settings: of its config.json."""
    folder.mkdir()
    (folder / "model.bin").write_bytes(model_bin(ctranslate2_variables(source, kind), ALIASES))
    (folder / "config.json").write_text(json.dumps(settings))
    for file in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copy(source / file, folder / file)
    return folder


def rounded(source: Path, folder: Path, kind: str) -> Path:
    """Write the transformers folder that computes with the numbers which a type can hold."""
    shutil.copytree(source, folder)
    weights = load_file(source / "model.safetensors")
    for name, value in weights.items():
        if not kind.startswith("int"):
            weights[name] = value.to(getattr(torch, kind)).float()
        elif value.ndim == 2 and "embed_positions" not in name:
            found = quantised(value.numpy(), kind)
            scale = found["_scale"]
            back = found[""] / (scale if scale.ndim == 0 else scale[:, None])
            weights[name] = torch.from_numpy(back.astype(np.float32))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
