"""Attention of pre-LN encoder-decoders whose modules are named as in BART (Whisper, Speech2Text)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from xbench.models.capture import NormNames, Stack, feed_forward, pre_norms


def stacks(model: Any) -> dict[str, Stack]:
    """Return all attention of such a model: encoder, decoder and cross-attention."""

    def rest(layer: Any) -> Callable[[Tensor], Tensor]:
        return feed_forward(layer.final_layer_norm, layer.fc1, layer.fc2, layer.activation_fn)

    own, last = "self_attn_layer_norm", "final_layer_norm"
    encoder, decoder = model.encoder, model.decoder
    in_decoder = NormNames(own, last, "encoder_attn_layer_norm")
    before = pre_norms(list(encoder.layers), encoder.layer_norm, NormNames(own, last), rest)
    after = pre_norms(list(decoder.layers), decoder.layer_norm, in_decoder, rest)
    heads = model.config.decoder_attention_heads
    return {
        "cross": Stack([x.encoder_attn for x in decoder.layers], heads, streams=after["cross"]),
        "decoder": Stack(
            [x.self_attn for x in decoder.layers], heads, causal=True, streams=after["own"]
        ),
        "encoder": Stack(
            [x.self_attn for x in encoder.layers],
            model.config.encoder_attention_heads,
            streams=before["own"],
        ),
    }
