"""Whisper out of the variables of CTranslate2: projections separated, whole numbers turned back, names of transformers.

A weight w in whole numbers q was made as q = round(w s), with one scale s per row (int8) or one for all (int16). So
w = q / s is what the converted model computes with, and what is explained; the weights before are not in the file.

Source: `model_spec.py`, `whisper_spec.py` and the Whisper loader of `converters/transformers.py`, OpenNMT/CTranslate2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.formats.ctranslate2_file import MODEL_BIN, Variable, read_variables
from xbench.models.formats.parts import Parts, whisper_settings

# Facts that Whisper has and other models of the format may not have: GELU, pre-LN, no scaled embedding, no ALiBi.
_FACTS = {
    "decoder/activation": 3,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
    "decoder/alibi": 0,
}


def read_ctranslate2(name: str, folder: Path) -> Parts:
    """Read a folder of CTranslate2; raises UsageError where it is damaged or no plain Whisper."""
    variables = read_variables(name, folder / MODEL_BIN)
    for fact, expected in _FACTS.items():
        if fact in variables and int(variables[fact].values) != expected:
            raise UsageError(
                f"model '{name}': its {MODEL_BIN} states {fact} = {int(variables[fact].values)}, Whisper has "
                f"{expected}; use the checkpoint of transformers that it was converted from"
            )
    try:
        taken = _Taken(variables)
        weights = _weights(taken)
        heads = (
            int(variables["encoder/num_heads"].values),
            int(variables["decoder/num_heads"].values),
        )
    except KeyError as missing:
        raise UsageError(
            f"model '{name}': its {MODEL_BIN} has no variable {missing}, so it is no plain Whisper; use the "
            "checkpoint of transformers that it was converted from"
        ) from None
    if left := taken.left():
        raise UsageError(
            f"model '{name}': its {MODEL_BIN} has variables that plain Whisper has not, for instance {left[0]!r}; "
            "use the checkpoint of transformers that it was converted from"
        )
    return Parts(whisper_settings(weights, *heads), weights)


class _Taken:
    """The variables, each noted when it is taken, so that what is left over can be told."""

    def __init__(self, variables: Mapping[str, Variable]) -> None:
        self._variables, self._seen = variables, set[str]()

    def tensor(self, name: str) -> Tensor:
        self._seen.add(name)
        found = _tensor(self._variables[name])
        if found.is_floating_point():
            return found
        self._seen.add(f"{name}_scale")
        scale = _tensor(self._variables[f"{name}_scale"]).float()
        return found.float() / scale.reshape(scale.shape + (1,) * (found.ndim - scale.ndim))

    def layers(self, side: str) -> range:
        return range(len({n.split("/")[1] for n in self._variables if _is_layer(n, side)}))

    def has(self, name: str) -> bool:
        return name in self._variables

    def left(self) -> list[str]:
        return sorted(
            n for n in self._variables.keys() - self._seen if self._variables[n].values.ndim
        )


def _is_layer(name: str, side: str) -> bool:
    parts = name.split("/")
    return parts[0] == side and parts[1].removeprefix("layer_").isdigit()


def _tensor(variable: Variable) -> Tensor:
    """Return the values in memory of their own: those of the file cannot be written to."""
    copied = torch.from_numpy(variable.values.copy())
    return copied.view(torch.bfloat16) if variable.bfloat16 else copied


def _weights(taken: _Taken) -> dict[str, Tensor]:
    """Return all weights under the names of transformers; raises KeyError with the variable that is missing."""
    out: dict[str, Tensor] = {}

    def norm(source: str, target: str) -> None:
        out[f"{target}.weight"] = taken.tensor(f"{source}/gamma")
        out[f"{target}.bias"] = taken.tensor(f"{source}/beta")

    def linear(source: str, *targets: str) -> None:
        """Separate projections that are kept as one matrix, one above the other."""
        weights = taken.tensor(f"{source}/weight").chunk(len(targets))
        biases = taken.tensor(f"{source}/bias").chunk(len(targets))
        for target, weight, bias in zip(targets, weights, biases, strict=True):
            out[f"{target}.weight"] = weight.clone()
            if not target.endswith("k_proj"):  # Whisper's keys have no bias; here it is zero
                out[f"{target}.bias"] = bias.clone()

    for convolution in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            out[f"model.encoder.{convolution}.{kind}"] = taken.tensor(
                f"encoder/{convolution}/{kind}"
            )
    width = len(out["model.encoder.conv1.bias"])
    encoded = "encoder/position_encodings/encodings"
    out["model.encoder.embed_positions.weight"] = (
        taken.tensor(encoded) if taken.has(encoded) else sinusoids(1500, width)
    )
    out["model.decoder.embed_positions.weight"] = taken.tensor(
        "decoder/position_encodings/encodings"
    )
    out["model.decoder.embed_tokens.weight"] = taken.tensor("decoder/embeddings/weight")
    if not torch.equal(
        taken.tensor("decoder/projection/weight"), out["model.decoder.embed_tokens.weight"]
    ):
        raise KeyError("decoder/projection/weight that is the embedding")
    for side in ("encoder", "decoder"):
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for layer in taken.layers(side):
            source, target = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            own = f"{source}/self_attention"
            norm(f"{own}/layer_norm", f"{target}.self_attn_layer_norm")
            linear(f"{own}/linear_0", *(f"{target}.self_attn.{p}_proj" for p in "qkv"))
            linear(f"{own}/linear_1", f"{target}.self_attn.out_proj")
            if side == "decoder":
                cross = f"{source}/attention"
                norm(f"{cross}/layer_norm", f"{target}.encoder_attn_layer_norm")
                linear(f"{cross}/linear_0", f"{target}.encoder_attn.q_proj")
                linear(f"{cross}/linear_1", *(f"{target}.encoder_attn.{p}_proj" for p in "kv"))
                linear(f"{cross}/linear_2", f"{target}.encoder_attn.out_proj")
            norm(f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
            linear(f"{source}/ffn/linear_0", f"{target}.fc1")
            linear(f"{source}/ffn/linear_1", f"{target}.fc2")
    return out


def sinusoids(length: int, channels: int) -> Tensor:
    """Return Whisper's fixed encoder positions, which some files leave out: [position, channel]."""
    step = math.log(10_000) / (channels // 2 - 1)
    scaled = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))
    return torch.cat([scaled.sin(), scaled.cos()], dim=1)


def stated_generation(
    settings: Mapping[str, Any], decoder_layers: int, heads: int
) -> dict[str, Any]:
    """Return what a folder's config.json says about generation, under the names of transformers.

    Where the converter knows no heads that time words, it writes all heads of the upper half of the layers. That
    says nothing about the checkpoint, so these are left out.
    """
    names = {"suppress_ids": "suppress_tokens", "suppress_ids_begin": "begin_suppress_tokens"}
    found = {ours: settings[theirs] for theirs, ours in names.items() if settings.get(theirs)}
    upper = range(decoder_layers // 2, decoder_layers)
    stated = settings.get("alignment_heads")
    if stated and stated != [[layer, head] for layer in upper for head in range(heads)]:
        found["alignment_heads"] = stated
    return found
