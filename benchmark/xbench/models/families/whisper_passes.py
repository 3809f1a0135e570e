"""Passes over hidden cells of Whisper's spectrogram, which compute only what the cells decide.

Whisper's window is 30 s long, and a clip fills part of it. The encoder's two convolutions look one frame to each side,
so all but the frames that carry audio, and one after them, are the same under every mask until the first layer attends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import gelu

from xbench.models.masked_attention import cross_cache, projected_once, unchanged_rest
from xbench.models.protocol import Features, Hypothesis
from xbench.models.text import decoder_input

# From the valid cells of spectrograms to the encoder output.
Encode = Callable[[Float[Tensor, "batch validmelframe mel"]], Float[Tensor, "batch frame dim"]]
# From there to the decoder's last states.
Read = Callable[[Float[Tensor, "batch frame dim"]], Float[Tensor, "batch position dim"]]
# From the valid cells to the decoder's last states.
States = Callable[[Float[Tensor, "batch validmelframe mel"]], Float[Tensor, "batch position dim"]]


def encoder_over_padding(network: Any, features: Features, dtype: torch.dtype) -> Encode:
    """Return the encoder of other valid cells, exactly; what the padding alone decides is computed once.

    That is the padding's part of the convolutions, and how padding attends to padding in the first layer.
    """
    encoder = network.model.encoder
    first, *others = encoder.layers
    changed = features.frames + 1
    if changed >= len(encoder.embed_positions.weight):

        def whole(
            values: Float[Tensor, "batch validmelframe mel"],
        ) -> Float[Tensor, "batch frame dim"]:
            padding = features.values[features.melframes :].to(values.dtype)
            inputs = torch.cat([values, padding.expand(len(values), -1, -1)], 1)
            return _layers(encoder, encoder.layers, stem(network, inputs))

        return whole
    clean = stem(network, features.values[None].to(dtype))
    rest = unchanged_rest(first.self_attn, first.self_attn_layer_norm(clean), changed)
    # Padding that the convolutions read for the last frame that changes.
    margin = features.values[features.melframes : features.stride * changed + 2].to(dtype)

    def encode(
        values: Float[Tensor, "batch validmelframe mel"],
    ) -> Float[Tensor, "batch frame dim"]:
        batch = len(values)
        own = stem(network, torch.cat([values, margin.expand(batch, -1, -1)], 1), changed)
        states = torch.cat([own, clean[:, changed:].expand(batch, -1, -1)], 1)
        return _layers(encoder, others, first(states, None, rest=rest))

    return encode


def _layers(encoder: Any, layers: Any, states: Tensor) -> Float[Tensor, "batch frame dim"]:
    for layer in layers:
        states = layer(states, None)
    normed: Tensor = encoder.layer_norm(states)
    return normed


def cross_attention_to_states(network: Any, hypothesis: Hypothesis, dtype: torch.dtype) -> Read:
    """Return the decoder of other encoder outputs, exactly, without keys and values where that is less work.

    Keys and values of all frames are two products with [dim, dim]. A hypothesis has few positions, so it is less work
    to take the queries back through the key projection, and the attended states through that of the values
    (`masked_attention.over_states`).
    """
    decoder = network.model.decoder
    ids = decoder_input(hypothesis, network.device)
    cross = [layer.encoder_attn for layer in decoder.layers]
    fewer = cross[0].num_heads * len(ids) <= network.config.d_model

    def read(encoded: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch position dim"]:
        arguments: dict[str, Any] = {"use_cache": False}
        if fewer:
            states = encoded.to(dtype)[:, None]
            arguments = {
                **projected_once(decoder, [(states, states)] * len(cross)),
                "use_cache": True,
                "over_states": True,
            }
        output: Tensor = decoder(
            input_ids=ids.expand(len(encoded), -1), encoder_hidden_states=encoded, **arguments
        ).last_hidden_state
        return output

    return read


def states_over_frozen_padding(network: Any, features: Features, hypothesis: Hypothesis) -> States:
    """Return passes against the padding's keys and values of every layer, as they are in the clean pass."""
    encoder, decoder = network.model.encoder, network.model.decoder
    frames = features.frames
    margin = features.values[features.melframes : features.stride * frames + 2]
    padding = []
    states = stem(network, features.values[None])
    for layer in encoder.layers:
        beyond = layer.self_attn_layer_norm(states[:, frames:])
        padding += cross_cache([layer.self_attn], beyond)
        states = layer(states, None)
    cross = [layer.encoder_attn for layer in decoder.layers]
    cross_padding = cross_cache(cross, encoder.layer_norm(states[:, frames:]))
    ids = decoder_input(hypothesis, network.device)

    def perturbed(
        values: Float[Tensor, "batch validmelframe mel"],
    ) -> Float[Tensor, "batch position dim"]:
        batch = len(values)
        with_margin = torch.cat([values, margin.expand(batch, -1, -1)], 1)
        states = stem(network, with_margin, frames)
        for layer, shared in zip(encoder.layers, padding, strict=True):
            states = layer(states, None, shared=[shared])
        states = encoder.layer_norm(states)
        output: Tensor = decoder(
            input_ids=ids.expand(batch, -1),
            encoder_hidden_states=states,
            **projected_once(decoder, cross_cache(cross, states)),
            use_cache=True,
            shared=cross_padding,
        ).last_hidden_state
        return output

    return perturbed


def stem(
    network: Any, values: Float[Tensor, "batch melframe mel"], frames: int | None = None
) -> Float[Tensor, "batch frame dim"]:
    """Return what the encoder's first layer reads: convolutions plus positions, of the first `frames` frames or all."""
    encoder = network.model.encoder
    states = gelu(encoder.conv1(values.transpose(1, 2).to(network.dtype)))
    states = gelu(encoder.conv2(states)).transpose(1, 2)[:, :frames]
    placed: Tensor = states + encoder.embed_positions.weight[: states.shape[1]]
    return placed
